"""Backfill: a batch run a day, some at once; killed, resumed, refused, failing. Small commands stand for batch where only the order of things is asked."""

import contextlib
import fcntl
import io
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import date, datetime, timedelta
from pathlib import Path

import orjson
import pytest

from pipelines.__main__ import main
from pipelines.backfill_days import Days, arguments
from pipelines.bar import Bar
from pipelines.children import Children, Ended
from pipelines.done import Done
from pipelines.flags import parse, written
from pipelines.options import BackfillOptions, BatchOptions, StreamOptions
from pipelines.sinks import lake_runs
from pipelines.sinks.lake import Lake
from pipelines.sinks.lake_catalog import RUNNING, locked
from schemas.contract import load
from tests import gcs_emulator, lakes
from tests.cloud_backfill import story
from tests.lakes import CONTRACT

FIRST = date(2026, 11, 1)
SIX = [FIRST + timedelta(days=n) for n in range(6)]
CENSUS = load("census")
ROWS = 150


# By its real flags

@pytest.fixture(scope="module")
def raw(census, tmp_path_factory) -> Path:
    """Six days of events, a folder each."""
    folder = tmp_path_factory.mktemp("raw")
    lines = [line for line in next(census.glob("*.ndjson")).read_bytes().split(b"\n") if line]
    for n, day in enumerate(SIX):
        (folder / str(day)).mkdir()
        (folder / str(day) / "a.ndjson").write_bytes(b"".join(on(day, line) + b"\n" for line in lines[n * ROWS:(n + 1) * ROWS]))
    return folder


def on(day: date, line: bytes) -> bytes:
    """The event as if it had happened on that day; a line that is none as it is."""
    with contextlib.suppress(orjson.JSONDecodeError, KeyError, TypeError):
        row = orjson.loads(line)
        return orjson.dumps(row | {"submitted_at": f"{day}T{row['submitted_at'][11:]}"})
    return line


@pytest.fixture(scope="module")
def by_hand(raw, key_folder, tmp_path_factory) -> dict[str, str]:
    """{day: fingerprint} of batch for each day, one after the other."""
    output, found = tmp_path_factory.mktemp("hand") / "OUT", {}
    for day in SIX:
        with contextlib.redirect_stdout(io.StringIO()) as told:
            assert main(["batch", "--contract=census", f"--input={raw}/{day}/*.ndjson", f"--output={output}", f"--keys={key_folder}",
                         f"--partition={day}", "--json"]) == 0
        found[str(day)] = json.loads(told.getvalue().splitlines()[-1])["fingerprint"]
    return found


def command(raw: Path, output: Path, key_folder: Path, *more: str) -> list[str]:
    return ["backfill", "--contract=census", f"--input={raw}/{{partition}}/*.ndjson", f"--output={output}", f"--keys={key_folder}", "--from=2026-11-01",
            "--to=2026-11-06", "--parallel=3", "--json", *more]


def begun(arguments: list[str]) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-m", "pipelines", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ledger(output: Path) -> list[dict]:
    reader = Lake.reader(str(output))
    rows = reader.query("SELECT run, partitions[3:12] AS day, fingerprint, balanced, ended FROM runs ORDER BY ended").to_pylist()
    reader.close()
    return rows


def children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(condition, seconds: float = 60) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it did not come to that"
        time.sleep(0.02)


