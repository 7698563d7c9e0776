"""What the tests of replays share: a looser contract, tables with failures made by hand, and a replay that dies on the way."""

import json
import os
import re
import shutil
import signal
from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipelines.__main__ import main
from pipelines.options import ReplayOptions
from pipelines.replay import run
from pipelines.sinks.lake import Lake
from pipelines.sinks.lake_commit import commit
from pipelines.sinks.lake_files import FAILURES_TABLE, place
from schemas.contract import SHIPPED, load
from transforms import keys
from transforms.batch import refused_rows
from transforms.ledger import Tally
from transforms.seal import seal

BY_HAND = tuple[str, str, str, bytes | None]
"""(stage, reason, origin, row)"""


def loosened(folder: Path, contract: str = "census", maximum: int = 200) -> Path:
    """A contract's next version: fields that it does not know are dropped, and ages may be higher."""
    shutil.copytree(SHIPPED / contract, folder, ignore=shutil.ignore_patterns("*.gz", "*.py"))
    head = (folder / "contract.yaml").read_text()
    head = re.sub(r"^version: .*", 'version: "1.1"', head, flags=re.MULTILINE)
    head = re.sub(r"^unknown_fields: refuse\n", "", head, flags=re.MULTILINE) + "\nunknown_fields: drop\n"
    (folder / "contract.yaml").write_text(head)
    schema = json.loads((folder / "event.avsc").read_text())
    for field in schema["fields"]:
        if field["name"] == "age":
            field["maximum"] = maximum
    (folder / "event.avsc").write_text(json.dumps(schema))
    return folder


def refuse(output: Path, run: str, rows: Iterable[BY_HAND], public_pem: bytes, started: datetime, attempt: int = 1, contract: str = "census") -> None:
    """A run that refused these rows, as if they had come from somewhere."""
    listed = list(rows)
    with Lake.writer(str(output), load(contract), run) as lake:
        batches = [seal(refused_rows(stage, [(reason, None, origin, None, row)], attempt), run, public_pem) for stage, reason, origin, row in listed]
        written = place(str(lake.folder), run, FAILURES_TABLE, "", batches)
        commit(lake.commit("batch", (), started).request, [written], [Tally("read", "", len(listed))])


_reader = lru_cache(maxsize=8)(Lake.reader)  # opening one takes longer than most questions


def ask(output: Path, sql: str) -> list[dict[str, Any]]:
    return _reader(str(output)).query(sql).to_pylist()


def flags(contract: object, key_folder: Path, out: Path, *more: str) -> list[str]:
    return ["replay", f"--failures={out}", f"--private_key={key_folder / keys.PRIVATE}", f"--keys={key_folder}", "--json", f"--contract={contract}", *more]


def replay(capsys: Any, arguments: list[str], code: int = 0) -> dict[str, Any]:
    """Runs the command; answers the sum of its books."""
    assert main(arguments) == code
    told: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["balanced"] or code
    return told


def die(options: ReplayOptions, step: str, nth: int, most_bytes: int) -> None:
    """A replay that is killed when it comes to this step for the nth time."""
    met = 0

    def at(reached: str) -> None:
        nonlocal met
        met += reached == step
        if met == nth:
            os.kill(os.getpid(), signal.SIGKILL)

    run(options, [], at, most_bytes)
