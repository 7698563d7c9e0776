import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import apache_beam as beam
import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from pipelines.sinks import lake_runs
from pipelines.sinks.lake import Lake, stored_hashes
from pipelines.sinks.lake_catalog import load_extensions, locked, make, write_connection
from pipelines.sinks.lake_commit import NOTHING, Lost, Unbalanced, commit, fingerprint
from pipelines.sinks.lake_files import EVENTS_TABLE, by_day, conform, place
from pipelines.sinks.lake_tables import _execute
from pipelines.sinks.lake_upkeep import keep_up
from schemas.arrow import stored_columns
from schemas.errors import Misconfigured
from schemas.fields import Field
from schemas.tables import FAILURES, REPLAYS, RUNS
from tests.lakes import CONTRACT, DAY, NEXT, STARTED, events, failures, files, finish, one_run, tallies
from tests.runs import run
from transforms.ledger import Tally

TEXT = next(f for f in CONTRACT.fields if f.name == "text")


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, "duckdb.DuckDBPyConnection"]]:
    """A lake whose DuckDB stays in this process between runs: loading the extensions takes 0.2 s."""
    folder = tmp_path_factory.mktemp("held")
    make(folder)
    connection = write_connection(folder)
    one_run(folder, "first", [])
    yield folder, connection
    connection.close()


@pytest.fixture
def out(held: tuple[Path, "duckdb.DuckDBPyConnection"]) -> Path:
    """That lake, without rows, files and snapshots."""
    folder, connection = held
    for table in ("events", "failures", "runs"):
        connection.execute(f"DELETE FROM lake.{table}")
    keep_up(connection, kept="INTERVAL '-1 second'", grace="INTERVAL '-1 second'")
    assert not on_disk(folder)
    return folder


def asked(folder: Path, sql: str) -> list[tuple[object, ...]]:
    """What another connection sees."""
    connection = write_connection(folder)
    try:
        return [tuple(row.values()) for row in connection.execute("USE lake").execute(sql).to_arrow_table().to_pylist()]
    finally:
        connection.close()


def content(folder: Path) -> list[tuple[object, ...]]:
    return asked(folder, "SELECT * EXCLUDE (origin) FROM events ORDER BY ALL")


def on_disk(folder: Path) -> set[str]:
    return {p.name for p in (folder / "data").rglob("*") if p.is_file() and not p.name.startswith("ducklake-")}


# Opening

def test_the_tables_are_as_declared(tmp_path: Path) -> None:
    one_run(tmp_path / "out", "a", [])
    found = {}
    for table, column, kind, nullable, doc in asked(
            tmp_path / "out", "SELECT table_name, column_name, data_type, is_nullable, comment FROM duckdb_columns() WHERE database_name = 'lake' "
            "AND table_name IN (SELECT table_name FROM duckdb_tables())"):
        found.setdefault(table, {})[column] = (kind, nullable, doc)
    sql = {"string": "VARCHAR", "int": "INTEGER", "long": "BIGINT", "float": "FLOAT", "boolean": "BOOLEAN", "date": "DATE", "bytes": "BLOB",
           "timestamp-micros": "TIMESTAMP WITH TIME ZONE"}
    assert found == {table: {c.name: (sql[c.type], c.nullable, c.doc) for c in columns}
                     for table, columns in (("events", stored_columns(CONTRACT)), ("failures", FAILURES), ("runs", RUNS), ("replays", REPLAYS))}
    assert (tmp_path / "out" / "catalog.sqlite").read_bytes()[18:20] == b"\x02\x02", "the catalog is not in WAL mode"


@pytest.mark.parametrize("made, words", [
    (lambda out: out.write_text("x"), "is not a folder"),
    (lambda out: (out.mkdir(), (out / "letter.txt").write_text("x")), "holds other files"),
    (lambda out: (out.mkdir(), (out / "catalog.sqlite").write_bytes(b"no catalog at all" * 100)), "cannot be opened"),
])
def test_a_folder_that_is_no_lake_is_refused(tmp_path: Path, made, words: str) -> None:
    made(tmp_path / "out")
    with pytest.raises(Misconfigured, match=words):
        Lake.writer(str(tmp_path / "out"), CONTRACT, "a")
    with pytest.raises(Misconfigured):
        Lake.reader(str(tmp_path / "out"))


