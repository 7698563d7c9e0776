"""A day of a backfill and what it stands on: what it is given, how it ends, children, the file of what is done, the bar. Small commands stand for batch."""

import fcntl
import io
import json
import os
import signal
import sys
import threading
from datetime import datetime, timedelta

import pytest

from pipelines.backfill_days import Days, arguments
from pipelines.bar import Bar
from pipelines.children import Children, Ended
from pipelines.done import Done
from pipelines.flags import parse, written
from pipelines.options import BackfillOptions, BatchOptions, StreamOptions
from pipelines.sinks import lake_runs
from pipelines.sinks.lake_catalog import RUNNING, locked
from tests.test_backfill import FIRST, SIX, children, until

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
        threads = [threading.Thread(target=lambda: ends.append(own.run(["import time; time.sleep(600)"]))) for _ in range(2)]
        for thread in threads:
            thread.start()
        until(lambda: len(children(os.getpid())) >= 2)
        own.end()
        for thread in threads:
            thread.join()
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
