"""The reidentify job by its real flags: results, audit rows, refusals, and no value anywhere else."""

import getpass
import hashlib
import json
import stat
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.__main__ import main
from pipelines.reidentify_parts import publish
from pipelines.sinks.audit import Reidentification
from pipelines.sinks.lake import Lake
from pipelines.sinks.lake_audit import LakeAudit
from pipelines.sinks.restricted import Part, RestrictedFolder
from pipelines.tools.generate import write
from schemas.contract import load
from schemas.errors import Misconfigured
from tests.dlp_faults import FaultPlan
from tests.reidentifying import first_read
from tests.runs import run
from tests.scan import Scan
from transforms import keys
from transforms.reidentify import Turned


@pytest.fixture(scope="module")
def tables(key_folder, tmp_path_factory) -> tuple[Path, dict[str, dict[str, Any]]]:
    """OUT with census events, and by id the first event that was read."""
    folder = tmp_path_factory.mktemp("tables")
    write("census", 300, 3, folder / "in")
    assert main(["batch", "--contract=census", f"--input={folder}/in/*.ndjson", f"--output={folder}/world/out", f"--keys={key_folder}"]) == 0
    return folder / "world" / "out", first_read(folder / "in")


SQL = "select application_id, email, ssn, age from events order by application_id desc"


def job(out: Path, destination: Path, *more: str, sql: str = SQL, columns: str = "email,ssn", purpose: str = "fraud case 4711") -> list[str]:
    return ["reidentify", str(out), sql, "--contract=census", f"--columns={columns}", f"--purpose={purpose}", f"--destination={destination}", *more]


def audit(out: Path) -> list[dict[str, Any]]:
    reader = Lake.reader(str(out))
    try:
        there = reader.query("select 1 from duckdb_tables() where table_name = 'reidentifications'").num_rows
        return reader.query("from reidentifications order by started, run").to_pylist() if there else []
    finally:
        reader.close()


@pytest.mark.parametrize("engine", ["local", "dlp"])
def test_the_job_turns_census_tokens_back(engine, tables, key_folder, tmp_path, capsys, world) -> None:
    out, first = tables
    before, destination = len(audit(out)), tmp_path / "made" / "private"
    more = [f"--keys={key_folder}"] if engine == "local" else ["--engine=dlp", "--project=penstock-demo", f"--dlp_endpoint={world.address}"]
    assert main(job(out, destination, "--json", "--requested_by=ann@bank", *more)) == 0
    shown = capsys.readouterr()
    result = pq.read_table(destination / "result.parquet").to_pylist()
    assert result == [{name: first[r["application_id"]].get(name) for name in r} for r in result] and len(result) > 280
    assert [r["application_id"] for r in result] == sorted((r["application_id"] for r in result), reverse=True)
    assert stat.S_IMODE(destination.stat().st_mode) == 0o700 and [p.name for p in destination.iterdir()] == ["result.parquet"]
    assert stat.S_IMODE((destination / "result.parquet").stat().st_mode) == 0o600
    values = sum(r[c] not in (None, "") for r in result for c in ("email", "ssn"))
    row = audit(out)[before]
    assert row | {"columns": json.loads(row["columns"])} == {
        "run": row["run"], "who": "ann@bank", "account": getpass.getuser(), "purpose": "fraud case 4711", "columns": ["email", "ssn"],
        "contract": "census 1.0", "engine": engine, "query": hashlib.sha256(SQL.encode()).hexdigest(), "destination": str(destination),
        "rows": len(result), "turned_back": values, "no_token": 0, "started": row["started"], "ended": row["ended"]}
    assert row["started"] < row["ended"] and len(audit(out)) == before + 1
    last = json.loads(shown.out.splitlines()[-1])
    assert last["run"] == row["run"] and last["turned_back"] == values and last["columns"] == ["email", "ssn"]
    assert not any(r["email"] and r["email"] in shown.out + shown.err for r in result)
    assert len(world.service.calls) == (0 if engine == "local" else 1)


def test_no_value_stands_anywhere_but_in_the_destination(tables, key_folder, tmp_path) -> None:
    out, first = tables
    seen = run(out.parent, *job(out, tmp_path / "d", "--json", f"--keys={key_folder}"))
    assert seen.code == 0 and seen.outputs["stderr"] == b""
    assert pq.read_table(tmp_path / "d" / "result.parquet").num_rows > 280
    clear = {f"{i} {name}": row[name] for i, row in first.items() for name in ("email", "ssn") if row.get(name)}
    assert len(clear) > 500 and any(name.startswith("out/data") for name in seen.outputs) and not Scan(clear).of(seen.outputs)


def test_a_wrong_key_opens_nothing_says_so_and_is_audited(tables, tmp_path, capsys) -> None:
    out, _ = tables
    keys.make(tmp_path / "other")
    assert main(job(out, tmp_path / "d", f"--keys={tmp_path}/other")) == 1
    shown = capsys.readouterr()
    row = audit(out)[-1]
    assert row["turned_back"] == 0 and row["no_token"] > 500 and f"{row['no_token']:,} were no token" in shown.out and "not one token opened" in shown.err
    assert set(pq.read_table(tmp_path / "d" / "result.parquet")["ssn"].to_pylist()) <= {None, ""}