@pytest.mark.parametrize(("most_bytes", "words"), [(30_000, "catalog.sqlite cannot be made"), (None, "its tables cannot be made: TransactionException")])
def test_a_full_disk_while_tables_are_made_leaves_none_that_cannot_be_opened(tmp_path: Path, most_bytes: int | None, words: str) -> None:
    """The catalog itself, by a process whose files may not grow; its tables, where the transaction fails and none is left to roll back."""
    if most_bytes:
        program = f"from pipelines.sinks.lake import Lake; from tests.lakes import CONTRACT; Lake.writer({str(tmp_path / 'out')!r}, CONTRACT, 'a')"
        told = run(tmp_path, command=("-c", program), most_bytes=most_bytes).text()
    else:
        make(tmp_path / "out")
        with pytest.raises(Misconfigured) as error:
            _execute(Uncommitted(), tmp_path / "out", ["CREATE TABLE lake.x (a INT)"])  # type: ignore[arg-type]
        told = str(error.value)
    assert words in told and "look whether the disk is full" in told
    with Lake.writer(str(tmp_path / "out"), CONTRACT, "b"):
        pass


class Uncommitted:
    """A connection whose commit fails, as DuckLake's does on a full disk."""

    def begin(self) -> None: ...

    def execute(self, statement: str) -> None: ...

    def commit(self) -> None:
        raise duckdb.TransactionException("database or disk is full")

    def rollback(self) -> None:
        raise duckdb.TransactionException("no transaction is active")


def test_a_run_ends_though_nobody_can_look_into_its_tables(tmp_path: Path) -> None:
    lake = Lake.writer(str(tmp_path / "out"), CONTRACT, "a")
    lake.connection.execute("DROP TABLE lake.runs")
    lake.close()
    assert list((tmp_path / "out" / "running").iterdir()) == []


@pytest.mark.parametrize("url", ["gs://bucket/tables", "BQ://project.dataset", " bq://project.dataset", "s3://x"])
def test_a_url_is_no_folder(tmp_path: Path, url: str) -> None:
    """Path makes a relative folder of it, `gs:/bucket`, where nobody would look for the rows."""
    with pytest.raises(Misconfigured, match="is a URL and no folder; give a folder of this machine, or bq://PROJECT.DATASET"):
        Lake.writer(f"{tmp_path}/{url}", CONTRACT, "a")
    assert list(tmp_path.iterdir()) == []


def test_one_lake_holds_one_contract(out: Path) -> None:
    one_run(out, "a", [events(range(3))])
    with pytest.raises(Misconfigured, match="holds the events of the contract plain.*other an --output of its own"):
        Lake.writer(str(out), replace(CONTRACT, name="other"), "b")


@pytest.mark.parametrize("fields, words", [
    ((replace(TEXT, type="long"),), "text is VARCHAR and declared BIGINT"),
    ((replace(TEXT, nullable=False),), "text is VARCHAR and declared VARCHAR NOT NULL"),
    ((Field("extra", "long", False, "public", "x"),), "extra is missing and required"),
])
def test_other_columns_are_shown(out: Path, fields: tuple[Field, ...], words: str) -> None:
    one_run(out, "a", [])
    changed = replace(CONTRACT, fields=tuple({f.name: f for f in (*CONTRACT.fields, *fields)}.values()))
    with pytest.raises(Misconfigured, match=words):
        Lake.writer(str(out), changed, "b")
    with pytest.raises(Misconfigured, match="text is not declared"):
        Lake.writer(str(out), replace(CONTRACT, fields=CONTRACT.fields[:2]), "b")


def test_new_nullable_columns_are_added(tmp_path: Path) -> None:
    one_run(tmp_path, "a", [events([1])])
    wider = replace(CONTRACT, fields=(Field("extra", "long", True, "public", "More."), *CONTRACT.fields))
    with Lake.writer(str(tmp_path), wider, "b") as lake:
        finish(lake, files(lake, [events([2]).append_column("extra", pa.array([7], pa.int64()))]))
    assert asked(tmp_path, "SELECT id, extra FROM events ORDER BY id") == [("i1", None), ("i2", 7)]