def test_killed_and_resumed_every_day_is_as_by_hand(raw, by_hand, key_folder, tmp_path) -> None:
    """Killed with three days in hand and some done; the children go with it; the same command does the others, and no day that was done."""
    output = tmp_path / "OUT"
    first = begun(command(raw, output, key_folder))
    assert first.stderr.readline().startswith("2026-11-0")  # a day is done; others are in hand
    known = Done(next((output / RUNNING).glob("*.done")), {}).known
    until(lambda: len(children(first.pid)) >= 2)
    hers = children(first.pid)
    first.kill()
    first.communicate()
    until(lambda: not any(map(alive, hers)), 10)
    committed = {row["day"]: row["run"] for row in ledger(output)}
    assert known and known.keys() <= committed.keys() and len(committed) < len(SIX)
    out, err = (second := begun(command(raw, output, key_folder))).communicate(timeout=120)
    assert second.returncode == 0, err
    assert "days are done (remove " in err
    told = json.loads(out.splitlines()[-1])
    assert {day: row["fingerprint"] for day, row in told["days"].items()} == by_hand and told["failed"] == {}
    rows = ledger(output)
    assert {row["day"]: row["fingerprint"] for row in rows} == by_hand and all(row["balanced"] for row in rows)
    assert len(rows) == len(SIX), "each day was committed once, be it before the kill and not yet written down"
    assert {day: run for day, run in ((r["day"], r["run"]) for r in rows) if day in committed} == committed
    assert list((output / RUNNING).iterdir()) == []
    reader = Lake.reader(str(output))
    assert len(reader.query("SELECT DISTINCT d FROM events").to_pylist()) == 6
    reader.close()


def test_a_failing_day_an_empty_one_and_a_signal(raw, by_hand, key_folder, tmp_path) -> None:
    """One day has a file of no known format, one no file at all: told with their reasons; the other is done. Then they are mended."""
    mine, output = tmp_path / "raw", tmp_path / "OUT"
    for day in SIX[:2]:
        (mine / str(day)).mkdir(parents=True)
    (mine / str(SIX[0]) / "a.ndjson").write_bytes((raw / str(SIX[0]) / "a.ndjson").read_bytes())
    (mine / str(SIX[1]) / "a.bin").write_bytes(b"no rows at all")
    three = [a.replace("11-06", "11-03").replace("*.ndjson", "*") for a in command(mine, output, key_folder)]
    out, err = (first := begun(three)).communicate(timeout=120)
    told = json.loads(out.splitlines()[-1])
    assert first.returncode == 1 and "1 of 3 days are done" in out
    assert told["failed"].keys() == {"2026-11-02", "2026-11-03"} and told["days"].keys() == {"2026-11-01"}
    assert "has no known format" in told["failed"]["2026-11-02"] and "matches no file" in told["failed"]["2026-11-03"]
    assert f"  2026-11-02: {told['failed']['2026-11-02']}\n  2026-11-03: {told['failed']['2026-11-03']}\n" in err
    second = begun([*three, "--empty=skip"])
    until(lambda: children(second.pid))
    second.terminate()
    out, err = second.communicate(timeout=60)
    assert second.returncode == 1 and "not all days are done" in err and json.loads(out.splitlines()[-1])["failed"] == {}
    assert len(ledger(output)) == 1 and [p.suffix for p in (output / RUNNING).iterdir()] == [".done"]
    (mine / str(SIX[1]) / "a.bin").unlink()
    (mine / str(SIX[1]) / "a.ndjson").write_bytes((raw / str(SIX[1]) / "a.ndjson").read_bytes())
    out, err = (third := begun([*three, "--empty=replace"])).communicate(timeout=120)
    assert third.returncode == 0, err
    assert {row["day"]: row["fingerprint"] for row in ledger(output)} == {str(d): by_hand[str(d)] for d in SIX[:2]} | {"2026-11-03": "0" * 32}


def test_a_day_that_another_run_is_writing_is_refused(raw, key_folder, tmp_path, capsys) -> None:
    output = tmp_path / "OUT"
    with Lake.writer(str(output), CONTRACT, "nightly", [SIX[2], SIX[3]]), Lake.writer(str(output), CONTRACT, "adding"):
        assert main(command(raw, output, key_folder)) == 2
        told = capsys.readouterr().err
        assert "day 2026-11-03: is being written by run nightly" in told and "day 2026-11-04" in told and told.count("\n") == 3
        with locked(output):
            assert lake_runs.replacing(output) == {"nightly": {SIX[2], SIX[3]}, "adding": frozenset()}
    with locked(output):
        assert lake_runs.replacing(output) == {}
    assert not list((output / RUNNING).glob("*.done"))


