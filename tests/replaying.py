"""What the tests of replays share: a looser contract, tables with failures made by hand, and a replay that dies on the way."""

import csv
import io
import json
import os
import re
import shutil
import signal
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.__main__ import main
from pipelines.options import ReplayOptions
from pipelines.private_key import opener
from pipelines.replay import run
from pipelines.sinks.lake import Lake
from pipelines.sinks.lake_commit import commit
from pipelines.sinks.lake_files import FAILURES_TABLE, place
from pipelines.tools.generate import write
from schemas.contract import SHIPPED, load
from transforms import keys
from transforms.batch import refused_rows
from transforms.ledger import Tally
from transforms.seal import seal, unseal

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


def lines(folder: Path) -> Path:
    """Census rows of all four formats, some of them wrong in ways that the newer contract does not mind."""
    folder.mkdir()
    write("census", 1500, 5, folder)
    (folder / "truth.json").unlink()
    base = json.loads((SHIPPED / "census" / "sample.ndjson").read_bytes().splitlines()[0])
    rows = [base | {"application_id": f"CSV{i}", "age": (30, 150, 250)[i % 3], "note": ("plain", 'a "quoted", word', "two\nlines")[i % 4 % 3]} for i in range(24)]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(base))
    writer.writeheader()
    writer.writerows(rows)
    (folder / "rows.csv").write_text(text.getvalue() + "too,few\n")
    (folder / "rows2.csv").write_text("application_id,submitted_at,age,shoe\nCSV900,2026-03-02T10:00:00Z,30,44\nCSV901,2026-03-02T10:00:00Z,150,44\n")
    pq.write_table(pa.Table.from_pylist([r | {"application_id": r["application_id"].replace("CSV", "PQ")} for r in rows]), folder / "rows.parquet")
    schema = {"type": "record", "name": "r", "fields": [{"name": k, "type": ["null", "int" if type(v) is int else "string"]} for k, v in base.items()]}
    with open(folder / "rows.avro", "wb") as file:
        fastavro.writer(file, fastavro.parse_schema(schema), [r | {"application_id": r["application_id"].replace("CSV", "AV")} for r in rows])
    return folder


@lru_cache(maxsize=1)
def worlds(key_folder: Path) -> dict[str, Path]:
    """The tables of a batch run by the shipped contract (old), and those of one by the next version (new); beside the keys."""
    folder = key_folder.parent / "replay"
    folder.mkdir()
    input = lines(folder / "in")
    made = {"in": input, "keys": key_folder, "next": loosened(folder / "next"), "old": folder / "old", "new": folder / "new"}
    for contract, name in (("census", "old"), (made["next"], "new")):
        assert main(["batch", f"--contract={contract}", f"--input={input}/*", f"--output={made[name]}", f"--keys={key_folder}"]) == 0
    return made


_reader = lru_cache(maxsize=8)(Lake.reader)  # opening one takes longer than most questions


def ask(output: Path, sql: str) -> list[dict[str, Any]]:
    return _reader(str(output)).query(sql).to_pylist()


def unsealed(key_folder: Path, failures: Iterable[dict[str, Any]]) -> Counter[tuple[str, str, bytes]]:
    """(origin, reason, row in clear) of failures."""
    unwrap = opener(str(key_folder / keys.PRIVATE))
    return Counter((f["origin"], f["reason"], unseal(*(f[c] for c in ("sealed", "run", "stage", "reason", "origin")), unwrap)) for f in failures)


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
