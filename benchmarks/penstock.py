"""This pipeline: the batch job as the command line runs it, on FnApiRunner."""

import contextlib
import io
from pathlib import Path

from benchmarks.job import measured
from pipelines.batch import run
from pipelines.options import BatchOptions
from schemas.contract import Contract
from transforms.fates import PROGRESS
from transforms.keys import Keys


def job(contract: Contract, keys: Keys, files: list[str], output: Path) -> int:
    """NDJSON files to a lake; answers the rows read."""
    with contextlib.redirect_stdout(io.StringIO()):
        code = run(BatchOptions(contract="census", input=",".join(files), output=str(output), keys=keys.folder), [])
    assert code == 0
    return PROGRESS.rows()["read"]


if __name__ == "__main__":
    measured(job)
