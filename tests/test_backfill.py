"""Backfill: a batch run a day, some at once; killed, resumed, refused, failing."""

import contextlib
import io
import json
import multiprocessing
import shutil
import subprocess
import sys
import time
from datetime import date, timedelta
from pathlib import Path

import orjson
import pytest

from pipelines.__main__ import main
from pipelines.backfill import _alone
from pipelines.done import Done
from pipelines.sinks import lake_runs
from pipelines.sinks.lake import Lake
from pipelines.sinks.lake_catalog import RUNNING, locked, make
from schemas.contract import load
from schemas.errors import Misconfigured
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


def until(condition, seconds: float = 600) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it did not come to that"
        time.sleep(0.02)


def killed(raw: Path, output: Path, key_folder: Path) -> tuple[list[dict], dict]:
    """What it had written down as done, and the runs of the days that it had committed; nothing and all where it was at its end already."""
    first = begun(command(raw, output, key_folder))
    assert first.stderr.readline().startswith("2026-11-0")  # a day is done; others are in hand
    until(lambda: len(children(first.pid)) >= 2 or first.poll() is not None)
    known = [Done(path, {}).known for path in (output / RUNNING).glob("*.done")]
    hers = children(first.pid)
    first.kill()
    first.communicate()
    until(lambda: not any(map(alive, hers)))
    return known if len(hers) >= 2 else [], {row["day"]: row["run"] for row in ledger(output)}


def test_killed_and_resumed_every_day_is_as_by_hand(raw, by_hand, key_folder, tmp_path) -> None:
    """Killed with three days in hand and some done; the children go with it; the same command does the others, and no day that was done."""
    for number in range(10):  # anew where this machine looked away until all were done
        known, committed = killed(raw, output := tmp_path / f"OUT{number}", key_folder)
        if known and len(committed) < len(SIX):
            break
    assert known and known[0] and known[0].keys() <= committed.keys() and len(committed) < len(SIX)
    out, err = (second := begun(command(raw, output, key_folder))).communicate(timeout=600)
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


def told_to_end(arguments: list[str]) -> dict[str, list[str]]:
    """The days that are done, and those that failed, of one that was told to end while it had some in hand, or was at its end already."""
    job = begun(arguments)
    until(lambda: children(job.pid) or job.poll() is not None)
    job.terminate()
    out, err = job.communicate(timeout=600)
    assert job.returncode == 1 and "not all days are done" in err
    told = json.loads(out.splitlines()[-1])
    return {name: sorted(told[name]) for name in ("days", "failed")}


def test_a_failing_day_an_empty_one_and_a_signal(raw, by_hand, key_folder, tmp_path) -> None:
    """One day has a file of no known format, one no file at all: told with their reasons; the other is done. Then they are mended."""
    mine, output = tmp_path / "raw", tmp_path / "OUT"
    for day in SIX[:2]:
        (mine / str(day)).mkdir(parents=True)
    (mine / str(SIX[0]) / "a.ndjson").write_bytes((raw / str(SIX[0]) / "a.ndjson").read_bytes())
    (mine / str(SIX[1]) / "a.bin").write_bytes(b"no rows at all")
    three = [a.replace("11-06", "11-03").replace("*.ndjson", "*") for a in command(mine, output, key_folder)]
    out, err = (first := begun(three)).communicate(timeout=600)
    told = json.loads(out.splitlines()[-1])
    assert first.returncode == 1 and "1 of 3 days are done" in out
    assert told["failed"].keys() == {"2026-11-02", "2026-11-03"} and told["days"].keys() == {"2026-11-01"}
    assert "has no known format" in told["failed"]["2026-11-02"] and "matches no file" in told["failed"]["2026-11-03"]
    assert f"  2026-11-02: {told['failed']['2026-11-02']}\n  2026-11-03: {told['failed']['2026-11-03']}\n" in err
    shutil.copytree(output, tmp_path / "before")
    for _ in range(10):  # anew where this machine looked away until it was at its end
        shutil.rmtree(output)
        shutil.copytree(tmp_path / "before", output)
        told = told_to_end([*three, "--empty=skip"])
        if told == {"days": ["2026-11-01"], "failed": []}:
            break
    assert told == {"days": ["2026-11-01"], "failed": []}
    assert len(ledger(output)) == 1 and [p.suffix for p in (output / RUNNING).iterdir()] == [".done"]
    (mine / str(SIX[1]) / "a.bin").unlink()
    (mine / str(SIX[1]) / "a.ndjson").write_bytes((raw / str(SIX[1]) / "a.ndjson").read_bytes())
    out, err = (third := begun([*three, "--empty=replace"])).communicate(timeout=600)
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


def test_the_same_backfill_twice_at_once_is_told_to_wait(tmp_path) -> None:
    """It has no --run that could be another one."""
    make(tmp_path)
    with (_alone(tmp_path, "backfill-a", SIX, 0.0), pytest.raises(Misconfigured, match="this range: is being written by the same request .*; wait for its end"),
          _alone(tmp_path, "backfill-a", SIX, 0.0)):
        pass
    with _alone(tmp_path, "backfill-a", SIX, 0.0):
        pass


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
    assert [turn.poll(240) and turn.recv() for turn in turns] == ["written"] * 4
    with locked(tmp_path):
        assert lake_runs.replacing(tmp_path).keys() == {f"r{n}" for n in range(4)}
    for turn in turns:
        turn.send("commit")
    assert [turn.poll(240) and turn.recv() for turn in turns] == ["won"] * 4
    for rival in rivals:
        rival.join(240)
    reader = Lake.reader(str(tmp_path))
    assert reader.query("SELECT text, count(*) AS n FROM events GROUP BY ALL ORDER BY ALL").to_pylist() == [{"text": f"r{n}", "n": 100} for n in range(4)]
    reader.close()