def test_a_lake_may_be_moved_and_opens_in_plain_duckdb(tmp_path: Path) -> None:
    one_run(tmp_path / "here", "a", [events(range(3)), events(range(3, 5), NEXT)])
    out = tmp_path / "here"
    plain = duckdb.connect()
    load_extensions(plain)
    plain.execute(f"ATTACH 'ducklake:sqlite:{out}/catalog.sqlite' AS lake (READ_ONLY)")
    assert plain.execute("SELECT count(*), count(DISTINCT d) FROM lake.events").fetchone() == (5, 2)
    plain.close()
    shutil.move(out, tmp_path / "there")
    one_run(tmp_path / "there", "b", [events([9])])
    assert asked(tmp_path / "there", "SELECT count(*) FROM events") == [(6,)]


# Load: files

def test_rows_are_parted_by_day_in_their_order() -> None:
    mixed = pa.Table.from_batches([events([5, 3], NEXT), events([9], DAY), events([1], NEXT)]).combine_chunks().to_batches()[0]
    assert [(day, part["id_hash"].to_pylist()) for day, part in by_day(mixed)] == [("2026-03-04", [9]), ("2026-03-05", [5, 3, 1])]
    assert list(by_day(mixed.slice(0, 0))) == []


@pytest.mark.parametrize("column, error, words", [
    (None, TypeError, "lacks the column text"),
    (pa.array([1], pa.int64()), TypeError, "text is int64 in a batch and string"),
])
def test_a_batch_that_does_not_fit_the_table_is_a_bug(column: pa.Array | None, error: type[Exception], words: str) -> None:
    batch = events([1]).drop_columns("text")
    with pytest.raises(error, match=words):
        conform(batch if column is None else batch.append_column("text", column), stored_columns(CONTRACT))


def test_a_required_null_is_a_bug_and_a_column_too_many_is_left_out() -> None:
    batch = events([1]).append_column("_raw", pa.array(["in clear"])).set_column(2, "text", pa.array(["x"]).dictionary_encode())
    assert conform(batch, stored_columns(CONTRACT)).schema.names == [c.name for c in stored_columns(CONTRACT)]
    with pytest.raises(ValueError, match="the column id is required and holds nulls"):
        conform(batch.set_column(0, "id", pa.nulls(1, pa.string())), stored_columns(CONTRACT))


def test_a_file_is_named_by_its_run_and_rows(tmp_path: Path) -> None:
    first = place(str(tmp_path), "a", EVENTS_TABLE, "2026-03-04", [events([1, 2])])
    assert place(str(tmp_path), "a", EVENTS_TABLE, "2026-03-04", [events([1, 2])]) == first
    assert place(str(tmp_path), "a", EVENTS_TABLE, "2026-03-04", [events([1, 3])]) != first
    assert first.path.startswith(f"{tmp_path}/data/main/events/d=2026-03-04/a-") and first.rows == 2
    assert {p.suffix for p in tmp_path.rglob("*") if p.is_file()} == {".parquet"}
    column = pq.ParquetFile(first.path).metadata.row_group(0).column(0)
    assert column.compression == "ZSTD"


# Commit

def test_a_run_adds_its_rows(out: Path) -> None:
    row = one_run(out, "a", [events(range(10)), events(range(10, 15), NEXT)], sealed=2)
    assert (row.read, row.stored, row.refused, row.reasons, row.balanced) == (17, 15, 2, {"malformed": 2}, True)
    assert asked(out, "SELECT d, count(*) FROM events GROUP BY ALL ORDER BY ALL") == [(DAY, 10), (NEXT, 5)]
    assert asked(out, "SELECT run, reason, count(*) FROM failures GROUP BY ALL") == [("a", "malformed", 2)]
    one_run(out, "b", [events(range(100, 103))])
    with Lake.writer(str(out), CONTRACT, "c") as lake:
        assert replace(lake.ledger("a"), ended=row.ended) == row and abs(lake.ledger("a").ended - row.ended) < timedelta(seconds=1)
        assert lake.ledger("b").stored == 3
        with pytest.raises(KeyError):
            lake.ledger("c")
    assert asked(out, "SELECT count(*) FROM events") == [(18,)]