def test_batch_refuses_it_too_but_a_day_of_the_backfill_that_holds_it(raw, key_folder, tmp_path, capsys) -> None:
    output = tmp_path / "OUT"
    given = ["batch", "--contract=census", f"--input={raw}/2026-11-03/*.ndjson", f"--output={output}", f"--keys={key_folder}", "--partition=2026-11-03"]
    with Lake.writer(str(output), CENSUS, "backfill-1a2b", [SIX[2], SIX[3]]):
        assert main(given) == 2
        told = capsys.readouterr().err
        assert "day 2026-11-03: is being written by run backfill-1a2b" in told and told.count("\n") == 2
        assert main([*given, "--run=20261103-backfill-1a2b-3f-1"]) == 0
    assert main(given) == 0
    assert len(ledger(output)) == 2


@pytest.mark.parametrize(("changed", "where"), [
    ({"--input": "a/*.gz", "--from": "2026-11-07"}, ["--input", "--to"]),
    ({"--contract": "nowhere", "--to": "2026-10-01"}, ["--contract", "--to"]),
    ({"--from": "yesterday"}, ["--from"]),
    ({"--parallel": "0", "--empty": "maybe"}, ["--parallel", "--empty"]),
    ({"--partition": "2026-11-01"}, ["--partition"]),
    ({"--run": "mine"}, ["--run"]),
])
def test_what_cannot_run(raw, tmp_path, key_folder, capsys, changed, where) -> None:
    given = dict(a.split("=", 1) for a in command(raw, tmp_path / "OUT", key_folder) if "=" in a) | changed
    assert main(["backfill", *(f"{name}={value}" for name, value in given.items())]) == 2
    told = capsys.readouterr().err
    assert all(f"  {w}: " in told for w in where) and len(told.splitlines()) == len(where) + 1, told
    assert not (tmp_path / "OUT").exists()


def test_from_a_bucket_into_bigquery_killed_every_day_is_as_undisturbed(tmp_path) -> None:
    """On the emulators, by its flags; `make backfill` does it with 30 days of 10,000 rows."""
    if not gcs_emulator.installed():
        pytest.skip(gcs_emulator.MISSING)
    told = story(tmp_path, days=5, rows=200, parallel=3, kills=1)
    assert told.wrong == [] and len(told.whole) == 5 and told.killed == told.whole and len(set(told.whole.values())) == 5
    assert 1 <= told.kills[0] < 5, "it was killed in the middle"


# What a day passes on

def options(**more) -> BackfillOptions:
    given = {"contract": "census", "input": "raw/{partition}/*.gz,more/{partition}.csv", "output": "out", "from_": FIRST, "to": SIX[-1]}
    return BackfillOptions(**(given | more))


def test_a_day_gets_every_option_of_batch() -> None:
    given = options(engine="dlp", project="p", dlp_cache=False, requests_per_minute=50, allow_unwrapped_keys=True, parallel=4)
    first, *rest = arguments(given, FIRST, ["--job_name=x"])
    parsed, beam = parse(BatchOptions, rest, beam=True)
    assert first == "batch" and beam == ["--job_name=x"]
    assert parsed == BatchOptions(contract="census", input="raw/2026-11-01/*.gz,more/2026-11-01.csv", output="out", partition=(FIRST,), engine="dlp", project="p",
                                  dlp_cache=False, requests_per_minute=50, allow_unwrapped_keys=True, json=True)


@pytest.mark.parametrize("given", [
    BatchOptions(contract="c", input="i", output="o", partition=(SIX[0], SIX[1]), json=True),
    StreamOptions(contract="c", subscription="projects/p/subscriptions/s", output="o", for_=timedelta(minutes=3), wait=timedelta(milliseconds=200)),
])
def test_written_is_what_parse_takes_back(given) -> None:
    assert parse(type(given), written(given))[0] == given


