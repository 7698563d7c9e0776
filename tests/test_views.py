"""The views that come with the tables: known numbers in, known numbers out; the text for BigQuery."""

import dataclasses
import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.__main__ import main
from pipelines.sinks import lake_replays
from pipelines.sinks.lake import Lake
from pipelines.sinks.lake_catalog import locked
from pipelines.sinks.lake_commit import Unbalanced, commit
from pipelines.sinks.replays import Failure, marks
from schemas import views
from schemas.contract import load
from schemas.fields import Field
from tests.contracts import plain_contract
from tests.lakes import CONTRACT, DAY, NEXT, STARTED, events, failures, files, one_run
from transforms.batch import with_column
from transforms.ledger import Tally


def day_of(batch: pa.RecordBatch, day) -> pa.RecordBatch:
    return with_column(batch, "d", pa.array([day] * batch.num_rows, pa.date32()))


def ask(folder: Path, sql: str) -> list[dict]:
    reader = Lake.reader(str(folder))
    found = reader.query(sql).to_pylist()
    reader.close()
    return found


def done(lake: Lake, stored: list[pa.RecordBatch], sealed: list[pa.RecordBatch], days=(), off: int = 0) -> None:
    """Commits these; off: rows read beyond those that ended."""
    told = [Tally("read", "", sum(b.num_rows for b in [*stored, *sealed]) + off)]
    told += [Tally("refused", b["reason"][0].as_py(), b.num_rows) for b in sealed]
    commit(lake.commit("batch", days, STARTED).request, files(lake, stored, sealed), told)


@pytest.fixture
def run(tmp_path: Path) -> Iterator:
    """One run: rows stored by day, failures as (reason, rows, day), the days that it replaces."""
    def one(name: str, stored: list[tuple[range, object]], refused: list[tuple[str, int, object]] = (), days: tuple = (), off: int = 0):
        with Lake.writer(str(tmp_path), CONTRACT, name) as lake:
            sealed = [day_of(failures(name, rows, reason), day) for reason, rows, day in refused]
            return done(lake, [events(ids, day, name) for ids, day in stored], sealed, days, off)

    yield one


def rates(folder: Path) -> list[tuple]:
    return [tuple(r.values()) for r in ask(folder, "SELECT d, fate, stage, reason, n, seen, rate FROM refused_rates ORDER BY d NULLS FIRST, reason")]


def test_refused_rates_by_day_and_reason(tmp_path: Path, run) -> None:
    run("a", [(range(6), DAY), (range(10, 25), NEXT)], [("malformed", 2, None)])
    with Lake.writer(str(tmp_path), CONTRACT, "b") as lake:
        late = with_column(day_of(failures("b", 3, "late"), NEXT), "stage", pa.array(["window"] * 3))
        done(lake, [events(range(30, 34), DAY)], [late, day_of(failures("b", 5, "conflict"), NEXT)])
    assert rates(tmp_path) == [(None, "refused", "decode", "malformed", 2, 2, 1.0), (NEXT, "refused", "decode", "conflict", 5, 20, 0.25),
                               (NEXT, "late", "window", "late", 3, 20, 0.15)]


def test_what_a_later_run_replaced_does_not_count(tmp_path: Path, run) -> None:
    day, other = (DAY, "malformed", 3), (NEXT, "other_partition", 2)
    for name in ("first", "second"):
        run(name, [(range(7), DAY)], [(day[1], day[2], DAY), (other[1], other[2], NEXT), ("malformed", 4, None)], (DAY,))
    expected = [(None, "malformed", 4), (DAY, "malformed", 3), (NEXT, "other_partition", 2)]
    assert [(d, reason, n) for d, _, _, reason, n, _, _ in rates(tmp_path)] == expected
    run("neighbour", [(range(50, 60), NEXT)], (), (NEXT,))
    assert [(d, reason, n) for d, _, _, reason, n, _, _ in rates(tmp_path)] == expected, "another day's run is still about its own input"
    run("both", [(range(7), DAY)], [("conflict", 1, DAY)], (DAY, NEXT))
    assert [(d, reason, n) for d, _, _, reason, n, _, _ in rates(tmp_path)] == [(None, "malformed", 4), (DAY, "conflict", 1), (NEXT, "other_partition", 2)]


def test_what_a_replay_tried_again_counts_where_it_ended(tmp_path: Path, run) -> None:
    run("a", [(range(6), DAY)], [("malformed", 5, DAY), ("conflict", 2, DAY)])
    assert [(reason, n) for _, _, _, reason, n, _, _ in rates(tmp_path)] == [("conflict", 2), ("malformed", 5)]
    outcomes = ["stored", "stored", "repeated", "refused"]
    with Lake.writer(str(tmp_path), CONTRACT, "again") as lake:
        tried = marks([Failure("a", "decode", "malformed", f"file:{n}", 1) for n in range(4)], "again", outcomes)
        sealed = [with_column(with_column(day_of(failures("again", 1, "wrong_type"), DAY), "attempt", pa.array([2], pa.int32())), "origin", pa.array(["file:3"]))]
        done(lake, [events(range(10, 12), DAY, "again")], sealed)
        with locked(tmp_path):
            lake_replays.mark(lake.connection, tried)
    assert [(reason, n, seen) for _, _, _, reason, n, seen, _ in rates(tmp_path)] == [("conflict", 2, 12), ("malformed", 1, 12), ("wrong_type", 1, 12)]


