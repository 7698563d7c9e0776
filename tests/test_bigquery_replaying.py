"""The first and the last step of a replay on Dataflow: tried again after any step, overtaken, or given books that do not balance."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from pipelines.sinks.bigquery_files import Staged
from pipelines.sinks.bigquery_jobs import Failed
from pipelines.sinks.bigquery_replaying import LEFT, OTHER_KEY, Replaying
from pipelines.sinks.bigquery_turn import Turn
from pipelines.sinks.lake_commit import Lost, Unbalanced, ignore
from pipelines.sinks.lake_files import EVENTS_TABLE
from pipelines.sinks.replays import REPLAYS_TABLE
from tests import replay_ground
from tests.replay_ground import Ground, Services, grounds
from tests.test_replay_bigquery import Killed, as_new, dies, go
from transforms.ledger import Tally

STEPS = ("in hand", "events", "failures", "compare", "replays", "runs", "done")


@pytest.fixture(scope="module")
def services(key_folder) -> Iterator[Services]:
    with replay_ground.services(key_folder) as there:
        yield there


@pytest.fixture
def ground(key_folder, services, tmp_path) -> Iterator[Ground]:
    with grounds(key_folder, services, tmp_path) as ground:
        yield ground


def killed(replaying: Replaying, outcome: list[Any], step: str) -> None:
    with pytest.raises(Killed):
        replace(replaying, at=dies(step)).commit(outcome)


def test_a_commit_that_dies_at_every_step_is_done_by_the_tries_after_it(ground) -> None:
    """As Dataflow tries its bundle again: under the same run, by the same holder. What a try of a worker's staged, that did not count, is not loaded."""
    replaying, outcome = ground.worked()
    for name in ground.storage.names("load"):
        ground.storage.put("load", name.replace(".parquet", "-again.parquet"), ground.storage.read("load", name))
    for step in STEPS:
        killed(replaying, outcome, step)
    row = replaying.commit(outcome)
    assert row.balanced and row.stored > 20 and replaying.commit(outcome) == row
    as_new(ground.made, ground.bigquery)
    assert len(ground.ask("SELECT * FROM ds.runs WHERE job = 'replay'")) == 1


@pytest.mark.parametrize(("step", "next"), [("events", "there"), ("failures", "here"), ("replays", "there"), ("runs", "here")])
def test_the_next_replay_ends_what_a_job_that_was_cancelled_had_begun(step, next, ground, capsys) -> None:
    """On one machine or on Dataflow; the job, should it go on, finds that it has lost its turn, or that it is done."""
    replaying, outcome = ground.worked()
    killed(replaying, outcome, step)
    assert go(ground.made, ground.bigquery) == 0 if next == "here" else ground.run()
    as_new(ground.made, ground.bigquery)
    assert ("is finished" in capsys.readouterr().out) == (next == "here" and step != "events")
    if step in ("events", "failures"):
        with pytest.raises(Lost):
            replaying.commit(outcome)
    else:  # all of it was loaded
        assert replaying.commit(outcome).balanced
    as_new(ground.made, ground.bigquery)


def test_a_job_that_is_overtaken_stores_nothing(ground) -> None:
    replaying, outcome = ground.worked()
    assert go(ground.made, ground.bigquery) == 0
    as_new(ground.made, ground.bigquery)
    for _ in range(4):  # as often as Dataflow tries
        with pytest.raises(Lost, match="another replay of these tables"):
            replaying.commit(outcome)
    as_new(ground.made, ground.bigquery)


def test_one_machine_is_overtaken_by_a_job(ground, capsys) -> None:
    inner: list[str] = []

    def at(reached: str) -> None:
        if reached == "graph done" and not inner:
            inner.append("")
            inner.append(ground.run())

    assert go(ground.made, ground.bigquery, at) == 1 and len(inner) == 2
    assert "another replay of these tables" in capsys.readouterr().err
    as_new(ground.made, ground.bigquery)


