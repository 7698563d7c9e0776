"""The batch job on GCS against the same job on a local file: `python -m benchmarks.gcs [--rows=100000] [--runs=5]`.

On gcp-storage-emulator (`make emulators-env`), runs interleaved, each in a process of its own; the emulator's own work is in
the wall time alone. The aim is 0.9 or more of the local rate. The link to a real bucket is not measured here.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from pipelines.tools.generate import write
from tests.gcs_emulator import MISSING, emulator


class Cost(NamedTuple):
    """Seconds on the clock, seconds of CPU, greatest memory in MB."""

    wall: float
    cpu: float
    memory: float


def job(folder: Path, source: str, *more: str) -> Cost:
    shutil.rmtree(folder / "out", ignore_errors=True)
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "pipelines", "batch", "--contract=census", f"--input={source}", f"--output={folder}/out",
                                f"--keys={folder}/keys", *more], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"the job ended with exit code {process.returncode}")
    return Cost(time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, emulator() as bucket:
        if bucket is None:
            print(MISSING)
            return
        folder = Path(place)
        write("census", given.rows, 7, folder / "in")
        for file in (folder / "in").glob("*.ndjson"):
            bucket.put(f"in/{file.name}", file.read_bytes())
        local, remote = [], []
        for _ in range(given.runs):
            local.append(job(folder, f"{folder}/in/*.ndjson"))
            remote.append(job(folder, "gs://raw/in/*", f"--storage_endpoint={bucket.url}"))
    for name, costs in (("local", local), ("GCS", remote)):
        wall, cpu, memory = (statistics.median(column) for column in zip(*costs, strict=True))
        print(f"{name:5}  {wall:6.2f} s  {given.rows / wall:8,.0f} rows/s  {cpu:6.2f} s of CPU  {memory:5,.0f} MB")
    for name, ratios in (("rows/s", [a.wall / b.wall for a, b in zip(local, remote)]), ("CPU", [a.cpu / b.cpu for a, b in zip(local, remote)])):
        print(f"GCS / local, {name}: {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    main()