def test_a_replay_of_what_was_replaced_counts_no_row_twice(tmp_path: Path, run) -> None:
    for name in ("first", "second"):
        run(name, [(range(7), DAY)], [("conflict", 3, DAY)], (DAY,))
    with Lake.writer(str(tmp_path), CONTRACT, "again") as lake:
        tried = marks([Failure(name, "decode", "conflict", f"file:{n}", 1) for name in ("first", "second") for n in range(3)], "again", ["refused"] * 6)
        sealed = with_column(day_of(failures("again", 6, "conflict"), DAY), "attempt", pa.array([2] * 6, pa.int32()))
        done(lake, [], [with_column(sealed, "origin", pa.array([f"file:{n % 3}" for n in range(6)]))])
        with locked(tmp_path):
            lake_replays.mark(lake.connection, tried)
    assert [(reason, n) for _, _, _, reason, n, _, _ in rates(tmp_path)] == [("conflict", 3)]


def test_drift_is_against_the_median_of_the_days_before(tmp_path: Path, run) -> None:
    volumes = [10, 20, 60, 30, 15, 0, 40]
    run("a", [(range(n * 100, n * 100 + rows), DAY + timedelta(days=n)) for n, rows in enumerate(volumes) if rows])
    found = ask(tmp_path, "SELECT * FROM volume_drift ORDER BY d")
    assert [(r["stored"], r["median_before"], r["days_before"], r["drift"]) for r in found] == [
        (10, None, 0, None), (20, 10.0, 1, 1.0), (60, 15.0, 2, 3.0), (30, 20.0, 3, 0.5), (15, 25.0, 4, -0.4), (40, 20.0, 5, 1.0)]


def test_drift_looks_back_so_many_days_with_rows(tmp_path: Path, run) -> None:
    run("a", [(range(n * 10, n * 10 + (9 if n < 5 else 2)), DAY + timedelta(days=n)) for n in range(20)])
    last = ask(tmp_path, "SELECT * FROM volume_drift ORDER BY d DESC LIMIT 1")
    assert [(r["median_before"], r["days_before"], r["drift"]) for r in last] == [(2.0, 14, 0.0)]


def test_unbalanced_runs(tmp_path: Path, run) -> None:
    run("good", [(range(5), DAY)])
    with pytest.raises(Unbalanced):
        run("wrong", [(range(10, 15), DAY)], [("malformed", 2, DAY)], off=3)
    (found,) = ask(tmp_path, "SELECT * FROM unbalanced_runs")
    assert (found["run"], found["job"], found["read"], found["stored"], found["refused"], found["missing"]) == ("wrong", "batch", 10, 0, 0, 10)


def test_books_of_a_stream_by_the_minute_are_summed(tmp_path: Path, run) -> None:
    """As BigQuery's streaming sink keeps them: several rows a run, which need not balance by themselves."""
    run("a", [(range(5), DAY)])
    with Lake.writer(str(tmp_path), CONTRACT, "w") as lake:
        for run_id, read, stored in (("even", 10, 4), ("even", 0, 6), ("odd", 10, 4), ("odd", 0, 5)):
            lake.connection.execute("""INSERT INTO lake.runs SELECT * REPLACE (? AS run, ? AS read, ? AS stored, ? = ? AS balanced) FROM lake.runs
                                       WHERE run = 'a'""", [run_id, read, stored, read, stored])
    assert ask(tmp_path, "SELECT run, read, stored, missing FROM unbalanced_runs") == [{"run": "odd", "read": 10, "stored": 9, "missing": 1}]


def test_freshness(tmp_path: Path, run) -> None:
    with Lake.writer(str(tmp_path), CONTRACT, "none"):
        pass
    assert [(r["newest_event"], r["event_age_seconds"], r["last_run"]) for r in ask(tmp_path, "SELECT * FROM freshness")] == [(None, None, None)]
    run("a", [(range(5), DAY)])
    run("empty", [])
    (found,) = ask(tmp_path, "SELECT *, epoch(now()) AS now FROM freshness")
    newest = datetime(2026, 3, 4, 0, 0, 4, tzinfo=timezone.utc)
    assert (found["newest_event"], found["newest_day"]) == (newest, DAY) and found["last_stored"] < found["last_run"]
    assert found["event_age_seconds"] == pytest.approx(found["now"] - newest.timestamp(), abs=1)
    assert found["last_run_age_seconds"] == pytest.approx(found["now"] - found["last_run"].timestamp(), abs=1)