def test_replacing_gives_what_was_given_last(out: Path) -> None:
    one_run(out, "other-day", [events(range(50, 53), NEXT)])
    a, b, empty = [events(range(20)), events(range(20, 30))], [events(range(5, 25), text="y")], []
    seen, prints = [], []
    for number, batches in enumerate([a, a, b, a, empty, [events(range(29, -1, -1), origin="elsewhere")]]):
        prints.append(one_run(out, f"r{number}", batches, [DAY]).fingerprint)
        seen.append(content(out))
    other = [row for row in seen[0] if NEXT in row]
    assert len(other) == 3 and [len(s) for s in seen] == [33, 33, 23, 33, 3, 33]
    assert seen[0] == seen[1] == seen[3] == seen[5] and seen[4] == other and all(other == [r for r in s if NEXT in r] for s in seen)
    assert prints[0] == prints[1] == prints[3] == prints[5] != prints[2] and prints[4] == NOTHING
    assert asked(out, "SELECT DISTINCT partitions FROM runs WHERE run <> 'other-day'") == [('["2026-03-04"]',)]


def test_the_fingerprint_sees_content_and_neither_order_nor_origin(out: Path) -> None:
    columns = tuple(c.name for c in stored_columns(CONTRACT) if c.name != "origin")
    with Lake.writer(str(out), CONTRACT, "a") as lake:
        def of(*batches: pa.RecordBatch) -> str:
            return fingerprint(lake.connection, [f.path for f in files(lake, batches)], columns)
        whole = of(events(range(10)))
        assert whole == of(events(range(9, 4, -1), origin="elsewhere"), events(range(5), origin="elsewhere"))
        assert len({whole, of(events(range(9))), of(events(range(10), text="y")), of(events(range(10), NEXT)), of(events([*range(10), 9], origin="z"))}) == 5
        assert of() == NOTHING


def test_a_commit_that_is_tried_again_does_nothing(out: Path) -> None:
    with Lake.writer(str(out), CONTRACT, "a") as lake:
        written = files(lake, [events(range(4))], [failures("a", 2)])
        request = lake.commit("batch", [], STARTED).request
        first = commit(request, written, tallies(written))
        again = commit(request, written, tallies(written))
    assert (again.run, again.stored, again.refused, again.fingerprint) == (first.run, 4, 2, first.fingerprint)
    assert asked(out, "SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM failures), (SELECT count(*) FROM runs)") == [(4, 2, 1)]
    with pytest.raises(Misconfigured, match="run a: is in the ledger already"):
        Lake.writer(str(out), CONTRACT, "a")


@pytest.mark.parametrize("days, distort, words", [
    ((), lambda files, told: (files, [*told, Tally("read", "", 1)]), r"read: 13 rows at the source, 12 ended \(10 stored, 0 repeated, 2 refused\)"),
    ((DAY,), lambda files, told: (files, [*told, Tally("repeated", "", 1)]), r"read: 12 rows at the source, 13 ended"),
    ((DAY,), lambda files, told: ([files[0]._replace(rows=9), *files[1:]], told), r"stored: 10 rows in the table, 9 written"),
    ((), lambda files, told: (files, [t if t.fate != "refused" else t._replace(reason="conflict") for t in told]), "differ in conflict, malformed"),
    ((), lambda files, told: (files[:1], told), r"refused: 0 rows in the table, 2 told"),
])
def test_books_that_do_not_balance_leave_the_tables_alone(out: Path, days: tuple[date, ...], distort, words: str) -> None:
    one_run(out, "before", [events(range(50, 53))], sealed=1)
    before, there = content(out), on_disk(out)
    with Lake.writer(str(out), CONTRACT, "a") as lake:
        written = files(lake, [events(range(10))], [failures("a", 2)])
        told, request = tallies(written), lake.commit("batch", days, STARTED).request
        with pytest.raises(Unbalanced, match=words):
            commit(request, *distort(written, told))
        assert lake.lost().startswith("the books do not balance")
        with pytest.raises(Unbalanced):
            commit(request, written, told)
    assert content(out) == before and on_disk(out) == there
    assert asked(out, "SELECT stored, refused, reasons, balanced FROM runs WHERE run = 'a'") == [(0, 0, "{}", False)]
    assert asked(out, "SELECT count(*) FROM failures WHERE run = 'a'") == [(0,)]
    assert one_run(out, "again", [events(range(10))], days).balanced


