"""What a stream's tables cost as they grow: commit, upkeep, open and query after 500 small runs and after 5,000.

    python -m benchmarks.growth [--commits=5000] [--rows=200]

Runs are committed as the stream commits them, every tenth with failures, a hundred to a day. One lake gets a tenth of the
commits, the other all; a second process reads both all the while. Then both are committed to, opened and asked in
turn, so that whatever else the machine does falls on both alike. Prints medians and their ratios; nothing should be over
1.5. Upkeep is the CPU time of the writer, a mean over a tenth of the commits: the first and the last. Time runs fast for
it: snapshots and files go after a minute, so that as many go as in hours of a stream.
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

_ONE_DAY = f"d = DATE '{DAY}'"
QUERIES = {"count": "SELECT count(*) FROM events", "runs of a day": f"SELECT run, count(*) FROM events WHERE {_ONE_DAY} GROUP BY ALL ORDER BY ALL DESC LIMIT 5",
           "a day": f'SELECT count(*), max("at") FROM events WHERE {_ONE_DAY}', "failures": "SELECT reason, count(*) FROM failures GROUP BY ALL",
           "last run": "SELECT stored, watermark FROM runs ORDER BY number DESC LIMIT 1"}
"""Those of a table's columns over all time cost what its rows cost, ten times as many; these do not look at the rows of other days."""
GRACE, KEPT = 20.0, 60.0  # seconds; 600 and 3,600 in a stream
PER_DAY = 100  # runs
ROUNDS = 50


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
    stop, halt = processes.Pipe(duplex=False)
    tenth = commits // 10
    with _lake(folder / "small") as small, _lake(folder / "large") as large:
        for number in range(1, tenth + 1):
            _commit(small, number, rows)
            small.keep_up()
        _commit(large, 1, rows)
        large.keep_up()  # counts: both are merged after the same commits
        reader = processes.Process(target=_read, args=([small.folder, large.folder], stop))
        reader.start()
        upkeep = []
        for number in range(2, commits + 1):
            _commit(large, number, rows)
            begun = time.process_time()
            large.keep_up()
            upkeep.append(time.process_time() - begun)
            if number % tenth == 0:
                print(f"{number:,} commits, {_files(large.folder):,} files, {_snapshots(large):,} snapshots, catalog {_megabytes(large.folder):.1f} MB", flush=True)
        took: dict[str, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
        took["upkeep, CPU"] = [statistics.mean(upkeep[:tenth])], [statistics.mean(upkeep[-tenth:])]
        for number in range(1, ROUNDS + 1):
            for of, (lake, last) in enumerate(((small, tenth), (large, commits))):
                for name, seconds in (*_commit(lake, last + number, rows).items(), *_asked(lake.folder).items()):
                    took[name][of].append(seconds)
        halt.send("stop")
        reader.join()
    print(f"\n{'':16}{f'{tenth:,}':>12}{f'{commits:,}':>12}{'ratio':>8}   ms")
    slow = False
    for name, (first, last) in took.items():
        a, b = statistics.median(first) * 1000, statistics.median(last) * 1000
        slow |= b > 1.5 * a
        print(f"{name:16}{a:12.1f}{b:12.1f}{b / a:8.2f}{'   over 1.5' if b > 1.5 * a else ''}")
    return int(slow)


def _lake(folder: Path) -> StreamLake:
    lake = StreamLake(str(folder), CONTRACT, "g", "the benchmark")
    lake.tidy.grace, lake.tidy.kept = GRACE, KEPT
    return lake


def _commit(lake: StreamLake, number: int, rows: int) -> dict[str, float]:
    """Seconds of a run's files and of its commit."""
    run = f"{lake.name}-{number:08d}"
    batch = events(range(number * rows, (number + 1) * rows), DAY + timedelta(days=number // PER_DAY))
    batch = with_column(batch, "run", pa.array([run] * rows))
    begun = time.perf_counter()
    written = [place(str(lake.folder), run, EVENTS_TABLE, day, [part]) for day, part in by_day(conform(batch, lake.columns))]
    sealed = 2 if number % 10 == 0 else 0
    if sealed:
        written.append(place(str(lake.folder), run, FAILURES_TABLE, "", [failures(run, sealed)]))
    ready = time.perf_counter()
    row = lake.commit(Finished(run, number, datetime.now(timezone.utc), written, [Tally("read", "", rows + sealed)], number * 1_000_000, number * 1_000_000))
    assert row.balanced
    return {"write files": ready - begun, "commit": time.perf_counter() - ready}


def _asked(folder: Path) -> dict[str, float]:
    """Seconds of a new reader, and of its queries."""
    begun = time.perf_counter()
    reader = Lake.reader(str(folder))
    took = {"open": time.perf_counter() - begun}
    for name, sql in QUERIES.items():
        begun = time.perf_counter()
        reader.query(sql)
        took[f"query {name}"] = time.perf_counter() - begun
    reader.close()
    return took


def _read(folders: list[Path], stop: Connection) -> None:
    """Opens and asks until it is stopped."""
    while not stop.poll(0.3):
        for folder in folders:
            _asked(folder)


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