LEDGER = json.dumps({"read": 5, "stored": 4, "refused": 1})
NO_FILE = "penstock batch cannot run:\n  --input: {} matches no file; check the path\n"
CHANCE = "penstock batch failed; the tables are as they were: another program changed these tables at the same moment; run it again\n"


@pytest.mark.parametrize(("ends", "empty", "row", "reason"), [
    ([Ended(0, f"words\n{LEDGER}\n", "5 read\n")], "fail", json.loads(LEDGER), ""),
    ([Ended(1, "", "5 read\npenstock batch failed; the tables are as they were: run x replaced it\n")], "fail", None, "the tables are as they were: run x replaced it"),
    ([Ended(1, "", CHANCE), Ended(0, LEDGER, "")], "fail", json.loads(LEDGER), ""),
    ([Ended(1, "", CHANCE), Ended(1, "", CHANCE)], "fail", None, "the tables are as they were: another program changed these tables at the same moment; run it again"),
    ([Ended(-9, "", "a row: 078-05-1120")], "fail", None, "its process was killed by signal 9"),
    ([Ended(3, "a row", "ValueError: 078-05-1120")], "fail", None, "its process ended with exit code 3"),
    ([Ended(-15, "", "")], "fail", None, ""),
    ([Ended(2, "", NO_FILE.format("a") + "  --input: b matches no file; check the path")], "skip", {}, ""),
    ([Ended(2, "", NO_FILE.format("a"))], "skip", None, "--input: a matches no file; check the path"),  # the other pattern matches some
    ([Ended(2, "", NO_FILE.format("a") + "  --engine: b; c")], "skip", None, "--input: a matches no file; check the path; --engine: b; c"),
    ([Ended(2, "", NO_FILE.format("a") + "  --input: b matches no file; c"), Ended(0, LEDGER, "")], "replace", json.loads(LEDGER), ""),
    ([Ended(2, "", NO_FILE.format("a") + "  --input: b matches no file; c"), Ended(1, "", CHANCE), Ended(0, LEDGER, "")], "replace", json.loads(LEDGER), ""),
])
def test_how_a_day_ends(ends, empty, row, reason) -> None:
    started = []

    def start(given: list[str]) -> Ended:
        started.append(given)
        return ends[len(started) - 1]

    outcome = Days(options(empty=empty), [], start, lambda day: None, lambda day, again: f"run{again}", "nothing.ndjson").run(FIRST)
    assert outcome == (FIRST, row, reason) and len(started) == len(ends)
    assert [("--input=nothing.ndjson" in given, "--run=runagain" in given) for given in started] == [
        (n > 0 and empty == "replace", n > 0 and ends[n - 1].err == CHANCE) for n in range(len(ends))]


def test_a_day_that_somebody_took_meanwhile_is_not_started() -> None:
    outcome = Days(options(), [], lambda given: pytest.fail("started"), lambda day: "nightly", lambda day, again: "r", "").run(FIRST)
    assert outcome == (FIRST, None, "run nightly is writing this day")


# Children, the file of what is done, the bar

def test_children_end_when_told_and_none_starts_after() -> None:
    with Children([sys.executable, "-c"]) as own:
        ends: list[Ended] = []
        threads = [threading.Thread(target=lambda: ends.append(own.run(["import time; time.sleep(60)"]))) for _ in range(2)]
        for thread in threads:
            thread.start()
        until(lambda: len(children(os.getpid())) >= 2)
        own.end()
        for thread in threads:
            thread.join(30)
        assert [e.code for e in ends] == [-signal.SIGTERM] * 2
        assert own.run(["print(1)"]) == Ended(-15, "", "")


def test_children_tell_how_they_ended() -> None:
    with Children([sys.executable, "-c"]) as own:
        assert own.run(["import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"]) == Ended(3, "out\n", "err\n")


