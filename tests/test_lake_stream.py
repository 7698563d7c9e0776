import os
import subprocess
import sys
import threading
from datetime import datetime, timezone
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.sinks.lake import Lake
from pipelines.sinks.lake_files import EVENTS_TABLE, FAILURES_TABLE, WriteEvents, _WriteFn, by_day, conform, place
from pipelines.sinks.lake_stream import RENEWED, Finished, Moved, StreamLake
from schemas.arrow import stored_columns
from schemas.errors import Misconfigured
from tests.lakes import CONTRACT, DAY, NEXT, events, failures, one_run
from transforms.batch import with_column
from transforms.ledger import LedgerRow, Tally

NOW = datetime(2026, 3, 6, 10, tzinfo=timezone.utc)


def opened(folder: Path, name: str = "s1", holder: str = "the stream s1") -> StreamLake:
    return StreamLake(str(folder), CONTRACT, name, holder)


def finished(lake: StreamLake, number: int, ids: range, sealed: int = 0, read: int | None = None, late: int = 0) -> Finished:
    run = f"{lake.name}-{number:08d}"
    batch = with_column(events(ids), "run", pa.array([run] * len(ids)))
    written = [place(str(lake.folder), run, EVENTS_TABLE, day, [part]) for day, part in by_day(conform(batch, lake.columns))]
    if sealed:
        written.append(place(str(lake.folder), run, FAILURES_TABLE, "", [failures(run, sealed)]))
    if late:
        rows = failures(run, late, "late")
        rows = with_column(rows, "stage", pa.array(["window"] * late))
        written.append(place(str(lake.folder), run, FAILURES_TABLE, "", [rows]))
    return Finished(run, number, NOW, written, [Tally("read", "", len(ids) + sealed if read is None else read)], number * 10, number * 10 + 5)


def commit(lake: StreamLake, number: int, ids: range, **more: int) -> LedgerRow:
    return lake.commit(finished(lake, number, ids, **more))


def test_a_run_is_in_the_tables_and_the_state_comes_back(tmp_path: Path) -> None:
    with opened(tmp_path / "out") as lake:
        assert (lake.state().number, lake.days()) == (0, [])
        assert commit(lake, 1, range(5), sealed=2).balanced
        row = commit(lake, 2, range(5, 9), late=1)
        assert (row.balanced, row.read, row.stored, row.refused, row.late, row.reasons) == (True, 4, 4, 0, 1, {})
    with opened(tmp_path / "out", "s2") as lake:
        state = lake.state()
        assert (state.number, state.watermark, state.greatest) == (2, 20, 25)
        assert lake.marks(lake.days()[0]).ids.tolist() == list(range(9))
        assert sorted(lake.failed("file")) == ["file:0", "file:0", "file:1"]
    runs = Lake.reader(str(tmp_path / "out")).query("select run, count(*) as n from events group by run order by run").to_pylist()
    assert runs == [{"run": "s1-00000001", "n": 5}, {"run": "s1-00000002", "n": 4}]


def test_books_that_do_not_balance_are_told(tmp_path: Path) -> None:
    with opened(tmp_path / "out") as lake:
        assert not commit(lake, 1, range(5), read=6).balanced


def test_a_second_stream_is_refused_and_told_who_holds_the_tables(tmp_path: Path) -> None:
    with opened(tmp_path / "out"):
        with pytest.raises(Misconfigured, match="is held by the stream s1; one stream at a time"):
            opened(tmp_path / "out", "s2", "the stream s2")
    with opened(tmp_path / "out", "s2", "the stream s2"):
        pass


def test_a_batch_run_beside_it_is_noticed_before_anything_is_stored_twice(tmp_path: Path) -> None:
    with opened(tmp_path / "out") as lake:
        commit(lake, 1, range(5))
        one_run(tmp_path / "out", "b", [events(range(100, 103))])
        run = finished(lake, 2, range(5, 9))
        with pytest.raises(Moved):
            lake.commit(run)
        assert lake.state().number == 1 and len(lake.marks(lake.days()[0]).ids) == 8
        assert lake.commit(run).stored == 4