def test_rows_that_are_stored_meanwhile_are_not_stored_again(ground) -> None:
    """By a batch run between the question and the load: the run ends, and the next replay finds repeats."""
    replaying, outcome = ground.worked()
    db = ground.bigquery.store.db
    db.execute("CREATE TABLE ds.kept AS SELECT * FROM ds.events")
    replaying.commit(outcome)
    db.execute("CREATE TABLE ds.later AS SELECT * REPLACE (NULL AS run) FROM ds.events WHERE run IS NOT NULL LIMIT 5")
    for table in ("failures", "runs", "replays", "events"):
        db.execute(f"DELETE FROM ds.{table} WHERE {'replayed_by' if table == 'replays' else 'run'} = '{replaying.run}'")
    db.execute("INSERT INTO ds.events SELECT * FROM ds.later")
    db.execute("DROP TABLE ds.kept")
    db.execute("DROP TABLE ds.later")
    ground.bigquery.jobs.clear()
    for _ in range(2):
        with pytest.raises(Lost, match="were stored while this run was working"):
            replaying.commit(outcome)
    (books,) = ground.ask(f"SELECT * FROM ds.runs WHERE run = '{ground.run()}'")
    assert books["balanced"] and books["repeated"] >= 5
    assert ground.ask("SELECT count(*) AS n, count(DISTINCT id_hash) AS ids FROM ds.events") == [
        {"n": n["n"], "ids": n["n"]} for n in ground.ask("SELECT count(*) AS n FROM ds.events")]


def test_the_first_step_again(ground) -> None:
    """It takes the turn once more, and does not end its own run; nor is the run of another one ended twice."""
    died, outcome = ground.worked()
    killed(died, outcome, "failures")
    replaying = replace(died, hand=died.hand._replace(run="second"), holder="h2")
    place = replaying.place()
    with pytest.raises(Killed):
        replace(replaying, at=dies("finish runs")).begin(place)
    reached: list[str] = []
    replace(replaying, at=reached.append).begin(place)
    assert reached == [*(f"finish {name}" for name in ("intent", "events", "failures", "replays", "runs")), "begun"]
    reached.clear()
    replace(replaying, at=reached.append).begin(place)
    assert reached == ["begun"] and Turn(place, replaying.dataset, "h2").take().run == "second"
    assert len(ground.ask(f"SELECT * FROM ds.runs WHERE run = '{died.run}'")) == 1


def without(outcome: list[Any], drop: Callable[[Any], bool]) -> list[Any]:
    """The outcome but for the first element that is to be dropped."""
    at = next(i for i, element in enumerate(outcome) if drop(element))
    return outcome[:at] + outcome[at + 1:]


def test_books_that_do_not_balance_store_nothing(ground) -> None:
    replaying, outcome = ground.worked()
    for run, drop, words in (("marks", lambda o: isinstance(o, Staged) and o.table == REPLAYS_TABLE, "the marks do not balance"),
                             ("events", lambda o: isinstance(o, Staged) and o.table == EVENTS_TABLE, "the books do not balance"),
                             ("read", lambda o: isinstance(o, Tally) and o.fate == "read", "the marks do not balance")):
        with pytest.raises(Unbalanced, match=words):
            replace(replaying, hand=replaying.hand._replace(run=run)).commit(without(outcome, drop))
    assert ground.ask("SELECT count(*) AS n FROM ds.replays")[0]["n"] == ground.ask("SELECT count(*) AS n FROM ds.events WHERE run IS NOT NULL")[0]["n"] == 0
    ground.run()
    marked = ground.ask("SELECT run, stage, reason, origin, attempt FROM ds.replays ORDER BY ALL")
    assert marked == ground.ask("SELECT run, stage, reason, origin, attempt FROM ds.failures WHERE attempt = 1 ORDER BY ALL")


def test_of_no_rows_nothing_is_committed(ground) -> None:
    replaying = replace(ground.worked(reason="late")[0], at=ignore)
    calls = len(ground.bigquery.calls)
    row = replaying.commit([Tally(LEFT, "why", 3)])
    assert (row.read, row.balanced, row.run) == (0, True, replaying.run) and len(ground.bigquery.calls) == calls
    with pytest.raises(Failed, match="the key opens none of 3 failures"):
        replaying.commit([Tally(LEFT, OTHER_KEY, 2), Tally(LEFT, OTHER_KEY, 1)])
    assert list(itertools.islice(ground.ask("SELECT * FROM ds.runs WHERE job = 'replay'"), 1)) == []
