"""Runs of a replay on BigQuery without a graph: whatever dies, and whoever takes the turn, each failure is marked once and no event is stored twice."""

import itertools
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timezone

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.sinks.bigquery import Dataset
from pipelines.sinks.bigquery_client import connect
from pipelines.sinks.bigquery_failures import Copies, Pending
from pipelines.sinks.bigquery_files import stage
from pipelines.sinks.bigquery_jobs import Place
from pipelines.sinks.bigquery_parts import Part, finish
from pipelines.sinks.bigquery_turn import InHand, Turn
from pipelines.sinks.lake_commit import Lost
from pipelines.sinks.lake_files import by_day, conform
from pipelines.sinks.replays import Choice, Failure, marks
from schemas.arrow import stored_columns
from schemas.tables import FAILURES
from tests.bigquery_server import BigQuery
from tests.lakes import CONTRACT, DAY, NEXT, STARTED, events, failures
from tests.test_batch_bigquery import HERE, QUICK, make
from transforms.deduplicate import KEEP, deduplicate, marks_of
from transforms.ledger import Tally

COLUMNS = stored_columns(CONTRACT)
FAILED, STORED_BEFORE = 24, 30  # failures 0 to 23 of each run; some ids up to 29 are stored already
STEPS = ["in hand", "events", "failures", "compare", "replays", "runs", "done"]
MORE = ["finish intent", "finish events", "finish failures", "finish replays", "finish runs"]


class Killed(BaseException):
    """Stands for kill -9: nothing of ours catches it."""


@pytest.fixture
def service() -> Iterator[BigQuery]:
    with BigQuery("project") as service:
        fill(service)
        yield service


def fill(service: BigQuery) -> None:
    """Two runs refused the same rows; a fifth is stored already, under the same id."""
    make(service)
    db = service.store.db
    for run in ("june", "july"):
        put(db, "failures", pa.Table.from_batches([failures(run, FAILED)]))
        db.execute(f"""INSERT INTO ds.runs BY NAME SELECT '{run}' AS run, 'batch' AS job, 'plain 0' AS contract, 0 AS read, 0 AS stored, 0 AS repeated, 0 AS refused,
                       0 AS late, '{{}}' AS reasons, '' AS fingerprint, now() AS started, now() AS ended, true AS balanced, '[]' AS partitions, '{{}}' AS engine""")
    there = pa.Table.from_batches(of(range(0, STORED_BEFORE, 5)))
    put(db, "events", there.set_column(there.schema.get_field_index("run"), "run", pa.nulls(there.num_rows, pa.string())))


def of(ids: Iterable[int]) -> list[pa.RecordBatch]:
    """Events with these ids: the odd ones of one day, the others of the next."""
    listed = list(ids)
    return [events([i for i in listed if i % 2 == odd], day) for odd, day in ((1, DAY), (0, NEXT))]


def put(db, table: str, rows: pa.Table) -> None:
    db.register("incoming", rows)
    db.execute(f"INSERT INTO ds.{table} BY NAME SELECT * FROM incoming")
    db.unregister("incoming")


def replayer(service: BigQuery, at: Callable[[str], None] = lambda step: None, most: int = 100) -> None:
    """A replay whose graph refuses every row that 4 divides, and stores the others where they are not there yet."""
    place, turn, name = Place(connect("project", service.url), "EU", QUICK), Turn(Place(connect("project", service.url), "EU", QUICK), HERE), next(NAMES)
    finish(place, HERE, CONTRACT, turn, turn.take(), at)
    listed = list(Pending(place, HERE, Choice(settled="plain 1")).rows())
    with tempfile.TemporaryDirectory() as folder:
        for number, first in enumerate(range(0, FAILED, most)):
            for run in ("june", "july"):
                some = [f for f in listed if f.run == run][first:first + most]
                if some:
                    one(service, place, turn, f"{name}-{run}-{number}", folder, some, at)


NAMES = (f"again{n}" for n in itertools.count())


def one(service: BigQuery, place: Place, turn: Turn, run: str, folder: str, some: list[Failure], at: Callable[[str], None]) -> None:
    hand = InHand(run, "plain 1", "{}", datetime.now(timezone.utc).isoformat())
    turn.begin(hand)
    at("begun")
    tried = {int(f.origin.partition(":")[2]): f for f in some}
    accepted = pa.Table.from_batches(of(i for i in tried if i % 4)).combine_chunks().to_batches()
    batch = accepted[0] if accepted else events([])
    own = marks_of(batch, CONTRACT)
    kept = deduplicate(own, CONTRACT.horizon, Copies(place, HERE, "at", CONTRACT.horizon).copies(own)) == KEEP
    stored = batch.filter(pa.array(kept, pa.bool_()))
    stored = stored.set_column(stored.schema.get_field_index("run"), "run", pa.array([run] * stored.num_rows, pa.string()))
    staged = [stage(folder, run, "events", day, [part], COLUMNS) for day, part in by_day(conform(stored, COLUMNS))]
    refused = [i for i in tried if not i % 4]
    if refused:
        rows = failures(run, len(refused)).to_pylist()
        rows = [row | {"origin": f"file:{i}", "attempt": tried[i].attempt + 1} for row, i in zip(rows, refused)]
        staged.append(stage(folder, run, "failures", "", [pa.RecordBatch.from_pylist(rows, failures(run, 1).schema)], FAILURES))
    ids = set(stored["id_hash"].to_pylist())
    outcomes = ["refused" if i in refused else "stored" if i in ids else "repeated" for i in tried]
    told = Counter(outcomes)
    tallies = [Tally("read", "", len(tried)), Tally("repeated", "", told["repeated"]), *([Tally("refused", "malformed", len(refused))] if refused else [])]
    at("staged")
    Part(place, HERE, CONTRACT, turn, hand, folder, at).commit(marks(list(tried.values()), run, outcomes), staged, tallies)
    assert service