def test_what_a_dead_stream_left_is_removed_and_what_lives_is_not(tmp_path: Path) -> None:
    lake = opened(tmp_path / "out")
    commit(lake, 1, range(5))
    left = finished(lake, 2, range(5, 9)).written
    one_run(tmp_path / "out", "b", [])
    assert all(Path(f.path).exists() for f in left), "a run beside it removed files of a stream that lives"
    os.close(lake._held)
    lake._lock.close()  # as the system does for a process that was killed
    with opened(tmp_path / "out", "s2") as again:
        assert again.state().number == 1 and not any(Path(f.path).exists() for f in left)
    assert len(list((tmp_path / "out" / "data").rglob("s1-*.parquet"))) == 1


def test_small_files_are_merged_and_removed_when_they_were_aside_for_a_while(tmp_path: Path) -> None:
    def small() -> list[Path]:
        return list((tmp_path / "out" / "data").rglob("s1-*.parquet"))

    with opened(tmp_path / "out") as lake:
        lake.tidy.often = 10
        for number in range(1, 21):
            commit(lake, number, range(number * 5, number * 5 + 5))
            lake.keep_up()
        assert len(small()) == 20 and lake.connection.execute("SELECT count(*) FROM lake.events").fetchone() == (100,)
        lake.tidy.grace = lake.tidy.kept = 0.0
        lake.keep_up()
        assert len(small()) == 20, "what a reader may be reading still was removed"
        lake.keep_up()
        assert len(small()) < 3
        assert lake.connection.execute("SELECT count(*), count(distinct id) FROM lake.events").fetchone() == (100, 100)
        assert lake.connection.execute("SELECT count(*) FROM ducklake_snapshots('lake')").fetchone()[0] <= 2
        assert commit(lake, 21, range(200, 203)).balanced
    assert Lake.reader(str(tmp_path / "out")).query("select count(*) as n from events").to_pylist() == [{"n": 103}]


def test_the_connection_is_opened_anew_from_time_to_time(tmp_path: Path) -> None:
    with opened(tmp_path / "out") as lake:
        first = lake.connection
        lake.tidy.often = 1
        commit(lake, 1, range(5))
        lake.keep_up()
        assert lake.connection is first
        lake.tidy.runs = RENEWED
        lake.keep_up()
        assert lake.connection is not first and lake.tidy.connection is lake.connection
        assert lake.connection.execute("SELECT current_setting('threads')").fetchone() == (1,), "as the first one has it"
        assert commit(lake, 2, range(5, 9)).stored == 4 and lake.state().number == 2
        lake.keep_up()
    assert Lake.reader(str(tmp_path / "out")).query("select count(*) as n from events").to_pylist() == [{"n": 9}]


def test_what_waits_to_the_end_of_a_bundle_is_written_without_a_thread(tmp_path: Path) -> None:
    """A run of a stream is one bundle: each thread of its own has a stack and a heap."""
    step = WriteEvents(str(tmp_path), "r", stored_columns(CONTRACT))
    write = _WriteFn(step.folder, step.run, EVENTS_TABLE, step.columns, step.buffer_bytes)
    write.setup()
    before = set(threading.enumerate())
    write.start_bundle()
    write.process(events(range(5), DAY))
    write.process(events(range(5, 9), NEXT))
    written = [found.value for found in write.finish_bundle()]
    assert set(threading.enumerate()) <= before
    assert [(file.day, file.rows) for file in written] == [(DAY.isoformat(), 5), (NEXT.isoformat(), 4)]
    write.teardown()


WINDOWS = """
import os, duckdb, pyarrow as pa
from pipelines.sinks.lake_windows import change
from transforms.pane_changes import Changes, gone
connection = duckdb.connect(config={"threads": 1})
connection.execute("ATTACH ':memory:' AS lake; CREATE TABLE lake.windows (key VARCHAR, window_start TIMESTAMPTZ, n BIGINT)")
rows = pa.RecordBatch.from_pydict({"key": ["a", "b", None], "window_start": pa.array([0, 10, 20], pa.timestamp("us", "UTC")), "n": [1, 2, 3]})
threads = set(os.listdir("/proc/self/task"))
change(connection, Changes(rows, gone([])))
change(connection, Changes(rows.slice(0, 1), gone([("a", 0), (None, 20)])))
assert connection.execute("SELECT key, n FROM lake.windows ORDER BY key").fetchall() == [("a", 1), ("b", 2)]
assert set(os.listdir("/proc/self/task")) == threads, "Arrow has begun a thread a core, for good"
"""


def test_windows_go_and_come_without_threads_of_arrows() -> None:
    """In a process of its own: elsewhere they may be there already."""
    done = subprocess.run([sys.executable, "-c", WINDOWS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