@pytest.mark.parametrize("first, second, loses", [
    # (day, ids, replacing) of the run that commits first and of the one that commits second
    ((DAY, range(5), True), (DAY, range(5, 9), True), r"run first replaced 2026-03-04"),
    ((DAY, range(0), True), (DAY, range(5, 9), True), r"run first replaced 2026-03-04"),
    ((DAY, range(5), True), (DAY, range(5, 9), False), r"run first replaced 2026-03-04"),
    ((DAY, range(5), False), (DAY, range(5, 9), True), r"run first added rows to 2026-03-04"),
    ((DAY, range(5), False), (DAY, range(4, 9), False), r"run first stored rows with the same ids"),
    ((DAY, range(5), False), (DAY, range(5, 9), False), None),
    ((DAY, range(5), False), (NEXT, range(5), False), None),  # beyond the horizon: two events
    ((DAY, range(5), True), (NEXT, range(5, 9), True), None),
])
def test_of_two_runs_at_once_the_later_commit_loses(out: Path, first, second, loses: str | None) -> None:
    one_run(out, "before", [events(range(100, 110)), events(range(110, 120), NEXT)])
    with Lake.writer(str(out), CONTRACT, "first") as one, Lake.writer(str(out), CONTRACT, "second") as two:
        written = [files(lake, [events(ids, day)]) for lake, (day, ids, _) in ((one, first), (two, second))]
        finish(one, written[0], [first[0]] if first[2] else [])
        after_first = content(out)
        if loses is None:
            assert finish(two, written[1], [second[0]] if second[2] else []).balanced and two.lost() is None
            return
        with pytest.raises(Lost, match=f"{loses}.*run it again"):
            finish(two, written[1], [second[0]] if second[2] else [])
        assert "run first" in two.lost()
    assert content(out) == after_first and not {name for name in on_disk(out) if name.startswith("second-")}
    assert asked(out, "SELECT run FROM runs ORDER BY ended") == [("before",), ("first",)]
    if not first[2] and second[2]:
        assert one_run(out, "second-again", [events(second[1], second[0])], [second[0]]).stored == len(second[1])


def test_the_whole_by_beam(out: Path) -> None:
    with Lake.writer(str(out), CONTRACT, "a") as lake, beam.Pipeline(runner=FnApiRunner()) as p:
        mixed = pa.Table.from_batches([events(range(n * 10, n * 10 + 5), day) for n, day in enumerate([DAY, NEXT])]).combine_chunks().to_batches()[0]
        stored = p | "Events" >> beam.Create([mixed, events(range(50, 60))]) | "LoadEvents" >> lake.write_events()
        refused = p | "Failures" >> beam.Create([failures("a", 3)]) | "LoadFailures" >> lake.write_failures()
        told = p | "Told" >> beam.Create([Tally("read", "", 25), Tally("repeated", "", 2), Tally("refused", "malformed", 3)])
        (stored, refused, told) | "Commit" >> lake.commit("batch", [], STARTED)
    with Lake.writer(str(out), CONTRACT, "b") as lake:
        assert lake.ledger("a").sentence() == "25 read = 20 stored + 2 repeated + 3 refused (malformed 3)   balanced"
        with beam.Pipeline(runner=FnApiRunner()) as p:
            (p | beam.Create([], reshuffle=False),) | "Commit" >> lake.commit("batch", [], STARTED)
    assert asked(out, "SELECT run, read, balanced FROM runs ORDER BY ended") == [("a", 25, True), ("b", 0, True)]
    assert len(list((out / "data/main/events").rglob("a-*.parquet"))) == 2, "rows of one day were not gathered in one file"


# What a run that adds must know