def right(service: BigQuery) -> None:
    """Every failure of the two runs is marked once; each row is stored once; failures came again once for each; books are those of the tables."""
    once(service)
    marked = service.ask("SELECT run, origin, attempt, outcome FROM ds.replays")
    assert sorted((m["run"], int(m["origin"][5:]), m["attempt"]) for m in marked) == sorted((run, i, 1) for run in ("june", "july") for i in range(FAILED))
    assert all((m["outcome"] == "refused") == (int(m["origin"][5:]) % 4 == 0) for m in marked)
    again = service.ask("SELECT origin, attempt FROM ds.failures WHERE run NOT IN ('june', 'july')")
    assert sorted((int(f["origin"][5:]), f["attempt"]) for f in again) == sorted((i, 2) for i in range(0, FAILED, 4) for _ in range(2))
    stored = {r["id_hash"] for r in service.ask("SELECT id_hash FROM ds.events")}
    assert stored == {i for i in range(FAILED) if i % 4} | set(range(0, STORED_BEFORE, 5))
    for fate, table, key in (("stored", "events", "run"), ("refused", "failures", "run"), ("read", "replays", "replayed_by")):
        found = Counter(r["run"] for r in service.ask(f"SELECT {key} AS run FROM ds.{table} WHERE {key} IN (SELECT run FROM ds.runs WHERE job = 'replay')"))
        assert found == Counter({r["run"]: r[fate] for r in service.ask("SELECT * FROM ds.runs WHERE job = 'replay'") if r[fate]}), fate
    assert all(r["balanced"] for r in service.ask("SELECT balanced FROM ds.runs"))
    assert not service.ask("SELECT run FROM ds.runs GROUP BY run HAVING count(*) > 1")


def once(service: BigQuery) -> None:
    assert not service.ask("SELECT id_hash FROM ds.events GROUP BY ALL HAVING count(*) > 1"), "stored twice"
    assert not service.ask("SELECT run, origin, attempt FROM ds.replays GROUP BY ALL HAVING count(*) > 1"), "marked twice"


def dies(step: str, nth: int) -> Callable[[str], None]:
    met = itertools.count(1)

    def at(reached: str) -> None:
        if reached == step and next(met) == nth:
            raise Killed

    return at


@pytest.mark.parametrize("step", STEPS)
def test_a_replay_killed_at_a_step_is_finished_by_the_next_one(step, service) -> None:
    for nth in (1, 2):
        with pytest.raises(Killed):
            replayer(service, dies(step, nth), 7)
        once(service)
    replayer(service)
    right(service)


@pytest.mark.parametrize("step", ["failures", "compare", "runs"])
def test_what_finishes_may_be_killed_too(step, service) -> None:
    with pytest.raises(Killed):
        replayer(service, dies(step, 1))
    for later in MORE if step != "runs" else MORE[:4]:
        with pytest.raises(Killed):
            replayer(service, dies(later, 1))
        once(service)
    replayer(service)
    right(service)


@pytest.mark.parametrize("step", ["begun", "staged", *STEPS[:-1]])
def test_one_that_only_seemed_dead_has_lost(step, service) -> None:
    def at(reached: str) -> None:
        if reached == step and not others:
            others.append(step)
            replayer(service)

    others: list[str] = []
    with pytest.raises(Lost, match="another replay of these tables"):
        replayer(service, at)
    right(service)


@given(st.data())
@settings(max_examples=8, deadline=None)
def test_any_replays_die_and_are_overtaken_anywhere(data) -> None:
    with BigQuery("project") as service:
        fill(service)

        def tried(depth: int) -> None:
            def at(reached: str) -> None:
                happens = data.draw(st.integers(0, 19), label=reached)
                if happens == 0:
                    raise Killed
                if happens == 1 and depth < 2:
                    tried(depth + 1)

            try:
                replayer(service, at, data.draw(st.sampled_from([3, 7, 100])))
            except (Killed, Lost):
                pass
            once(service)

        for _ in range(data.draw(st.integers(1, 4))):
            tried(0)
        replayer(service)
        right(service)


def test_somebody_elses_words_in_the_table_are_no_run(service) -> None:
    place = Place(connect("project", service.url), "EU", QUICK)
    assert Turn(place, HERE).take() == InHand()
    service.store.patch_table("ds", "penstock_replaying", {"description": "somebody's own words"}, None)
    turn = Turn(place, Dataset("project", "ds"))
    assert turn.take() == InHand()
    turn.begin(InHand("r", "plain 1", "{}", STARTED.isoformat()))
    assert Turn(place, HERE).take().run == "r"
    with pytest.raises(Lost):
        turn.begin(InHand("r2"))
