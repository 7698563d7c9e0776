"""Runs into BigQuery, without a graph: whole or not at all, wherever they end, whatever happens to calls and answers."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.sinks.bigquery import Dataset
from pipelines.sinks.bigquery_client import Patience, connect
from pipelines.sinks.bigquery_lease import PREFIX, STREAM
from pipelines.sinks.bigquery_stream import StreamDataset, StreamTarget
from pipelines.sinks.bigquery_stream_intent import TABLE
from pipelines.sinks.bigquery_stream_rows import Laid
from pipelines.sinks.bigquery_tables import apply, compare, wanted_tables
from pipelines.sinks.lake_files import EVENTS_TABLE, FAILURES_TABLE, conform
from pipelines.sinks.streamed import Finished, Held, Moved, State
from schemas.errors import Misconfigured, Transient
from tests.bigquery_emulator import MISSING, emulator
from tests.bigquery_server import BigQuery
from tests.bigquery_server import Fault as RestFault
from tests.bigquery_write_server import BigQueryWrite, Fault
from tests.kill_child import BIGQUERY_STEPS
from tests.lakes import CONTRACT, DAY, events, failures
from transforms.batch import with_column
from transforms.keys import Keys
from transforms.ledger import LedgerRow, Tally
from transforms.seen import Failed

NOW = datetime(2026, 3, 6, 10, tzinfo=timezone.utc)
QUICK = Patience(seconds=120.0, first=0.02, answer=120.0, job=240.0)
SHORT = replace(QUICK, seconds=0.5)
HERE = Dataset("project", "ds")
COMMIT_STEPS = [step for step in BIGQUERY_STEPS if step.startswith(("prepared", "intended", "committed"))]


class Dead(BaseException):
    """Stands for the end of a process at a step."""


class World:
    """A dataset with the tables of CONTRACT, its servers, and a machine of streams."""

    def __init__(self, service: BigQuery, write: BigQueryWrite, folder: Path, ring: Keys) -> None:
        self.service, self.write, self.folder, self.pem, self.lives, self.patience = service, write, folder, ring.public_pem(), 0, QUICK

    def opened(self, machine: str = "here", fatal: str = "") -> StreamDataset:
        """Another process on a machine; fatal: the step of a commit at which it dies."""
        def at(step: str) -> None:
            if step == fatal:
                raise Dead

        self.lives += 1
        target = StreamTarget.of("bq://project.ds", CONTRACT, self.service.url, self.write.host, self.patience)
        return StreamDataset(target, f"2026030{self.lives}T000000Z-aaaaaa", "projects/p/subscriptions/s", self.pem, at, self.folder / machine)

    def let_go(self) -> None:
        """Time passes: the hold of a process that is dead, or asleep, has ended."""
        self.service.store.tables["ds", PREFIX + STREAM]["expirationTime"] = "1"

    def books(self) -> list[tuple]:
        """(number, read, stored, refused, balanced), by number, once the rows of the tables are held against them."""
        stored = {r["run"]: r["n"] for r in self.service.ask("select run, count(*) as n from ds.events group by run")}
        sealed = {r["run"]: r["n"] for r in self.service.ask("select run, count(*) as n from ds.failures group by run")}
        runs = self.service.ask("select * from ds.runs order by number")
        assert {r["run"]: r["stored"] for r in runs if r["stored"]} == stored
        assert {r["run"]: r["refused"] + r["late"] for r in runs if r["refused"] + r["late"]} == sealed
        assert len({r["run"] for r in runs}) == len(runs)
        return [(r["number"], r["read"], r["stored"], r["refused"], r["balanced"]) for r in runs]


@pytest.fixture
def world(tmp_path: Path, ring: Keys) -> Iterator[World]:
    with BigQuery("project") as service, BigQueryWrite(service.store) as write:
        service.store.make_dataset("ds", {})
        client = connect("project", service.url)
        for table in compare(client, HERE, wanted_tables(CONTRACT, ""), QUICK):
            apply(client, HERE, table, QUICK)
        yield World(service, write, tmp_path, ring)


def commit(tables: StreamDataset, number: int, ids: range, sealed: int = 0, late: int = 0, off: int = 0, known: tuple[str, ...] = ()) -> LedgerRow:
    run = f"{tables.name}-{number:08d}"
    laid = []
    if len(ids):
        laid.append(Laid(EVENTS_TABLE, conform(with_column(events(ids), "run", pa.array([run] * len(ids))), tables.columns)))
    if sealed:
        laid.append(Laid(FAILURES_TABLE, failures(run, sealed)))
    if late:
        laid.append(Laid(FAILURES_TABLE, with_column(failures(run, late, "late"), "stage", pa.array(["window"] * late))))
    return tables.commit(Finished(run, number, NOW, laid, [Tally("read", "", len(ids) + sealed + off)], number * 10, number * 10 + 5, failed=Failed(known)))


def one_run_and_half_of_another(world: World, step: str) -> None:
    """Of five events, and of four events and two failures, whose process dies at a step."""
    with world.opened() as tables:
        tables.state()
        commit(tables, 1, range(5))
    with pytest.raises(Dead), world.opened(fatal=step) as tables:
        tables.state()
        commit(tables, 2, range(5, 9), sealed=2)


def test_a_run_is_in_the_tables_and_the_state_comes_back(world) -> None:
    with world.opened() as tables:
        assert (tables.state(), tables.days(), tables.failed("file")) == (State(0, None, None), [], [])
        assert commit(tables, 1, range(5), sealed=2).balanced
        row = commit(tables, 2, range(5, 9), late=1)
        assert (row.balanced, row.read, row.stored, row.refused, row.late, row.reasons) == (True, 4, 4, 0, 1, {})
        assert not commit(tables, 3, range(9, 12), off=1).balanced
    with world.opened() as tables:
        assert tables.state() == State(3, 30, 35) and tables.days() == [DAY]
        marks = tables.marks(DAY)
        assert marks.ids.tolist() == list(range(12)) and marks.contents.tolist() == [i * 31 for i in range(12)]
        assert sorted(tables.failed("file")) == ["file:0", "file:0", "file:1"] and tables.failed("fil") == []
    assert world.books() == [(1, 7, 5, 2, True), (2, 4, 4, 0, True), (3, 4, 3, 0, False)]


def test_what_a_run_has_no_rows_of_costs_no_stream(world) -> None:
    with world.opened() as tables:
        tables.state()
        world.write.calls.clear()
        commit(tables, 1, range(3))
        commit(tables, 2, range(0), sealed=1)
        commit(tables, 3, range(0))
    created = [call.split("/")[-1] for call in world.write.calls if call.startswith("create ")]
    assert [sorted(created[:2]), sorted(created[2:4]), created[4:]] == [["events", "runs"], ["failures", "runs"], ["runs"]]


@pytest.mark.parametrize("machine", ["here", "elsewhere"])
@pytest.mark.parametrize("step", COMMIT_STEPS)
def test_a_run_whose_process_ends_at_a_step_is_whole_or_not_there(step, machine, world) -> None:
    one_run_and_half_of_another(world, step)
    with world.opened(machine) as tables:
        state = tables.state()
        begun = step != "prepared"
        assert state == (State(2, 20, 25) if begun else State(1, 10, 15))
        assert tables.marks(DAY).ids.tolist() == list(range(9 if begun else 5)) and len(list(tables.failed("file"))) == (2 if begun else 0)
        commit(tables, state.number + 1, range(9, 12))
    whole = [(1, 5, 5, 0, True), (2, 6, 4, 2, True), (3, 3, 3, 0, True)]
    assert world.books() == (whole if begun else [whole[0], (2, 3, 3, 0, True)])


def test_the_proof_sees_a_run_that_is_left_half_committed(world) -> None:
    with pytest.raises(Dead), world.opened(fatal="committed events") as tables:
        tables.state()
        commit(tables, 1, range(5))
    with world.opened() as tables:
        tables._settle = lambda: None
        commit(tables, tables.state().number + 1, range(5, 9))
    with pytest.raises(AssertionError):
        world.books()


@pytest.mark.parametrize(("step", "books", "expected"), [("intended", [], State(1, 10, 15)), ("committed events", [(2, 4, 4, 0, True)], State(2, 10, 15)),
                                                         ("committed failures", [(2, 6, 4, 2, True)], State(2, 20, 25))])
def test_of_a_run_whose_streams_are_gone_what_the_tables_hold_is_counted(step, books, expected, world) -> None:
    """As where nobody came for weeks: BigQuery keeps no stream for ever. The watermark stays where a part is missing."""
    one_run_and_half_of_another(world, step)
    world.write.streams.known.clear()
    for _ in range(2):
        with world.opened() as tables:
            state = tables.state()
    assert state == expected
    assert world.books() == [(1, 5, 5, 0, True), *books]


@pytest.mark.parametrize("gone", [False, True])
def test_a_process_may_end_while_it_finishes_the_run_of_another(gone, world) -> None:
    """Each life gets one step further; once with the streams of the first one gone, so that the row is a new one."""
    with pytest.raises(Dead), world.opened(fatal="committed events" if gone else "intended") as tables:
        tables.state()
        commit(tables, 1, range(4), sealed=2)
    if gone:
        world.write.streams.known.clear()
    for step in ("committed events", "committed failures", "committed runs"):
        with contextlib.suppress(Dead), world.opened(fatal=step) as tables:
            tables.state()
    with world.opened() as tables:
        assert tables.state().number == 1
    assert world.books() == [(1, 4, 4, 0, True) if gone else (1, 6, 4, 2, True)]


def test_of_the_row_of_a_run_that_somebody_removed_another_is_made(world) -> None:
    with world.opened() as tables:
        tables.state()
        commit(tables, 1, range(5), sealed=1)
    world.service.store.db.execute("delete from ds.runs")
    with world.opened() as tables:
        assert tables.state().number == 1
    assert world.books() == [(1, 6, 5, 1, True)]


def test_a_process_that_slept_while_another_took_over_commits_nothing(world) -> None:
    with world.opened() as asleep:
        asleep.state()
        commit(asleep, 1, range(5))
        world.let_go()
        with world.opened("elsewhere") as other:
            assert other.state().number == 1
            with pytest.raises(Held, match="another stream has taken the tables of bq://project.ds over"):
                commit(asleep, 2, range(5, 9))
            with pytest.raises(Held):
                asleep.state()
            commit(other, 2, range(5, 9))
    assert world.books() == [(1, 5, 5, 0, True), (2, 4, 4, 0, True)]


def test_a_process_that_slept_in_the_middle_of_a_commit_stores_nothing_twice(world) -> None:
    """The one that took over has finished its run; when it wakes it commits what is committed."""
    woken = []
    with world.opened() as asleep:
        asleep.state()

        def at(step: str) -> None:
            if step == "intended":
                world.let_go()
                with world.opened("elsewhere") as other:
                    woken.append(other.state().number)
                    commit(other, 2, range(5, 9))

        asleep.at = at
        assert commit(asleep, 1, range(5)).stored == 5
        asleep.at = lambda step: None
        with pytest.raises(Held):
            commit(asleep, 2, range(9, 12))
    assert woken == [1] and world.books() == [(1, 5, 5, 0, True), (2, 4, 4, 0, True)]


REST = {"503": RestFault("^PATCH .*penstock_stream", 503, times=2), "lost intent": RestFault("^PATCH .*penstock_stream", "lost"),
        "rate of changes": RestFault("^PATCH .*penstock_stream", 403, "rateLimitExceeded", times=2)}
WRITE = {"503 at create": Fault("^create", "UNAVAILABLE", times=2), "quota": Fault("^create", "RESOURCE_EXHAUSTED", times=3),
         "cut in append": Fault("^append .*events", "cut"), "lost append": Fault("^append .*events", "lost"), "lost finalize": Fault("^finalize", "lost"),
         "lost commit of events": Fault("^commit .*events", "lost"), "lost commit of runs": Fault("^commit .*runs", "lost"),
         "503 at commit": Fault("^commit .*failures", "UNAVAILABLE", times=2), "internal at commit": Fault("^commit", "INTERNAL")}


@pytest.mark.parametrize("name", [*REST, *WRITE])
def test_what_passes_is_waited_for_and_stored_once(name, world) -> None:
    with world.opened() as tables:
        tables.state()
        commit(tables, 1, range(5))
        world.service.faults = [REST[name]] if name in REST else []
        world.write.faults = [WRITE[name]] if name in WRITE else []
        assert commit(tables, 2, range(5, 9), sealed=2).balanced
    assert not any(f.times for f in (*world.service.faults, *world.write.faults)), "it happened"
    assert world.books() == [(1, 5, 5, 0, True), (2, 6, 4, 2, True)]


@pytest.mark.parametrize("fault", [Fault("^create .*events", "RESOURCE_EXHAUSTED", times=99), Fault("^finalize", "UNAVAILABLE", times=99)])
def test_a_service_that_stays_away_leaves_the_tables_as_they_were(fault, world) -> None:
    world.patience = SHORT
    with world.opened() as tables:
        tables.state()
        world.write.faults = [fault]
        with pytest.raises(Transient):
            commit(tables, 1, range(5), sealed=1)
        world.write.faults = []
        assert world.books() == []
        commit(tables, 1, range(5), sealed=1)
    assert world.books() == [(1, 6, 5, 1, True)]


@pytest.mark.parametrize("table", ["events", "failures", "runs"])
def test_a_commit_that_stops_half_way_is_finished_before_the_run_is_done_again(table, world) -> None:
    world.patience = SHORT
    with world.opened() as tables:
        tables.state()
        world.write.faults = [Fault(f"^commit .*/{table}$", "UNAVAILABLE", times=99)]
        with pytest.raises(Moved):
            commit(tables, 1, range(5), sealed=1)
        world.write.faults = []
        assert tables.state() == State(1, 10, 15), "the messages come through as repeats now"
    assert world.books() == [(1, 6, 5, 1, True)]


def test_rows_that_bigquery_rejects_are_sealed_and_the_others_stored(world) -> None:
    world.write.streams.rejects = lambda table, row: table[1] == "events" and row["id"] in ("i1", "i3")
    with world.opened() as tables:
        tables.state()
        row = commit(tables, 1, range(6), sealed=1)
    assert (row.balanced, row.stored, row.reasons) == (True, 4, {"malformed": 1, "rejected_by_sink": 2})
    assert world.books() == [(1, 7, 4, 3, True)]
    rows = world.service.ask("select stage, origin, sealed from ds.failures where reason = 'rejected_by_sink' order by origin")
    assert [(r["stage"], r["origin"]) for r in rows] == [("load", "file:1"), ("load", "file:3")] and all(b"i1" not in r["sealed"] for r in rows)


def test_a_rejected_row_that_comes_again_after_a_kill_is_a_repeat(world) -> None:
    world.write.streams.rejects = lambda table, row: table[1] == "events" and row["id"] in ("i1", "i3")
    with world.opened() as tables:
        tables.state()
        commit(tables, 1, range(3))
    with world.opened() as tables:
        tables.state()
        row = commit(tables, 2, range(1, 5), known=tuple(tables.failed("file")))
    assert (row.balanced, row.stored, row.repeated, row.reasons) == (True, 2, 1, {"rejected_by_sink": 1})
    with world.opened() as tables:
        tables.state()
        row = commit(tables, 3, range(1, 2), known=tuple(tables.failed("file")))
    assert (row.balanced, row.stored, row.repeated, row.reasons) == (True, 0, 1, {})
    assert [r["origin"] for r in world.service.ask("select origin from ds.failures order by origin")] == ["file:1", "file:3"]


def test_a_table_that_has_changed_ends_the_stream_and_nothing_is_stored(world) -> None:
    with world.opened() as tables:
        tables.state()
        fields = world.service.store.tables["ds", "events"]["schema"]["fields"]
        fields[:] = [f for f in fields if f["name"] != "watermark"]
        with pytest.raises(Held, match=r"ds.events: has another form: watermark is missing"):
            commit(tables, 1, range(5), sealed=1)
    assert world.books() == []


def test_one_stream_at_a_time(world) -> None:
    with world.opened() as tables:
        tables.state()
        with pytest.raises(Misconfigured, match=r"bq://project.ds: is held by the stream \S+ of projects/p/subscriptions/s \(process \d+ on "):
            world.opened()
        with pytest.raises(Misconfigured, match=r"the tables: is being written by the stream of projects/p/subscriptions/s on \S+ \(\w+\); "
                                                r"wait for its end, or end it; if it was killed, its hold ends at 20"):
            world.opened("elsewhere")
        commit(tables, 1, range(5))
    with world.opened("elsewhere") as tables:
        assert tables.state().number == 1
    assert ("ds", PREFIX + STREAM) not in world.service.store.tables and ("ds", TABLE) in world.service.store.tables


def test_without_the_right_to_keep_intents_it_says_so(world) -> None:
    with world.opened() as tables:
        world.service.faults = [RestFault(f"^POST .*/tables$|{TABLE}$", 403, "accessDenied", times=9)]
        with pytest.raises(Held, match="penstock_stream cannot be read: accessDenied"):
            tables.state()


def test_bqemulator_knows_it_too(tmp_path, ring) -> None:
    """Somebody else's idea of the Storage Write API: a process ends at every step, and the next one finds its run whole or not at all."""
    with emulator("project") as found:
        if found is None:
            pytest.skip(MISSING)
        client, patience = connect("project", found[0]), QUICK
        client.create_dataset("ds", retry=None)
        for table in compare(client, HERE, wanted_tables(CONTRACT, ""), patience):
            apply(client, HERE, table, patience)
        for life, step in enumerate(["", *COMMIT_STEPS]):
            def at(met: str, fatal: str = step) -> None:
                if met == fatal:
                    raise Dead

            target = StreamTarget.of("bq://project.ds", CONTRACT, *found, patience)
            with contextlib.suppress(Dead), StreamDataset(target, f"life{life}", "projects/p/subscriptions/s", ring.public_pem(), folder=tmp_path) as tables:
                number = tables.state().number
                assert tables.marks(DAY).ids.tolist() == [i for n in range(number) for i in range(100 * n, 100 * n + 5)]
                tables.at = at
                commit(tables, number + 1, range(100 * number, 100 * number + 5), sealed=1)
        with StreamDataset(target, "last", "projects/p/subscriptions/s", ring.public_pem(), folder=tmp_path) as tables:
            assert tables.state() == State(len(COMMIT_STEPS), 10 * len(COMMIT_STEPS), 10 * len(COMMIT_STEPS) + 5)
        books = [tuple(row.values()) for row in client.query("SELECT number, read, stored, refused, balanced FROM ds.runs ORDER BY number").result()]
        assert books == [(number + 1, 6, 5, 1, True) for number in range(len(COMMIT_STEPS))]
