"""What a stream's tables cost as they grow: commit, upkeep, open and query after 500 small runs and after 5,000.

    python -m benchmarks.growth [--commits=5000] [--rows=200]

Runs are committed as the stream commits them, with events, every tenth with failures, a window now and then; a second process
reads all the while, a new reader each ten queries. Prints medians over a tenth of the commits, and ratios to those at the
tenth; nothing should be over 1.5. Time is made to run fast for the upkeep: it lets snapshots and files go after seconds, so
that as many are let go as in hours of a stream.
"""

import argparse
import multiprocessing
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from datetime import datetime, timedelta, timezone
from multiprocessing.connection import Connection
from pathlib import Path

import duckdb
import pyarrow as pa

from pipelines.sinks.lake import Lake
from pipelines.sinks.lake_files import EVENTS_TABLE, FAILURES_TABLE, by_day, conform, place
from pipelines.sinks.lake_stream import Finished, StreamLake
from tests.lakes import CONTRACT, DAY, events, failures
from transforms.batch import with_column
from transforms.ledger import Tally

QUERIES = {"count": "SELECT count(*) FROM events", "by run": "SELECT run, count(*) FROM events GROUP BY ALL ORDER BY ALL DESC LIMIT 5",
           "one day": f"SELECT count(*), max(\"at\") FROM events WHERE d = DATE '{DAY}'", "failures": "SELECT reason, count(*) FROM failures GROUP BY ALL",
           "ledger": "SELECT count(*), sum(stored), max(watermark) FROM runs"}
GRACE, KEPT = 20.0, 60.0  # seconds; 600 and 3,600 in a stream
PER_DAY = 100  # runs


def main() -> int:
    """Prints the table; exit code 1 where something took more than 1.5 times as long."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commits", type=int, default=5_000)
    parser.add_argument("--rows", type=int, default=200)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="penstock-growth-"))
    try:
        return _table(folder, given.commits, given.rows)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _table(folder: Path, commits: int, rows: int) -> int:
    processes = multiprocessing.get_context("spawn")
    heard, told = processes.Pipe(duplex=False)
    stop, halt = processes.Pipe(duplex=False)
    writer: dict[str, list[float]] = defaultdict(list)
    with StreamLake(str(folder), CONTRACT, "g", "the benchmark") as lake:
        lake.tidy.grace, lake.tidy.kept = GRACE, KEPT
        _commit(lake, 1, rows, writer)
        reader = processes.Process(target=_read, args=(folder, told, stop))
        reader.start()
        told.close()
        for number in range(2, commits + 1):
            _commit(lake, number, rows, writer)
            begun = time.perf_counter()
            lake.keep_up()
            writer["upkeep (mean)"].append(time.perf_counter() - begun)
            if number % (commits // 10) == 0:
                print(f"{number:,} commits, {_files(folder):,} files, {_snapshots(lake):,} snapshots, catalog {_megabytes(folder):.1f} MB", flush=True)
    halt.send("stop")
    timed: list[tuple[int, str, float]] = heard.recv()
    reader.join()
    tenth = commits // 10
    slow = False
    print(f"\n{'':16}{f'to {tenth:,}':>12}{f'{commits - tenth:,} on':>12}{'ratio':>8}   ms")
    read: dict[str, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    for at, name, seconds in timed:
        if at <= tenth or at > commits - tenth:
            read[name][at > tenth].append(seconds)
    for name, (first, last) in {**{name: (took[:tenth], took[-tenth:]) for name, took in writer.items()}, **read}.items():
        a, b = ((statistics.mean if "mean" in name else statistics.median)(took) * 1000 for took in (first, last))
        slow |= b > 1.5 * a
        print(f"{name:16}{a:12.1f}{b:12.1f}{b / a:8.2f}{'   over 1.5' if b > 1.5 * a else ''}")
    return int(slow)


def _commit(lake: StreamLake, number: int, rows: int, took: dict[str, list[float]]) -> None:
    run = f"{lake.name}-{number:08d}"
    batch = events(range(number * rows, (number + 1) * rows), DAY + timedelta(days=number // PER_DAY))
    batch = with_column(batch, "run", pa.array([run] * rows))
    begun = time.perf_counter()
    written = [place(str(lake.folder), run, EVENTS_TABLE, day, [part]) for day, part in by_day(conform(batch, lake.columns))]
    sealed = 2 if number % 10 == 0 else 0
    if sealed:
        written.append(place(str(lake.folder), run, FAILURES_TABLE, "", [failures(run, sealed)]))
    took["write files"].append(time.perf_counter() - begun)
    begun = time.perf_counter()
    row = lake.commit(Finished(run, number, datetime.now(timezone.utc), written, [Tally("read", "", rows + sealed)], number * 1_000_000, number * 1_000_000))
    took["commit"].append(time.perf_counter() - begun)
    assert row.balanced


def _read(folder: Path, told: Connection, stop: Connection) -> None:
    """Opens and asks until it is stopped; tells (runs there, what, seconds) of each."""
    timed: list[tuple[int, str, float]] = []
    while not stop.poll():
        begun = time.perf_counter()
        reader = Lake.reader(str(folder))
        runs = int(reader.query("SELECT count(*) AS n FROM runs")["n"][0].as_py())
        timed.append((runs, "open", time.perf_counter() - begun))
        for _ in range(2):
            for name, sql in QUERIES.items():
                begun = time.perf_counter()
                reader.query(sql)
                timed.append((runs, f"query {name}", time.perf_counter() - begun))
            time.sleep(0.1)
        reader.close()
    told.send(timed)


def _files(folder: Path) -> int:
    return sum(1 for _ in folder.rglob("*.parquet"))


def _snapshots(lake: StreamLake) -> int:
    (found,) = lake.connection.execute("SELECT count(*) FROM ducklake_snapshots('lake')").fetchone() or (0,)
    return int(found)


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.glob("catalog.sqlite*")) / 1e6


if __name__ == "__main__":
    try:
        sys.exit(main())
    except duckdb.Error as error:
        sys.exit(f"the tables could not be read or written: {error}")