def test_stored_hashes_are_sorted_and_of_the_days_asked_for(out: Path) -> None:
    one_run(out, "a", [events([7, 3, 9]), events([1], NEXT), events([5], DAY - timedelta(days=1))])
    with Lake.writer(str(out), CONTRACT, "b") as lake:
        marks = stored_hashes(lake, DAY, DAY)
        midnight = 1_772_582_400_000_000
        assert [m.tolist() for m in marks] == [[3, 7, 9], [93, 217, 279], [midnight + i * 1_000_000 for i in (3, 7, 9)]]
        assert {m.dtype for m in marks} == {np.dtype(np.int64)}
        assert [stored_hashes(lake, *days).ids.tolist() for days in ((None, DAY), (NEXT, None), (None, None))] == [[3, 5, 7, 9], [1], [1, 3, 5, 7, 9]]
        assert lake.stored([])().ids.tolist() == [1, 3, 5, 7, 9] and lake.stored([DAY])(DAY, DAY) is None


# Housekeeping

def test_files_of_dead_runs_go_and_those_of_living_ones_stay(out: Path) -> None:
    one_run(out, "kept", [events(range(3))], sealed=1)
    there = on_disk(out)
    with Lake.writer(str(out), CONTRACT, "living") as lake:
        own = {Path(f.path).name for f in files(lake, [events(range(5))])}
        for name in ("dead-1.parquet", "dead-2.part"):
            (out / "data/main/events/d=2026-03-04" / name).write_bytes(b"x")
        (out / "data/main/failures/dead-3.parquet").write_bytes(b"x")
        (out / "running/dead.lock").touch()
        (out / "running/dead.parked").mkdir()
        (out / "running/dead.parked/b.parked").write_bytes(b"x")
        young, old = (out / "data/main/runs" / f"ducklake-{n}.parquet" for n in ("young", "old"))
        young.touch()
        old.touch()
        os.utime(old, (0, 0))
        with Lake.writer(str(out), CONTRACT, "cleaner"):
            assert on_disk(out) == there | own
            assert {p.name for p in (out / "running").iterdir()} == {"living.lock", "cleaner.lock"}
            assert young.exists() and not old.exists()
        with pytest.raises(Misconfigured, match="is running already"):
            Lake.writer(str(out), CONTRACT, "living")
    assert on_disk(out) == there and not list((out / "running").iterdir())


def test_many_small_files_become_few_and_readers_go_on(out: Path) -> None:
    runs = 6
    for number in range(runs):
        one_run(out, f"r{number}", [events(range(number * 10, number * 10 + 5))])
    before = content(out)
    (snapshot,), = asked(out, "SELECT snapshot_id FROM runs WHERE run = 'r1'")
    reader = Lake.reader(str(out))
    reader.connection.begin()
    assert reader.query("SELECT count(*) AS n FROM events").to_pylist() == [{"n": 5 * runs}]
    with Lake.writer(str(out), CONTRACT, "upkeep") as lake, locked(lake.folder):
        assert not keep_up(lake.connection, most_small=runs)
        assert keep_up(lake.connection, most_small=runs - 1)
        files_now = asked(out, "SELECT count(DISTINCT filename) FROM events")
        assert files_now == [(1,)] and content(out) == before
        assert lake_runs.clean(lake.connection, lake.folder) == 0
        assert len({n for n in on_disk(out) if n.startswith("r")}) == runs, "files that a reader may need were removed"
        assert reader.query("SELECT count(*) AS n, min(id_hash) AS low FROM events").to_pylist() == [{"n": 5 * runs, "low": 0}]
        assert asked(out, f"SELECT count(*) FROM events AT (VERSION => {snapshot})") == [(10,)], "time travel"
        reader.connection.rollback()
        reader.close()
        keep_up(lake.connection, kept="INTERVAL '-1 second'", grace="INTERVAL '-1 second'")
    assert content(out) == before and not {n for n in on_disk(out) if n.startswith("r")}


def test_a_connection_that_writes_is_shared_by_a_process(out: Path) -> None:
    with Lake.writer(str(out), CONTRACT, "a") as lake:
        other = write_connection(lake.folder)
        other.begin()
        other.execute("DELETE FROM lake.runs")
        assert lake.connection.execute("SELECT count(*) FROM duckdb_databases() WHERE database_name = 'lake'").fetchone() == (1,)
        other.rollback()
        other.close()
