"""The sink of a stream by the Storage Write API: exact books whatever goes wrong, in a pipeline of its own and in the whole streaming graph."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timezone
from typing import Any

import apache_beam as beam
import orjson
import pyarrow as pa
import pytest

from pipelines.sinks.append_rows import AppendRows, rejected_rows
from pipelines.sinks.bigquery import KeepBooks, refusal
from pipelines.sinks.bigquery_client import Patience
from pipelines.sinks.bigquery_jobs import Failed
from pipelines.sinks.bigquery_tables import wanted_tables
from pipelines.sinks.loaded import Insist
from schemas.arrow import arrow_schema
from schemas.contract import load
from schemas.tables import RUNS, Column
from schemas.views import duckdb
from tests.bigquery_server import BigQuery
from tests.bigquery_write_server import BigQueryWrite, Fault
from tests.test_stream_graph import messages_of, parts_of, run, sample
from transforms.fates import LATE, READ, REFUSED, REPEATED, STORED
from transforms.ledger import Tally

COLUMNS = (Column("id", "string", False, ""), Column("n", "int", True, ""), Column("origin", "string", False, ""), Column("d", "date", False, ""),
           Column("run", "string", True, ""), Column("watermark", "timestamp-micros", True, ""))
FIELDS = [{"name": "id", "type": "STRING", "mode": "REQUIRED"}, {"name": "n", "type": "INTEGER"}, {"name": "origin", "type": "STRING", "mode": "REQUIRED"},
          {"name": "d", "type": "DATE", "mode": "REQUIRED"}, {"name": "run", "type": "STRING"}, {"name": "watermark", "type": "TIMESTAMP"}]
QUICK = Patience(seconds=600.0, first=0.005, answer=300.0)
GIVES_UP = replace(QUICK, answer=2.0)  # an answer that takes longer is lost
CAUGHT: dict[str, list[Any]] = {}


@pytest.fixture
def write() -> Iterator[BigQueryWrite]:
    """A write API over tables test-project.tables.events of a few columns; its `ask` answers SELECTs."""
    CAUGHT.clear()
    with BigQuery("test-project") as service, BigQueryWrite(service.store) as found:
        service.store.make_dataset("tables", {})
        found.ask, found.store = service.ask, service.store
        yield found


def catch(element: Any, name: str) -> None:
    CAUGHT.setdefault(name, []).append(element)


def batch(*ids: int) -> pa.RecordBatch:
    at = datetime(2026, 3, 4, tzinfo=timezone.utc)
    return pa.RecordBatch.from_pylist([{"id": f"i{n}", "n": n, "origin": f"m{n}", "d": date(2026, 3, 4), "watermark": at, "more": 1} for n in ids],
                                      arrow_schema(tuple(c for c in COLUMNS if c.name != "run")).append(pa.field("more", pa.int64())))


def stored(write: BigQueryWrite, batches: list[pa.RecordBatch], patience: Patience = QUICK) -> tuple[list[int], int, list[dict[str, Any]]]:
    """Appends the batches: (numbers in the table, rows that the books hold, refused rows)."""
    write.store.make_table("tables", "events", {"schema": {"fields": FIELDS}})
    with beam.Pipeline("FnApiRunner") as pipeline:
        loaded = pipeline | beam.Create(batches) | AppendRows("projects/test-project/datasets/tables/tables/events", COLUMNS, "run-1", write.host, patience)
        loaded.tally | "Tallies" >> beam.Map(catch, "tallies")
        loaded.refused | "Refused" >> beam.Map(catch, "refused")
    assert all(t.fate == STORED for t in CAUGHT["tallies"])
    return ([r["n"] for r in write.ask("SELECT n FROM tables.events ORDER BY n")], sum(t.rows for t in CAUGHT["tallies"]),
            [row for found in CAUGHT.get("refused", []) for row in found.to_pylist()])


FAULTS = {
    "nothing": [], "503": [Fault("append", "UNAVAILABLE", 2)], "quota (429)": [Fault("append", "RESOURCE_EXHAUSTED", 3, inline=True)],
    "the quota ends the call": [Fault("append", "RESOURCE_EXHAUSTED", 3)], "cut in mid-append": [Fault("append", "cut", 2)],
    "an error of the service's": [Fault("append", "INTERNAL", 2, inline=True)], "drained": [Fault("append", "drain", 1)],
}
SLOW = "a time-out after it was done"
TWICE = {"the answer is lost": [Fault("append", "lost")], SLOW: [Fault("append", "slow", seconds=600.0)]}


@pytest.mark.parametrize("name", FAULTS)
def test_books_and_tables_agree_whatever_goes_wrong(name, write) -> None:
    write.faults = [Fault(**vars(f)) for f in FAULTS[name]]
    write.store.rejects = lambda table, row: row["n"] in (3, 17)
    found, books, refused = stored(write, [batch(*range(10)), batch(), batch(*range(10, 20))])
    assert found == [n for n in range(20) if n not in (3, 17)] and books == 18
    assert [(r["stage"], r["reason"], r["origin"], r["d"]) for r in refused] == [("load", "rejected_by_sink", f"m{n}", date(2026, 3, 4)) for n in (3, 17)]
    assert json.loads(refused[0]["row"]) == {"id": "i3", "n": 3, "origin": "m3", "d": "2026-03-04", "run": "run-1", "watermark": "2026-03-04T00:00:00+00:00"}
    assert not any(f.times for f in write.faults)
    assert write.ask("SELECT DISTINCT run FROM tables.events") == [{"run": "run-1"}]


@pytest.mark.parametrize("name", TWICE)
def test_where_an_answer_is_lost_rows_are_twice_in_the_table_and_once_in_the_books(name, write) -> None:
    write.faults = [Fault(**vars(f)) for f in TWICE[name]]
    found, books, refused = stored(write, [batch(*range(10))], GIVES_UP if name == SLOW else QUICK)
    times = len(found) // 10
    assert found == sorted([*range(10)] * times) and books == 10 and not refused
    assert times == 2 or (name == SLOW and times > 2), "on a slow machine another answer than that one may be late"


@pytest.mark.parametrize(("change", "told"), [
    (lambda store: store.tables.pop(("tables", "events")), "tables.events: TABLE_NOT_FOUND"),
    (lambda store: store.tables["tables", "events"]["schema"]["fields"].pop(1), "n is missing")], ids=["the table is missing", "a column is gone"])
def test_a_table_that_is_not_as_it_was_fails_the_bundle(change, told, write) -> None:
    make, write.store.make_table = write.store.make_table, lambda *given: (make(*given), change(write.store))
    with pytest.raises(Exception, match=told):
        stored(write, [batch(1, 2)])
    assert "refused" not in CAUGHT and write.ask("SELECT COUNT(*) AS n FROM tables.events") == [{"n": 0}]


def test_a_service_that_stays_away_fails_the_bundle(write) -> None:
    write.faults = [Fault("append", "RESOURCE_EXHAUSTED", 1_000_000)]
    with pytest.raises(Exception, match="stored nothing for 0.2 s: RESOURCE_EXHAUSTED"):
        stored(write, [batch(1, 2)], Patience(0.2, 0.01))


def test_a_rejected_row_is_kept_even_where_python_has_no_word_for_its_day() -> None:
    rows = pa.RecordBatch.from_arrays([pa.array(["a", "b"]), pa.array([1 << 30, 0], pa.date32()), pa.array([0, 1 << 60], pa.timestamp("us", "UTC")),
                                       pa.array([None, 1])], ["origin", "d", "t", "n"])
    found = rejected_rows(rows, [0, 1])
    assert found == [{"origin": "a", "d": 1 << 30, "t": "1970-01-01T00:00:00+00:00"}, {"origin": "b", "d": "1970-01-01", "t": 1 << 60, "n": 1}]
    assert [(r["origin"], r["d"]) for r in refusal(*found).to_pylist()] == [("a", None), ("b", date(1970, 1, 1))]


def test_what_has_no_other_place_fails_loudly() -> None:
    with pytest.raises(Exception, match="the table failures rejects 2 rows"):
        with beam.Pipeline("FnApiRunner") as pipeline:
            pipeline | beam.Create([refusal({"origin": "a"}, {"origin": "b"})]) | Insist("failures")


def test_a_ledger_row_that_its_table_rejects_fails_loudly(write) -> None:
    write.store.make_table("tables", "runs", wanted_tables(load("telemetry"), "")["runs"])
    write.store.rejects = lambda table, row: table[1] == "runs" and row["read"] == 3
    insert = AppendRows("projects/test-project/datasets/tables/tables/runs", RUNS, "", write.host, QUICK)
    for rows in (2, 3):
        try:
            with beam.Pipeline("FnApiRunner") as pipeline:
                told = pipeline | beam.Create([Tally(READ, "", rows), Tally(STORED, "", rows)]) | beam.Map(lambda t: beam.window.TimestampedValue(t, 90))
                (told,) | KeepBooks(insert, "r", "c 1", "{}")
        except Failed as error:
            assert rows == 3 and "the table runs rejects 1 rows" in str(error)
        else:
            assert rows == 2
    assert write.ask("SELECT run, read, balanced FROM tables.runs") == [{"run": "r", "read": 2, "balanced": True}]


# ---- the whole graph

def tables(write: BigQueryWrite, contract: str) -> None:
    for name, resource in wanted_tables(load(contract), "").items():
        write.store.make_table("tables", name, resource)


def books(write: BigQueryWrite) -> Counter:
    """The sum of the ledger's minutes, each row of which counts once."""
    rows = write.ask("SELECT DISTINCT * FROM tables.runs")
    return Counter({fate: sum(r[fate] for r in rows) for fate in (READ, STORED, REPEATED, REFUSED, LATE)})