def test_events_once_shows_the_first_copy(tmp_path: Path, run) -> None:
    """What a sink that is at least once may hold: the same rows stored twice, by runs with and without a watermark."""
    run("a", [(range(5), DAY)])
    with Lake.writer(str(tmp_path), CONTRACT, "again") as lake:
        lake.connection.execute("""INSERT INTO lake.events SELECT * REPLACE ('again' AS origin, TIMESTAMPTZ '2026-03-04 10:00:00Z' AS watermark)
                                   FROM lake.events WHERE id_hash < 3""")
        lake.connection.execute("INSERT INTO lake.events SELECT * REPLACE ('other' AS text, 77 AS content_hash) FROM lake.events WHERE id_hash = 4")
    assert ask(tmp_path, "SELECT count(*) AS n FROM events") == [{"n": 9}]
    found = ask(tmp_path, "SELECT id_hash, origin, text FROM events_once ORDER BY id_hash, content_hash")
    assert found == [{"id_hash": i, "origin": f"file:{i}", "text": "a"} for i in range(4)] + [
        {"id_hash": 4, "origin": "file:4", "text": "other"}, {"id_hash": 4, "origin": "file:4", "text": "a"}]


def test_a_lake_from_before_gets_them_and_no_run_makes_them_twice(tmp_path: Path) -> None:
    one_run(tmp_path, "a", [events(range(5))])
    with Lake.writer(str(tmp_path), CONTRACT, "older") as lake:
        lake.connection.execute("DROP VIEW lake.freshness; CREATE OR REPLACE VIEW lake.volume_drift AS SELECT 1 AS old")
        lake.connection.execute("DROP VIEW lake.events_once; CREATE TABLE lake.events_once (of_the_users_own INTEGER)")
    before = ask(tmp_path, "SELECT max(snapshot_id) AS n FROM ducklake_snapshots('lake')")[0]["n"]
    for run in ("b", "c"):
        with Lake.writer(str(tmp_path), CONTRACT, run):
            pass
        assert ask(tmp_path, "SELECT max(snapshot_id) AS n FROM ducklake_snapshots('lake')") == [{"n": before + 1}]
    assert ask(tmp_path, "SELECT stored FROM volume_drift") == [{"stored": 5}]
    assert len(ask(tmp_path, "SELECT * FROM freshness")) == 1
    assert ask(tmp_path, "SELECT * FROM events_once") == [], "a table of the user's own stays"


def test_a_column_that_is_new_shows_in_the_view(tmp_path: Path) -> None:
    one_run(tmp_path, "a", [events(range(5))])
    newer = plain_contract((Field("more", "string", True, "public", "New."),))
    with Lake.writer(str(tmp_path), newer, "b"):
        pass
    assert ask(tmp_path, "SELECT count(*) AS n, count(more) AS more FROM events_once") == [{"n": 5, "more": 0}]


@pytest.mark.parametrize("name", views.NAMES)
def test_they_are_asked_by_the_command(tmp_path: Path, name: str, capsys) -> None:
    one_run(tmp_path, "a", [events(range(5))], sealed=1)
    assert main(["query", str(tmp_path), f"select * from {name}"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split()[0] in ("d", "id", "run", "newest_event")


@pytest.mark.parametrize("name", ["census", "contact_center", "gaming", "telemetry", "weblog"])
def test_text_for_bigquery(name: str) -> None:
    contract = load(name)
    found = views.bigquery(contract, "p-1.ds")
    assert tuple(found) == tuple(views.duckdb(contract)) == (*views.NAMES, *(["windows_latest"] if contract.windows else []))
    for view in found.values():
        named = set(re.findall(r"(?:FROM|JOIN) (`[^`]+`)", view.sql))
        assert named and named <= {"`p-1.ds.events`", "`p-1.ds.failures`", "`p-1.ds.runs`", "`p-1.ds.replays`", "`p-1.ds.windows`"}
        assert not re.search(r'[{}"]|::|\bepoch\(|(?:FROM|JOIN) (events|failures|runs|replays)\b', view.sql)
        assert view.sql.count("(") == view.sql.count(")")
        for join in re.findall(r"LEFT JOIN (.*?)(?=LEFT JOIN|WHERE|$)", view.sql, re.DOTALL):
            assert re.fullmatch(r"\w+ ON [\w.]+ = (?:[\w.]+|CAST\([\w.]+ AS STRING\))(?: AND [\w.]+ = [\w.]+)*\s*\)?,?\s*", join), "BigQuery joins from the left by equality alone"
    assert f"MAX(`{contract.time}`)" in found["freshness"].sql
    ddl = views.bigquery_ddl(contract, "p-1.ds")
    assert len(ddl) == len(found) and all(s.startswith("CREATE OR REPLACE VIEW `p-1.ds.") and "OPTIONS (description = " in s for s in ddl)


def test_a_time_column_with_a_reserved_name(tmp_path: Path) -> None:
    contract = dataclasses.replace(CONTRACT, time="select")
    assert '"select"' in views.duckdb(contract)["freshness"].sql and "`select`" in views.bigquery(contract, "p.d")["freshness"].sql
