"""Small lakes for tests: batches as they reach Load, runs without a pipeline, and what child processes do to a lake."""

import os
import signal
from collections.abc import Iterable
from datetime import date, datetime, timedelta, timezone
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.sinks.lake import Lake
from pipelines.sinks.lake_commit import Lost, commit
from pipelines.sinks.lake_files import EVENTS_TABLE, FAILURES_TABLE, Written, by_day, conform, place
from schemas.arrow import arrow_schema
from schemas.tables import FAILURES
from tests.contracts import plain_contract
from transforms.ledger import LedgerRow, Tally

CONTRACT = plain_contract()
DAY = date(2026, 3, 4)
NEXT = DAY + timedelta(days=1)
STARTED = datetime(2026, 3, 6, 10, tzinfo=timezone.utc)


def events(ids: Iterable[int], day: date = DAY, text: str = "x", origin: str = "file") -> pa.RecordBatch:
    """One row an id, a second apart from midnight of the day on."""
    listed = list(ids)
    midnight = datetime.combine(day, datetime.min.time(), timezone.utc)
    rows = len(listed)
    columns = {
        "id": [f"i{i}" for i in listed], "at": pa.array([midnight + timedelta(seconds=i % 80_000) for i in listed], pa.timestamp("us", "UTC")),
        "text": [text] * rows, "origin": [f"{origin}:{i}" for i in listed], "d": pa.array([day] * rows, pa.date32()),
        "score": pa.array([i / 7 for i in listed], pa.float32()), "label": pa.array([i % 2 == 0 for i in listed], pa.bool_()),
        "contract_version": ["1"] * rows, "policy_digest": ["p"] * rows, "model_name": ["m"] * rows, "model_version": ["1"] * rows,
        "model_digest": ["d"] * rows, "id_hash": pa.array(listed, pa.int64()), "content_hash": pa.array([i * 31 for i in listed], pa.int64()), "run": ["r"] * rows,
        "watermark": pa.nulls(rows, pa.timestamp("us", "UTC"))}
    return pa.RecordBatch.from_arrays([pa.array(c, pa.string()) if isinstance(c, list) else c for c in columns.values()], names=list(columns))


def failures(run: str, rows: int, reason: str = "malformed") -> pa.RecordBatch:
    columns = {"run": [run] * rows, "stage": ["decode"] * rows, "reason": [reason] * rows, "field": [None] * rows,
               "origin": [f"file:{i}" for i in range(rows)], "attempt": [1] * rows, "d": [None] * rows, "sealed": [b"s"] * rows, "key": ["k"] * rows}
    return pa.RecordBatch.from_pydict(columns, schema=arrow_schema(FAILURES))


def files(lake: Lake, batches: Iterable[pa.RecordBatch], sealed: Iterable[pa.RecordBatch] = ()) -> list[Written]:
    """Writes every batch to files of its own."""
    own = [place(str(lake.folder), lake.run, EVENTS_TABLE, day, [part])
           for batch in batches for day, part in by_day(conform(batch, lake.columns))]
    return own + [place(str(lake.folder), lake.run, FAILURES_TABLE, "", [batch]) for batch in sealed]


def tallies(written: list[Written], repeated: int = 0, off: int = 0) -> list[Tally]:
    """The tallies that balance, or are off by so many rows read."""
    refused = sum(f.rows for f in written if f.table == FAILURES_TABLE)
    told = [Tally("read", "", sum(f.rows for f in written) + repeated + off), Tally("repeated", "", repeated)]
    return told + ([Tally("refused", "malformed", refused)] if refused else [])


def finish(lake: Lake, written: list[Written], days: Iterable[date] = (), **wrong: int) -> LedgerRow:
    return commit(lake.commit("batch", days, STARTED).request, written, tallies(written, **wrong))


def one_run(folder: Path, run: str, batches: Iterable[pa.RecordBatch], days: Iterable[date] = (), sealed: int = 0) -> LedgerRow:
    with Lake.writer(str(folder), CONTRACT, run) as lake:
        return finish(lake, files(lake, batches, [failures(run, sealed)] if sealed else []), days)


ADDED, SEALED, REPLACED = 40, 3, 25


def child_run(folder: Path, number: int, fatal: str, told: Connection) -> None:
    """A run that adds ADDED rows of its own to NEXT (even numbers) or replaces DAY by REPLACED rows; dies at a step."""
    def at(step: str) -> None:
        if step == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    run = f"run{number}"
    told.send("started")
    at("started")
    with Lake.writer(str(folder), CONTRACT, run) as lake:
        at("opened")
        replacing = number % 2 == 1
        ids = range(number * 1_000, number * 1_000 + (REPLACED if replacing else ADDED))
        written = files(lake, [events(ids, DAY if replacing else NEXT, run)], [failures(run, SEALED)])
        at("written")
        commit(lake.commit("batch", [DAY] if replacing else [], STARTED).request, written, tallies(written), at=at)
        at("closing")


def child_reader(folder: Path, told: Connection, stop: Connection, reads: Any) -> None:
    """Reads until it is stopped, and counts that in `reads`, a shared number; tells what was not whole."""
    broken = []
    while not stop.poll():
        reader = Lake.reader(str(folder))
        for _ in range(50):
            broken += halves(reader.query(WHOLE).to_pylist())
            reads.value += 1
            if stop.poll(0.005):
                break
        reader.close()
    told.send(broken)


WHOLE = """
    SELECT r.run, r.stored, r.refused, r.balanced, r.ended, r.partitions <> '[]' AS replacing, coalesce(e.n, 0) AS events, coalesce(f.n, 0) AS failures,
           (SELECT count(*) FROM events WHERE text NOT IN (SELECT run FROM runs)) + (SELECT count(*) FROM failures WHERE run NOT IN (SELECT run FROM runs)) AS strays
    FROM runs r LEFT JOIN (SELECT text AS run, count(DISTINCT id_hash) AS n FROM events GROUP BY ALL) e USING (run)
    LEFT JOIN (SELECT run, count(*) AS n FROM failures GROUP BY ALL) f USING (run) ORDER BY r.ended"""


def halves(rows: list[dict[str, object]]) -> list[str]:
    """What is wrong with the answer of WHOLE: each run is there in all three tables, and DAY is the last replacement's."""
    last = max((r["run"] for r in rows if r["replacing"]), key=lambda run: [r["run"] for r in rows].index(run), default=None)
    wrong = []
    for r in rows:
        expected = ADDED if not r["replacing"] else REPLACED if r["run"] == last else 0
        if (r["events"], r["failures"], r["strays"], r["balanced"]) != (expected, SEALED, 0, True):
            wrong.append(f"{r['run']}: {r['events']} events of {expected}, {r['failures']} failures, {r['strays']} strays")
    return wrong


def child_rival(folder: Path, run: str, day: date, ids: range, replacing: bool, turn: Connection) -> None:
    """Opens, writes, says so, waits for its turn, commits; tells "won" or why it lost."""
    with Lake.writer(str(folder), CONTRACT, run) as lake:
        written = files(lake, [events(ids, day, run)])
        turn.send("written")
        turn.recv()
        try:
            finish(lake, written, [day] if replacing else [])
            turn.send("won")
        except Lost:
            turn.send(lake.lost())
