"""Runs that die, and runs that meet: the tables are whole whatever happens. Real processes, killed with SIGKILL."""

import multiprocessing
import random
import time
from datetime import date, timedelta
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from pipelines.sinks.lake import Lake
from tests import lakes
from tests.lakes import CONTRACT, DAY, NEXT, events, files, finish

STEPS = ("opened", "written", "locked", "fingerprinted", "judged", "deleted", "added events", "added failures", "recorded", "committed", "closing")
SEED, RANDOM_KILLS = 11, 4


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Children are forked from a clean process that has imported what they need."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.lakes"])
    return context


def test_a_killed_run_leaves_the_tables_as_they_were_or_whole(tmp_path: Path, processes: ForkServerContext) -> None:
    with Lake.writer(str(tmp_path), CONTRACT, "held") as held:  # a run that lives all the while
        own = files(held, [events(range(5), NEXT + timedelta(days=9), "held")])
        told, tell = processes.Pipe(duplex=False)
        stop, halt = processes.Pipe(duplex=False)
        reads = processes.Value("l", 0)
        reader = processes.Process(target=lakes.child_reader, args=(tmp_path, tell, stop, reads))
        reader.start()
        dice, survived = random.Random(SEED), set()
        deaths = [*STEPS, *[""] * RANDOM_KILLS]
        for number, fatal in enumerate(deaths):
            ready, say = processes.Pipe(duplex=False)
            child = processes.Process(target=lakes.child_run, args=(tmp_path, number, fatal, say))
            child.start()
            if not fatal:
                assert ready.poll(240)
                time.sleep(dice.uniform(0, 0.7))
                child.kill()
            child.join(240)
            assert child.exitcode == -9 or not fatal
            if fatal in ("committed", "closing"):
                survived.add(f"run{number}")
            rows = held.connection.execute("USE lake").execute(lakes.WHOLE).to_arrow_table().to_pylist()
            assert lakes.halves(rows) == []
            there = {r["run"] for r in rows}
            assert survived <= there and (not fatal or there & {f"run{number}"} == survived & {f"run{number}"})
            survived, read, ends = there, reads.value, time.monotonic() + 240
            while reads.value < read + 2:  # one at least that began after the death
                assert time.monotonic() < ends and reader.is_alive(), "the reader reads no more"
                time.sleep(0.01)
        halt.send("stop")
        assert told.poll(240)
        broken = told.recv()
        reader.join(240)
        assert broken == [] and reads.value > 20
        assert {fatal for n, fatal in enumerate(deaths) if f"run{n}" in survived} >= {"committed", "closing"}
        with Lake.writer(str(tmp_path), CONTRACT, "cleaner"):
            pass
        known = held.connection.execute("SELECT count(*) FROM (SELECT DISTINCT filename FROM lake.events UNION SELECT DISTINCT filename FROM lake.failures)"
                                        ).fetchone()[0]
        on_disk = [p for p in (tmp_path / "data").rglob("*") if p.is_file() and not p.name.startswith("ducklake-")]
        replaced = [p for p in on_disk if "d=2026-03-04" in str(p)]  # one is in the table, the others serve time travel
        assert len(on_disk) == known + len(own) + len(replaced) - 1 and {p.name for p in (tmp_path / "running").iterdir()} == {"held.lock"}
        assert finish(held, own).stored == 5


@pytest.mark.parametrize("first, second, loses", [
    ((DAY, range(10), True), (DAY, range(10, 20), True), "run one replaced 2026-03-04"),
    ((DAY, range(10), False), (DAY, range(9, 20), False), "run one stored rows with the same ids"),
])
def test_two_processes_at_once(tmp_path: Path, processes: ForkServerContext, first: tuple[date, range, bool], second: tuple[date, range, bool],
                               loses: str) -> None:
    turns, children = [], []
    for run, (day, ids, replacing) in (("one", first), ("two", second)):
        mine, theirs = processes.Pipe()
        children.append(processes.Process(target=lakes.child_rival, args=(tmp_path, run, day, ids, replacing, theirs)))
        children[-1].start()
        turns.append(mine)
    assert [turn.poll(240) and turn.recv() for turn in turns] == ["written", "written"]
    ends = []
    for turn in turns:
        turn.send("commit")
        ends.append(turn.poll(240) and turn.recv())
    for child in children:
        child.join(240)
    assert ends[0] == "won" and loses in ends[1] and "run it again" in ends[1]
    reader = Lake.reader(str(tmp_path))
    stored = reader.query("SELECT text, count(*) AS n FROM events GROUP BY ALL ORDER BY ALL").to_pylist()
    reader.close()
    assert stored == [{"text": "one", "n": 10}]
    assert [p.name.split("-")[0] for p in (tmp_path / "data/main/events").rglob("*.parquet")] == ["one"]


def test_two_processes_that_race_never_both_win(tmp_path: Path, processes: ForkServerContext) -> None:
    """Both are let go at the same moment, on one day: one replacement wins each time."""
    for round_ in range(2):
        turns, children = [], []
        for run in (f"a{round_}", f"b{round_}"):
            mine, theirs = processes.Pipe()
            children.append(processes.Process(target=lakes.child_rival, args=(tmp_path, run, DAY, range(10), True, theirs)))
            children[-1].start()
            turns.append(mine)
        assert all(turn.poll(240) and turn.recv() == "written" for turn in turns)
        for turn in turns:
            turn.send("commit")
        ends = sorted(str(turn.poll(240) and turn.recv()) for turn in turns)
        for child in children:
            child.join(240)
        assert [end == "won" for end in ends].count(True) == 1 and any("replaced 2026-03-04" in end for end in ends)
    reader = Lake.reader(str(tmp_path))
    assert reader.query("SELECT count(*) AS n, count(DISTINCT text) AS runs FROM events").to_pylist() == [{"n": 10, "runs": 1}]
    reader.close()