def test_an_answer_without_rows_is_a_result_too(tables, key_folder, tmp_path) -> None:
    out, _ = tables
    (tmp_path / "d").mkdir(mode=0o755)
    assert main(job(out, tmp_path / "d", f"--keys={key_folder}", sql="select email from events where false", columns="email")) == 0
    assert pq.read_table(tmp_path / "d" / "result.parquet").schema == pa.schema([("email", pa.string())])
    assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o700 and audit(out)[-1]["rows"] == 0


def test_every_fault_is_told_at_once_and_nothing_is_left(tables, tmp_path, capsys) -> None:
    out, _ = tables
    before = audit(out)
    assert main(job(out, out / "private", f"--keys={tmp_path}/none", sql="select application_id from events", columns="email,phone,nope", purpose=" ")) == 2
    told = capsys.readouterr().err
    for part in ("--purpose: is empty", "--destination: lies inside", "--keys: there is no key folder", "phone cannot be turned back: characterMaskConfig",
                 "nope is no field", "does not answer the column email"):
        assert part in told
    assert audit(out) == before and not (out / "private").exists() and not (tmp_path / "none").exists()


@pytest.mark.parametrize(("changed", "told"), [
    ({"sql": "select 1; select 2"}, "SQL: is not one SELECT"), ({"sql": "copy (select 1) to 'x'"}, "SQL: is not one SELECT"),
    ({"sql": "select nope from events"}, "SQL: Binder Error"), ({"sql": "select email, ssn, ssn from events"}, "two columns named ssn"),
    ({"sql": "select email, 5 as ssn from events"}, "answers ssn as int32"), ({"columns": "email,email"}, "names a column twice"),
    ({"columns": ","}, "names none"), ({"purpose": ""}, "--purpose: is missing"), ({"purpose": " "}, "--purpose: is empty")])
def test_requests_that_cannot_run(changed, told, tables, key_folder, tmp_path, capsys) -> None:
    out, _ = tables
    assert main(job(out, tmp_path / "d", f"--keys={key_folder}", **changed)) == 2
    assert told in capsys.readouterr().err and not (tmp_path / "d").exists()


def test_destinations_and_folders_that_cannot_be(tables, key_folder, tmp_path, capsys) -> None:
    out, _ = tables
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    (tmp_path / "link").symlink_to(out)
    for destination, told in (("full", "is not empty"), ("full/file", "is not a folder"), ("link/deeper", "lies inside the tables"), ("link", "lies inside")):
        assert main(job(out, tmp_path / destination, f"--keys={key_folder}")) == 2
        assert f"--destination: {told}" in capsys.readouterr().err
    assert main(job(tmp_path / "full", tmp_path / "d", f"--keys={key_folder}")) == 2
    assert "holds no tables" in capsys.readouterr().err


def test_an_outage_of_dlp_shows_nothing(tables, tmp_path, capsys, world) -> None:
    out, _ = tables
    before = audit(out)
    world.service.plan = FaultPlan("403")
    assert main(job(out, tmp_path / "d", "--engine=dlp", "--project=penstock-demo", f"--dlp_endpoint={world.address}")) == 1
    assert "failed; nothing is in" in capsys.readouterr().err and audit(out) == before and list((tmp_path / "d").iterdir()) == []


def _row(destination: Path) -> Reidentification:
    now = datetime(2026, 3, 4, tzinfo=timezone.utc)
    return Reidentification(f"run-{destination.name}", "ann", "root", "why", ("email",), "census 1.0", "local", "0" * 64, str(destination), now, now)


def test_the_audit_row_is_committed_first_and_once(tables, tmp_path) -> None:
    out, _ = tables
    row, later = _row(tmp_path / "d"), datetime(2026, 3, 5, tzinfo=timezone.utc)
    outcome = [Part("x", 5), Turned("email", 3, 1), Turned("ssn", 2, 0)]
    committed = LakeAudit(str(out)), RestrictedFolder(str(tmp_path / "d"))
    with pytest.raises(OSError):  # there is nothing to reveal: the last step fails
        publish(*committed, row, outcome, lambda: later)
    expected = replace(row, rows=5, turned_back=5, no_token=1, ended=later)
    assert LakeAudit(str(out)).find(row.run) == expected
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / ".result.parquet.part").write_bytes(b"rows")
    for _ in range(2):  # a step that is tried again finds its work done
        assert publish(*committed, row, outcome, lambda: later) == expected
    assert (tmp_path / "d" / "result.parquet").read_bytes() == b"rows" and sum(r["run"] == row.run for r in audit(out)) == 1


def test_without_an_audit_row_nothing_is_shown(tmp_path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / ".result.parquet.part").touch()
    with pytest.raises((OSError, Misconfigured)):
        publish(LakeAudit(str(tmp_path / "no lake")), RestrictedFolder(str(tmp_path / "d")), _row(tmp_path / "d"), [Part("x", 0)], lambda: datetime(2026, 3, 5, tzinfo=timezone.utc))
    assert not (tmp_path / "d" / "result.parquet").exists()


def test_the_audit_outlives_later_runs(tables, tmp_path) -> None:
    out, _ = tables
    LakeAudit(str(out)).append(_row(tmp_path / "kept"))
    rows = audit(out)
    with Lake.writer(str(out), load("census"), "later"):
        pass
    assert audit(out) == rows and any(r["run"] == "run-kept" for r in rows)