def test_the_streaming_graph_keeps_its_books_in_bigquery(write, ring, tmp_path) -> None:
    """Rejected events and windows, a quota, a cut, a drain, lost answers: what was read is stored, repeated or refused, each row of `failures` is
    there, and where rows are stored twice the views know it."""
    tables(write, "telemetry")
    lines, held = sample(tmp_path, "telemetry", 16), load("telemetry")
    messages = messages_of(lines, held.time)
    again, broken = messages[2]._replace(id="again"), messages[12]._replace(id="broken", data=b'{"no": "row"')
    unwelcome = {orjson.loads(lines[n])[held.id] for n in (5, 9)}
    seen: list[Any] = []

    def rejects(table: tuple[str, str], row: dict[str, Any]) -> bool:
        if table[1] == "windows" and (not seen or row["window_start"] == seen[0]):
            seen.append(row["window_start"])
            return True
        return table[1] == "events" and row[held.id] in unwelcome

    write.store.rejects = rejects
    write.faults = [Fault("append .*events", "RESOURCE_EXHAUSTED", 2, after=1, inline=True), Fault("append .*failures", "cut"), Fault("append", "drain", 1, after=6),
                    Fault("append .*events", "lost", 2, after=6), Fault("append .*runs", "lost", 2)]
    run(parts_of("telemetry", [*messages[:12], again, broken, *messages[13:]], ring, bigquery_storage_endpoint=write.host))
    assert not any(f.times for f in write.faults)
    once = {orjson.loads(line)[held.id] for line in [*lines[:12], *lines[13:]]} - unwelcome
    events = write.ask(f"SELECT {held.id} AS id, COUNT(*) AS n, COUNT(DISTINCT run) AS runs FROM tables.events GROUP BY ALL")
    assert {r["id"] for r in events} == once and all(r["runs"] == 1 for r in events) and sum(r["n"] for r in events) > len(once), "two answers were lost"
    failures = Counter((r["stage"], r["reason"]) for r in write.ask("SELECT * FROM tables.failures"))
    assert failures == {("decode", "malformed"): 1, ("load", "rejected_by_sink"): 2 + len(seen)}
    assert write.ask("SELECT COUNT(*) AS n FROM tables.windows")[0]["n"] >= 1 and seen
    assert books(write) == Counter(read=17, stored=13, repeated=1, refused=3)
    assert write.ask("SELECT SUM(read) AS n FROM tables.runs")[0]["n"] > 17, "two answers were lost"
    views = {name: write.ask(re.sub(r"\b(FROM|JOIN) (events|failures|runs)\b", r"\1 tables.\2", duckdb(held)[name].sql))
             for name in ("events_once", "unbalanced_runs")}
    assert sorted(r[held.id] for r in views["events_once"]) == sorted(once) and views["unbalanced_runs"] == []


def test_a_failure_that_its_table_rejects_fails_the_stream(write, ring, tmp_path) -> None:
    tables(write, "telemetry")
    messages = messages_of(sample(tmp_path, "telemetry", 5), load("telemetry").time)
    write.store.rejects = lambda table, row: table[1] == "failures"
    with pytest.raises(Exception, match="the table failures rejects 1 rows"):
        run(parts_of("telemetry", [*messages, messages[4]._replace(id="broken", data=b"{")], ring, bigquery_storage_endpoint=write.host))
