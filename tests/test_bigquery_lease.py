"""One run at a time on a day of a dataset: who is refused, who takes over, what is left behind."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from pipelines.__main__ import main
from pipelines.sinks.bigquery import Dataset
from pipelines.sinks.bigquery_client import Patience, connect
from pipelines.sinks.bigquery_commit import Request, commit
from pipelines.sinks.bigquery_jobs import Failed, Place
from pipelines.sinks.bigquery_lease import PREFIX, SPAN, Lease, held
from schemas.errors import Misconfigured
from tests.bigquery_emulator import MISSING, emulator
from tests.bigquery_server import BigQuery, Fault
from tests.lakes import DAY, NEXT
from tests.runs import run

HERE = Dataset("project", "ds")
QUICK = Patience(seconds=600.0, first=0.02, answer=300.0, job=600.0)
TABLE = f"{PREFIX}{DAY:%Y%m%d}"
HELD = "^POST .*/tables$"


class Clock:
    """A clock that a test turns on; it starts now."""

    def __init__(self) -> None:
        self.now = datetime.now(timezone.utc)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def service() -> Iterator[BigQuery]:
    with BigQuery("project") as service:
        service.store.make_dataset("ds", {})
        yield service


def lease(service: BigQuery, run: str, *days, patience: Patience = QUICK, **more) -> Lease:
    return Lease(Place(connect("project", service.url), "EU", patience), HERE, run, days or (DAY,), **more)


def runs(service: BigQuery) -> dict[str, str]:
    return {name: json.loads(t["description"])["run"] for (_, name), t in service.store.tables.items() if name.startswith(PREFIX)}


def refused(other: Lease) -> str:
    with pytest.raises(Misconfigured) as told:
        other.take()
    return "; ".join(map(str, told.value.faults))


def at_once(leases: Iterable[Lease]) -> list[str]:
    """The runs that took hold, of those that try to at the same moment: in their order, they are run0, run1 and so on."""
    tried = list(leases)
    barrier = threading.Barrier(len(tried))

    def takes(own: Lease) -> bool:
        barrier.wait()
        try:
            own.take()
        except Misconfigured:
            return False
        return True

    with ThreadPoolExecutor(len(tried)) as pool:
        return [f"run{number}" for number, took in enumerate(pool.map(takes, tried)) if took]


def test_of_two_runs_one_is_refused_and_told_who_holds_the_day(service) -> None:
    first = lease(service, "nightly", DAY, NEXT)
    first.take()
    told = refused(lease(service, "mine", NEXT, NEXT + timedelta(days=1)))
    assert "day 2026-03-05: is being written by run nightly" in told and "--run=nightly takes the day over" in told
    assert runs(service) == {TABLE: "nightly", f"{PREFIX}20260305": "nightly"}, "who was refused holds nothing"
    first.release()
    assert runs(service) == {}
    lease(service, "mine", NEXT).take()
    assert runs(service) == {f"{PREFIX}20260305": "mine"}


def test_all_days_that_are_held_are_told(service) -> None:
    lease(service, "a", DAY).take()
    lease(service, "b", NEXT).take()
    told = refused(lease(service, "c", DAY, NEXT))
    assert "run a" in told and "run b" in told


def test_eight_at_once_and_one_wins(service) -> None:
    took = at_once(lease(service, f"run{n}", DAY, NEXT) for n in range(8))
    assert len(took) == 1 and set(runs(service).values()) == set(took)


def test_a_hold_that_ended_is_taken_over_whether_the_table_is_there_or_not(service) -> None:
    clock = Clock()
    lease(service, "killed", clock=clock).take()
    clock.now += SPAN + timedelta(seconds=1)
    lease(service, "late", clock=clock).take()  # this machine's clock says that it ended, BigQuery has not removed it
    assert runs(service) == {TABLE: "late"}
    service.store.tables["ds", TABLE]["expirationTime"] = "1"  # it has
    lease(service, "mine").take()
    assert runs(service) == {TABLE: "mine"}


def test_of_two_who_take_over_what_ended_one_does(service) -> None:
    clock = Clock()
    lease(service, "killed", clock=clock).take()
    clock.now += SPAN + timedelta(seconds=1)
    took = at_once(lease(service, f"run{n}", clock=clock) for n in range(6))
    assert [*runs(service).values()] == took and len(took) == 1


def test_a_renewed_hold_lasts_and_one_that_was_taken_is_left(service) -> None:
    clock = Clock()
    own = lease(service, "mine", DAY, NEXT, clock=clock)
    own.take()
    for _ in range(3):
        clock.now += SPAN * 0.9
        own.renew()
    assert "run mine" in refused(lease(service, "other", clock=clock))
    clock.now += SPAN * 2
    lease(service, "other", DAY, clock=clock).take()
    own.renew()
    own.release()
    assert runs(service) == {TABLE: "other"}, "its own day is let go, the other's stays"


def test_the_same_run_takes_over_and_the_first_process_of_it_notices(service) -> None:
    first = lease(service, "mine")
    first.take()
    second = lease(service, "mine")
    second.take()
    told = refused(lease(service, "mine", holder=first.holder, over=False))  # as before its loads
    assert "is being written by run mine" in told and "another process tries the same run" in told
    first.renew()
    first.release()
    assert runs(service) == {TABLE: "mine"}, "it is the second one's"
    lease(service, "mine", holder=second.holder, over=False).take()


@pytest.mark.parametrize("faults", [
    [Fault(HELD, "lost")], [Fault(HELD, 503), Fault(HELD, "lost", times=2)], [Fault(HELD, 403, "rateLimitExceeded")],
    [Fault(HELD, "lost"), Fault("^GET .*/tables/", 500, "backendError")]], ids=["lost", "503, lost", "rate", "lost, 500"])
def test_what_passes_is_waited_for_and_a_lost_answer_is_no_other_run(faults, service) -> None:
    service.faults = faults
    own = lease(service, "mine")
    own.take()
    assert not any(f.times for f in faults) and runs(service) == {TABLE: "mine"}
    service.faults = [Fault("^PATCH ", "lost"), Fault("^DELETE ", "lost")]
    own.renew()
    own.renew()
    own.release()
    assert runs(service) == {} and not any(f.times for f in service.faults)


def test_without_the_right_to_make_tables_it_says_so(service) -> None:
    service.faults = [Fault(f"{HELD}", 403, "accessDenied", times=9)]
    assert "cannot be held for this run: accessDenied; let the account make" in refused(lease(service, "mine"))


def test_a_dataset_out_of_reach_holds_nothing(service) -> None:
    service.faults = [Fault(HELD, 503, times=999)]
    assert "BigQuery did not answer for 0.5 s" in refused(lease(service, "mine", patience=replace(QUICK, seconds=0.5)))


def test_a_table_of_somebody_elses_under_that_name_is_left(service) -> None:
    service.store.make_table("ds", TABLE, {"schema": {"fields": [{"name": "x", "type": "STRING"}]}})
    assert "is being written by run unknown" in refused(lease(service, "mine")) and ("ds", TABLE) in service.store.tables


def test_the_emulator_knows_it_too() -> None:
    with emulator("project") as found:
        if found is None:
            pytest.skip(MISSING)
        client = connect("project", found[0])
        client.create_dataset("ds", retry=None)
        first = Lease(Place(client, "", QUICK), HERE, "nightly", [DAY])
        first.take()
        assert "is being written by run nightly" in refused(Lease(Place(client, "", QUICK), HERE, "mine", [DAY]))
        first.renew()
        first.release()
        Lease(Place(client, "", QUICK), HERE, "mine", [DAY]).take()


# Batch, by its flags

def test_batch_refuses_a_day_that_another_run_writes(service, census, key_folder, capsys) -> None:
    endpoint = f"--bigquery_endpoint={service.url}"
    assert main(["tables", "--contract=census", "--output=bq://project.ds", endpoint, "--apply"]) == 0
    given = ["batch", "--contract=census", f"--input={census}/*.ndjson", "--output=bq://project.ds", f"--keys={key_folder}", endpoint]
    nightly = lease(service, "nightly", DAY, NEXT)
    nightly.take()
    assert main([*given, "--partition=2026-03-03,2026-03-04"]) == 2
    told = capsys.readouterr().err
    assert "day 2026-03-04: is being written by run nightly" in told and "2026-03-03" not in told
    assert not any("/upload/" in call for call in service.calls) and set(runs(service).values()) == {"nightly"}
    assert main([*given, "--partition=2026-03-03"]) == 0, "another day is nobody's"
    assert main([*given, "--partition=2026-03-04", "--run=nightly"]) == 0, "a retry takes over"
    assert runs(service) == {f"{PREFIX}20260305": "nightly"}, "what it took over is let go at its end"
    assert [r["run"] for r in service.ask("select run from ds.runs where partitions like '%04%'")] == ["nightly"]


def test_a_run_that_was_killed_after_its_last_row_lets_go_when_it_is_tried_again(service, census, key_folder) -> None:
    endpoint = f"--bigquery_endpoint={service.url}"
    assert main(["tables", "--contract=census", "--output=bq://project.ds", endpoint, "--apply"]) == 0
    given = ["batch", "--contract=census", f"--input={census}/*.ndjson", "--output=bq://project.ds", f"--keys={key_folder}", endpoint, "--run=mine",
             "--partition=2026-03-03,2026-03-04"]
    assert main(given) == 0 and runs(service) == {}
    lease(service, "mine").take()
    lease(service, "other", NEXT - timedelta(days=2)).take()
    service.calls.clear()
    assert main(given) == 0 and set(runs(service).values()) == {"other"}
    assert not any("/upload/" in call for call in service.calls)


def test_a_batch_that_is_told_to_end_lets_its_days_go(service, census, key_folder, tmp_path) -> None:
    endpoint = f"--bigquery_endpoint={service.url}"
    assert main(["tables", "--contract=census", "--output=bq://project.ds", endpoint, "--apply"]) == 0
    service.faults = [Fault("^PUT /upload/", "slow", seconds=200)]
    service.calls.clear()
    job = subprocess.Popen([sys.executable, "-m", "pipelines", "batch", "--contract=census", f"--input={census}/*.ndjson", "--output=bq://project.ds",
                            f"--keys={key_folder}", endpoint, "--partition=2026-03-03,2026-03-04", f"--staging={tmp_path}"], stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 600
    while not any(call.startswith("PUT /upload/") for call in service.calls):
        assert time.monotonic() < limit and job.poll() is None
        time.sleep(0.05)
    assert len(runs(service)) == 2
    job.terminate()
    assert job.wait(600) == -signal.SIGTERM and runs(service) == {} and list(tmp_path.iterdir()) == []


def test_a_backfill_refuses_a_day_that_another_run_writes(service, key_folder, tmp_path) -> None:
    endpoint = f"--bigquery_endpoint={service.url}"
    assert main(["tables", "--contract=census", "--output=bq://project.ds", endpoint, "--apply"]) == 0
    given = ["backfill", "--contract=census", "--input=none/{partition}/*.ndjson", "--output=bq://project.ds", f"--keys={key_folder}", endpoint,
             "--from=2026-03-04", "--to=2026-03-06", "--empty=skip"]
    lease(service, "nightly", NEXT).take()
    seen = run(tmp_path, *given)
    assert seen.code == 2 and "day 2026-03-05: is being written by run nightly" in seen.text() and seen.text().count("\n") == 2
    service.store.delete_table("ds", f"{PREFIX}20260305")
    assert held(Place(connect("project", service.url), "EU", QUICK), HERE, [DAY, NEXT]) == {}
    assert run(tmp_path, *given).code == 0
    other = run(tmp_path, *(a.replace("project.ds", "project.none") for a in given))
    assert other.code == 2 and "bq://project.none: is no dataset" in other.text()


def test_a_run_whose_day_was_taken_meanwhile_loads_nothing(service, census, key_folder, capsys) -> None:
    """Its hold ended while it was asleep, and is another's when it wakes."""
    endpoint = f"--bigquery_endpoint={service.url}"
    assert main(["tables", "--contract=census", "--output=bq://project.ds", endpoint, "--apply"]) == 0
    own = lease(service, "asleep")
    own.take()
    service.store.tables["ds", TABLE]["expirationTime"] = "1"
    lease(service, "other").take()
    folder = key_folder.parent
    request = Request(HERE, service.url, "EU", str(folder), "asleep", "batch", "census 1", datetime.now(timezone.utc), (str(DAY),), (), ("d",), holder=own.holder)
    with pytest.raises(Failed, match="day 2026-03-04: is being written by run other"):
        commit(Place(connect("project", service.url), "EU", QUICK), request, [], [])
    assert service.ask("select * from ds.runs") == [] and runs(service) == {TABLE: "other"}
