"""What breaks while tokens are turned back over BigQuery: no result without its audit row, one audit row, the result whole and once or not at all."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone

import pyarrow as pa
import pytest

from pipelines.__main__ import main
from pipelines.reidentify_parts import publish
from pipelines.sinks.audit import Reidentification
from pipelines.sinks.bigquery import Dataset
from pipelines.sinks.bigquery_audit import DatasetAudit
from pipelines.sinks.bigquery_client import Patience
from pipelines.sinks.bigquery_jobs import Failed
from pipelines.sinks.bigquery_write import Pending, connect
from pipelines.sinks.restricted import Part
from pipelines.sinks.restricted_table import RestrictedTable
from schemas.errors import Misconfigured
from tests import bigquery_server, bigquery_write_server
from tests.dlp_faults import FaultPlan
from tests.reidentifying import World, world_of
from tests.runs import run
from transforms.reidentify import Turned

QUICK = Patience(seconds=60.0, first=0.02, answer=30.0, job=60.0)


@pytest.fixture(scope="module")
def filled(key_folder, tmp_path_factory) -> Iterator[World]:
    with world_of(key_folder, tmp_path_factory.mktemp("filled")) as world:
        yield world


@pytest.fixture
def world_of_tables(filled) -> Iterator[World]:
    """With faults of its own."""
    yield filled
    filled.bigquery.faults.clear()
    filled.write.faults.clear()


def test_an_outage_of_dlp_shows_nothing(world_of_tables, capsys, world) -> None:
    w = world_of_tables
    before = w.audit()
    world.service.plan = FaultPlan("403")
    assert main(w.job("outage", "--engine=dlp", "--project=penstock-demo", f"--dlp_endpoint={world.address}")) == 1
    assert "failed; nothing is in bq://project.clear.outage" in capsys.readouterr().err and w.audit() == before and w.rows("outage") == []


FATAL = [
    ("load ds.reidentifications", "fails", "invalid", "nothing is in bq://project.clear.fatal"),
    ("append .*clear", "PERMISSION_DENIED", "", "nothing is in bq://project.clear.fatal"),
    ("finalize .*clear", "PERMISSION_DENIED", "", "nothing is in bq://project.clear.fatal"),
    ("commit .*clear", "PERMISSION_DENIED", "", "the audit row stands, bq://project.clear.fatal holds all of the result or nothing"),
]


@pytest.mark.parametrize(("where", "kind", "reason", "told"), FATAL)
def test_without_an_audit_row_nothing_is_shown_and_after_it_it_stands(where, kind, reason, told, world_of_tables, capsys) -> None:
    w = world_of_tables
    before = len(w.audit())
    if reason:
        w.bigquery.faults.append(bigquery_server.Fault(where, kind, reason, times=9))
    else:
        w.write.faults.append(bigquery_write_server.Fault(where, kind, times=9))
    assert main(w.job("fatal")) == 1
    shown = capsys.readouterr()
    assert f"failed; {told}" in shown.err and "@" not in shown.err + shown.out and w.rows("fatal") == []
    assert len(w.audit()) == before + ("stands" in told)
    assert len(shown.err.splitlines()) == 1 and re.search("invalid|PERMISSION_DENIED|UNSPECIFIED", shown.err)


@pytest.mark.parametrize(("where", "kind", "told"), [
    ("POST .*clear/tables", 403, "--destination: cannot be made: accessDenied; the account needs roles/bigquery.dataEditor"),
    ("POST .*ds/tables", 403, "reidentifications: could not be changed: accessDenied"),
    ("GET .*events/data", 403, "BigQuery does not show some ids of its events: accessDenied"),
    ("GET .*datasets/clear$", 403, "--destination: BigQuery does not show its"),
    ("GET .*datasets/ds$", 403, "--output: BigQuery does not show its tables: accessDenied"),
])
def test_what_the_account_may_not_do(where, kind, told, world_of_tables, capsys) -> None:
    """Told before a token is read."""
    w, before = world_of_tables, len(world_of_tables.write.calls)
    if "ds/tables" in where and w.audit():
        w.bigquery.store.delete_table("ds", "reidentifications")
    w.bigquery.faults.append(bigquery_server.Fault(where, kind, "accessDenied", times=9))
    assert main(w.job("forbidden")) == 2
    assert told in capsys.readouterr().err and w.rows("forbidden") == [] and len(w.write.calls) == before


def test_a_row_that_the_table_does_not_take(world_of_tables, capsys) -> None:
    w, before = world_of_tables, len(world_of_tables.audit())
    w.bigquery.store.rejects = lambda table, row: table == ("clear", "rejects") and row["ssn"].startswith("1")
    assert main(w.job("rejects", sql="select email, ssn from events where ssn is not null and ssn <> ''")) == 1
    w.bigquery.store.rejects = None
    told = capsys.readouterr().err
    assert re.search(r"failed; nothing is in bq://project.clear.rejects: the table rejects \d+ rows$", told.strip()) and w.rows("rejects") == []
    assert len(w.audit()) == before


PASSING = [("rest", "POST /upload", "lost"), ("rest", "POST /upload", 503), ("rest", "POST .*/jobs", 503), ("rest", "GET .*/tables/", 503), ("rest", "POST .*clear/tables", "lost"),
           ("write", "append .*clear", "lost"), ("write", "append .*clear", "cut"), ("write", "create .*clear", "lost"), ("write", "get .*clear", "NOT_FOUND"),
           ("write", "finalize .*clear", "lost"), ("write", "commit .*clear", "lost"), ("write", "commit .*clear", "UNAVAILABLE")]


@pytest.mark.parametrize(("server", "where", "kind"), PASSING)
def test_what_passes_passes(server, where, kind, world_of_tables, capsys) -> None:
    """Lost answers and short outages: the result once, one audit row."""
    w, table = world_of_tables, f"passing_{PASSING.index((server, where, kind))}"
    before = len(w.audit())
    if server == "rest":
        w.bigquery.faults.append(bigquery_server.Fault(where, kind))
    else:
        w.write.faults.append(bigquery_write_server.Fault(where, kind))
    assert main(w.job(table, sql="select email from events where email is not null limit 20", columns="email")) == 0
    assert len(w.rows(table)) == 20 and len(w.audit()) == before + 1
    assert not any(fault.times for fault in (*w.bigquery.faults, *w.write.faults)), "the fault was met"


def _row(w: World, name: str) -> tuple[DatasetAudit, RestrictedTable, Reidentification]:
    """A run of its own, whose table is made."""
    now = datetime(2026, 3, 4, tzinfo=timezone.utc)
    audit = DatasetAudit(Dataset("project", "ds"), "EU", w.bigquery.url, QUICK)
    table = RestrictedTable.of(f"bq://project.clear.{name}", f"Run-{name}", w.bigquery.url, w.write.host, QUICK)
    audit.prepare()
    table.prepare(pa.schema([("email", pa.string())]))
    return audit, table, Reidentification(table.run, "ann", "root", "why", ("email",), "census 1.0", "local", "0" * 64, table.name, now, now)


def hidden(table: RestrictedTable, *values: str) -> list[Part]:
    """Pending streams of one row each."""
    parts = []
    for value in values:
        stream = Pending(connect(table.write_endpoint), table.path, pa.schema([("email", pa.string())]), QUICK)
        stream.append(pa.record_batch({"email": [value]}))
        parts.append(Part(stream.name, stream.finish()))
    return parts


def test_the_last_step_is_done_once_however_often_it_is_tried(world_of_tables) -> None:
    """Beam tries bundles again: whatever was reached, one audit row, and the rows of these streams alone, once."""
    w = world_of_tables
    audit, table, row = _row(w, "again")
    hidden(table, "of a try of a bundle that failed")
    outcome = [*hidden(table, "a@b", "c@d"), Turned("email", 2, 1)]
    now, later = datetime(2026, 3, 5, tzinfo=timezone.utc), datetime(2026, 3, 6, tzinfo=timezone.utc)
    w.bigquery.faults.append(bigquery_server.Fault("load ds.reidentifications", "fails", "invalid"))
    with pytest.raises(Failed, match="invalid"):
        publish(audit, table, row, outcome, lambda: now)
    assert audit.find(row.run) is None and w.rows("again") == []
    w.write.faults.append(bigquery_write_server.Fault("commit .*again", "PERMISSION_DENIED"))
    with pytest.raises(Failed, match="PERMISSION_DENIED"):
        publish(audit, table, row, outcome, lambda: now)
    expected = replace(row, rows=2, turned_back=2, no_token=1, ended=now)
    assert audit.find(row.run) == expected and w.rows("again") == []
    for _ in range(2):
        publish(audit, table, row, outcome, lambda: later)
        assert audit.find(row.run) == expected and w.rows("again") == [{"email": "a@b"}, {"email": "c@d"}]
    assert sum(r["run"] == row.run for r in w.audit()) == 1


def test_of_two_runs_into_one_table_one_shows_its_result(world_of_tables) -> None:
    w = world_of_tables
    audit, first, row = _row(w, "rivals")
    second = replace(first, run="Run-second")
    second.prepare(pa.schema([("email", pa.string())]))
    with pytest.raises(Failed, match="another run has taken the table"):
        publish(audit, first, row, hidden(first, "a@b"), lambda: row.ended)
    assert audit.find(row.run) is None and w.rows("rivals") == []
    publish(audit, second, replace(row, run=second.run), hidden(second, "c@d"), lambda: row.ended)
    assert w.rows("rivals") == [{"email": "c@d"}]
    with pytest.raises(Misconfigured, match="is not empty"):
        replace(first, run="Run-third").prepare(pa.schema([("email", pa.string())]))


def test_a_table_that_goes_away_before_the_audit_row(world_of_tables) -> None:
    w = world_of_tables
    audit, table, row = _row(w, "gone")
    parts = hidden(table, "a@b")
    w.bigquery.store.delete_table("clear", "gone")
    with pytest.raises(Failed, match="another run has taken"):
        publish(audit, table, row, parts, lambda: row.ended)
    assert audit.find(row.run) is None


def test_a_run_that_is_killed_shows_nothing_and_can_be_run_again(world_of_tables, tmp_path) -> None:
    """Killed when its values lie in a pending stream."""
    w, before = world_of_tables, len(world_of_tables.audit())
    w.write.faults.append(bigquery_write_server.Fault("finalize .*killed", "slow", seconds=200.0))
    seen = run(tmp_path, *w.job("killed"), dies=lambda: any("finalize" in call and "killed" in call for call in w.write.calls))
    assert seen.code == -9 and w.rows("killed") == [] and len(w.audit()) == before
    assert [s.rows for s in w.write.streams.known.values() if s.table == ("clear", "killed")] != [0], "rows lie hidden"
    w.write.faults.clear()
    assert main(w.job("killed")) == 0
    assert len(w.rows("killed")) == w.audit()[-1]["rows"] > 200 and len(w.audit()) == before + 1