def test_done_survives_a_cut_line(tmp_path) -> None:
    path = tmp_path / "x.done"
    first = Done(path, {"what": "it is about"})
    first.add("a", {"read": 1})
    first.fail("b")
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"done": {"c": {"re')
    second = Done(path, {})
    assert (second.id, second.known, second.failures) == (first.id, {"a": {"read": 1}}, {"b": 1}) and path.read_bytes() == whole
    second.add("d", {})
    assert Done(path, {}).known == {"a": {"read": 1}, "d": {}}
    second.close(remove=True)
    assert not path.exists() and Done(path, {}).id != first.id


def test_a_living_run_says_its_days_whatever_stood_there(tmp_path) -> None:
    """Also of a run of an earlier version, whose lock file is empty."""
    (tmp_path / RUNNING).mkdir()
    with open(tmp_path / RUNNING / "older.lock", "ab") as older:
        fcntl.flock(older, fcntl.LOCK_EX)
        with locked(tmp_path):
            held = lake_runs.enlist(tmp_path, "mine", SIX[:2])
            assert lake_runs.replacing(tmp_path) == {"older": frozenset(), "mine": set(SIX[:2])}
            lake_runs.discharge(tmp_path, "mine", held)
            assert lake_runs.replacing(tmp_path) == {"older": frozenset()}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_bar() -> None:
    seconds = iter([100.0, 110.0])
    bar = Bar(10, 2, Terminal(), lambda: next(seconds))
    bar.day("2026-11-01", "words", True, False, 4_000, 30)
    bar.day("2026-11-02", "words", False, True)
    bar.day("2026-11-03", "told to end", False, False)
    assert bar.line(3) == f"[{'#' * 9}{'.' * 21}] 3 of 10 days   3 running   4,000 rows   400 rows/s   30 refused   1 days failed"


def test_a_terminal_is_left_clean_and_a_file_gets_lines() -> None:
    terminal, file = Terminal(), io.StringIO()
    for out in (terminal, file):
        bar = Bar(2, 0, out, lambda: datetime.now().timestamp())
        bar.draw(1)
        bar.day("2026-11-01", "5 read", True, False)
        bar.clear()
    assert terminal.getvalue().startswith("\r\x1b[K[....") and terminal.getvalue().endswith("\r\x1b[K")
    assert file.getvalue() == "2026-11-01  5 read   (1 of 2 days)\n"


# What it rests on in the tables

def test_a_run_that_is_done_already_is_answered_and_not_done_again(raw, key_folder, tmp_path, capsys) -> None:
    given = ["batch", "--contract=census", f"--output={tmp_path}/OUT", f"--keys={key_folder}", "--partition=2026-11-01", "--run=mine", "--json"]
    rows = []
    for source in (SIX[0], SIX[1]):  # the second one is not looked into
        assert main([*given, f"--input={raw}/{source}/*.ndjson"]) == 0
        rows.append(json.loads(capsys.readouterr().out.splitlines()[-1]))
    assert rows[0] == rows[1] and rows[0]["run"] == "mine" and len(ledger(tmp_path / "OUT")) == 1


def test_different_days_do_not_disturb_each_other(tmp_path) -> None:
    """Four runs that have written their days are let go at the same moment: all win."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.lakes"])
    turns, rivals = [], []
    for n in range(4):
        mine, theirs = processes.Pipe()
        rivals.append(processes.Process(target=lakes.child_rival, args=(tmp_path, f"r{n}", SIX[n], range(100), True, theirs)))
        rivals[-1].start()
        turns.append(mine)
    assert [turn.poll(60) and turn.recv() for turn in turns] == ["written"] * 4
    with locked(tmp_path):
        assert lake_runs.replacing(tmp_path).keys() == {f"r{n}" for n in range(4)}
    for turn in turns:
        turn.send("commit")
    assert [turn.poll(60) and turn.recv() for turn in turns] == ["won"] * 4
    for rival in rivals:
        rival.join(60)
    reader = Lake.reader(str(tmp_path))
    assert reader.query("SELECT text, count(*) AS n FROM events GROUP BY ALL ORDER BY ALL").to_pylist() == [{"text": f"r{n}", "n": 100} for n in range(4)]
    reader.close()
