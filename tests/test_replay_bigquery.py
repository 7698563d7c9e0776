"""The replay job on a dataset of BigQuery: the same rows come out as on a lake, whatever breaks on the way."""

import base64
import itertools
import json
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines.__main__ import main
from pipelines.options import ReplayOptions
from pipelines.replay import run as replay_job
from pipelines.sinks.bigquery import dataset
from pipelines.sinks.bigquery_client import Patience, connect
from pipelines.sinks.bigquery_replays import DatasetTables
from pipelines.sinks.bigquery_tables import apply, compare, wanted_tables
from pipelines.sinks.lake import Lake
from schemas.contract import load
from tests.bigquery_emulator import MISSING as EMULATOR_MISSING
from tests.bigquery_emulator import emulator
from tests.bigquery_server import BigQuery, Fault
from tests.replaying import ask, die, flags, replay, unsealed, worlds
from transforms import keys

OUT = "bq://project.ds"
QUICK = Patience(seconds=60.0, first=0.02, answer=30.0, job=60.0)
FEW = 12_000  # bytes of opened rows a run
COMPARED = "* exclude (contract_version, policy_digest, run, watermark)"
UPLOAD = "^PUT /upload/|^POST /upload/"


@pytest.fixture(scope="module")
def made(key_folder) -> dict[str, Path]:
    return worlds(key_folder)


@pytest.fixture
def service(made) -> Iterator[BigQuery]:
    """A dataset that holds what the lake of the older contract holds."""
    with BigQuery("project") as service:
        fill(service, made["old"])
        yield service


def fill(service: BigQuery, lake: Path, contract: str = "census") -> None:
    service.store.make_dataset("ds", {})
    named = dataset(OUT)
    for table in compare(connect("project", service.url), named, wanted_tables(load(contract), ""), QUICK):
        apply(connect("project", service.url), named, table, QUICK)
    reader = Lake.reader(str(lake))
    for table in ("events", "failures", "runs"):
        service.store.db.register("incoming", reader.query(f"select * from {table}"))
        service.store.db.execute(f"INSERT INTO ds.{table} BY NAME SELECT * FROM incoming")
        service.store.db.unregister("incoming")
    reader.close()
    service.calls.clear()


def given(made: dict[str, Path], service: BigQuery | SimpleNamespace, *more: str) -> list[str]:
    return [*flags(made["next"], made["keys"], Path("x"), *more)[:1], f"--failures={OUT}", f"--bigquery_endpoint={service.url}",
            *flags(made["next"], made["keys"], Path("x"), *more)[2:]]


def options(made: dict[str, Path], service: BigQuery, **more: object) -> ReplayOptions:
    return ReplayOptions(failures=OUT, bigquery_endpoint=service.url, private_key=str(made["keys"] / keys.PRIVATE), keys=str(made["keys"]),
                         contract=str(made["next"]), **more)  # type: ignore[arg-type]


def go(made: dict[str, Path], service: BigQuery, at: Callable[[str], None] = lambda step: None, most_bytes: int = 64 << 20, patience: Patience = QUICK) -> int:
    return replay_job(options(made, service), [], at, most_bytes, reach=lambda output, endpoint: DatasetTables.of(output, endpoint, patience))


def as_new(made: dict[str, Path], service: BigQuery) -> None:
    """Events and failures are those of a batch run by the newer contract; every failure is marked once, and the books are right."""
    ours = service.ask(f"SELECT {COMPARED} FROM ds.events ORDER BY application_id")
    theirs = ask(made["new"], f"select {COMPARED} from events order by application_id")
    assert ours == theirs and len(ours) > 1_500 * 0.9
    assert unsealed(made["keys"], service.ask("SELECT * FROM ds.failures WHERE attempt > 1")) == unsealed(made["keys"], ask(made["new"], "select * from failures"))
    marked = service.ask("SELECT run, stage, reason, origin, attempt FROM ds.replays ORDER BY ALL")
    assert marked == service.ask("SELECT run, stage, reason, origin, attempt FROM ds.failures WHERE attempt = 1 ORDER BY ALL")
    books = service.ask("SELECT * FROM ds.runs WHERE job = 'replay'")
    assert all(b["balanced"] and b["read"] == b["stored"] + b["repeated"] + b["refused"] for b in books)
    for fate in ("stored", "repeated", "refused"):
        assert Counter(r["replayed_by"] for r in service.ask(f"SELECT * FROM ds.replays WHERE outcome = '{fate}'")) == Counter({b["run"]: b[fate] for b in books if b[fate]})
    assert Counter(r["run"] for r in service.ask("SELECT run FROM ds.events WHERE run IS NOT NULL")) == Counter({b["run"]: b["stored"] for b in books if b["stored"]})


def test_what_a_newer_contract_accepts_is_stored_and_nothing_else(made, service, capsys) -> None:
    before = service.ask("SELECT count(*) AS n FROM ds.events")[0]["n"]
    row = replay(capsys, given(made, service))
    as_new(made, service)
    assert row["runs"] == 1 and row["stored"] == service.ask("SELECT count(*) AS n FROM ds.events")[0]["n"] - before > 20
    (books,) = service.ask("SELECT * FROM ds.runs WHERE job = 'replay'")
    assert (books["contract"], books["read"], books["number"], books["fingerprint"] != "0" * 32) == ("census 1.1", row["read"], None, True)
    again = replay(capsys, given(made, service))
    assert (again["read"], again["runs"], sum(again["left"].values())) == (0, 0, row["refused"])
    third = replay(capsys, given(made, service, "--again"))
    assert (third["read"], third["refused"], third["stored"]) == (row["refused"], row["refused"], 0)
    attempts = service.ask("SELECT attempt, count(*) AS n FROM ds.failures GROUP BY ALL ORDER BY ALL")
    assert [r["attempt"] for r in attempts] == [1, 2, 3] and attempts[1]["n"] == attempts[2]["n"] == row["refused"]


def test_a_dry_run_asks_and_writes_nothing(made, service, capsys) -> None:
    assert main(given(made, service, "--dry_run")) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rows"] == service.ask("SELECT count(*) AS n FROM ds.failures")[0]["n"] > 50
    assert main(given(made, service, "--dry_run", "--reason=unknown_field", "--since=2100-01-01")) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 0
    assert not [job for job in service.jobs.values() if "load" in job["configuration"]]
    assert {call.split()[0] for call in service.calls if "/jobs" not in call} == {"GET"} and ("ds", "penstock_replaying") not in service.store.tables


class Killed(BaseException):
    """Stands for kill -9: nothing of ours catches it."""


def dies(step: str, nth: int = 1) -> Callable[[str], None]:
    met = itertools.count(1)

    def at(reached: str) -> None:
        if reached == step and next(met) == nth:
            raise Killed

    return at


@pytest.mark.parametrize("step", ["failures", "done"])
def test_a_replay_killed_at_a_step_is_finished_by_the_next_one(step, made, service, capsys) -> None:
    """Every step, and every way to be overtaken: test_bigquery_parts."""
    with pytest.raises(Killed):
        go(made, service, dies(step))
    assert go(made, service, most_bytes=2 * FEW) == 0
    as_new(made, service)
    assert ("of a replay that died is finished" in capsys.readouterr().out) == (step == "failures"), "what had loaded all is not in need of it"
    assert go(made, service) == 0 and "nothing was replayed" in capsys.readouterr().out


def test_killed_for_real_while_it_holds_days(made, service) -> None:
    """Nothing is let go and nothing tidied up; the next replay takes all of it over at once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.replaying"])
    child = context.Process(target=die, args=(options(made, service), "failures", 1, 64 << 20))
    child.start()
    child.join(240)
    assert child.exitcode == -9
    held = [name for _, name in service.store.tables if name.startswith("penstock_writing_")]
    assert len(held) == service.ask("SELECT count(DISTINCT d) AS n FROM ds.events WHERE run IS NOT NULL")[0]["n"] > 0
    assert go(made, service) == 0
    as_new(made, service)


def test_the_same_on_bqemulator(made) -> None:
    """Somebody else's idea of GoogleSQL and of loads: an undisturbed replay stores the same there."""
    with emulator("project") as there:
        if there is None:
            pytest.skip(EMULATOR_MISSING)
        client, named = connect("project", there[0]), dataset(OUT)
        client.create_dataset("ds")
        for table in compare(client, named, wanted_tables(load("census"), ""), QUICK):
            apply(client, named, table, QUICK)
        for table in ("events", "failures", "runs"):
            rows = [{name: plain(value) for name, value in row.items() if value is not None} for row in ask(made["old"], f"select * from {table}")]
            for first in range(0, len(rows), 500):
                assert client.insert_rows_json(f"project.ds.{table}", rows[first:first + 500], retry=None) == []
        assert main(given(made, SimpleNamespace(url=there[0]))) == 0
        found = client.query("SELECT application_id, id_hash, content_hash, run IS NULL AS batch FROM ds.events ORDER BY application_id").result()
        assert [tuple(r)[:3] for r in found] == [tuple(r.values()) for r in ask(made["new"], "select application_id, id_hash, content_hash from events order by 1")]
        marked = client.query("SELECT COUNT(*) AS n, COUNT(DISTINCT CONCAT(origin, reason)) AS m FROM ds.replays").result()
        assert [tuple(r) for r in marked] == [(ask(made["old"], "select count(*) as n from failures")[0]["n"],) * 2]


def plain(value: object) -> object:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value.isoformat() if isinstance(value, date) else value


@pytest.mark.parametrize("step", ["graph done", "failures"])
def test_of_two_replays_at_once_the_later_one_goes_on(step, made, service, capsys) -> None:
    """The first only seemed to be dead: whatever it does then, nothing is stored twice."""
    inner: list[int] = []

    def at(reached: str) -> None:
        if reached == step and not inner:
            inner.append(-1)
            inner.append(go(made, service))

    assert go(made, service, at) == 1 and inner == [-1, 0]
    assert "another replay of these tables" in capsys.readouterr().err
    as_new(made, service)


PASSING = {
    "503 and 429, answers lost": [Fault(UPLOAD, 503, times=3), Fault("^PUT /upload/", "lost", times=2), Fault("^GET .*/jobs/", 404, "notFound"),
                                  Fault("^POST .*/jobs$", 503, times=2), Fault("^GET .*/queries/", "lost"), Fault("^GET .*/queries/", 503),
                                  Fault(UPLOAD, 429, "rateLimitExceeded", times=2)],
    "the turn's answer is lost, jobs fail": [
        Fault("^PATCH", "lost", times=2), Fault("^POST .*/tables$", "lost"), Fault("^PATCH", 503, times=2), Fault("^GET .*penstock_replaying", 503),
        Fault("load ds.events", "fails", "backendError", times=2), Fault("load ds.replays", "fails", "internalError"),
        Fault("load ds.failures", "fails", "rateLimitExceeded"), Fault("load ds.penstock_replaying", "fails", "backendError")],
}


@pytest.mark.parametrize("name", PASSING)
def test_what_passes_leaves_exact_books(name, made, service) -> None:
    service.faults = [replace(f) for f in PASSING[name]]
    assert go(made, service, most_bytes=2 * FEW) == 0
    assert not any(f.times for f in service.faults)
    as_new(made, service)


@pytest.mark.parametrize(("fault", "words"), [
    (Fault("load ds.events", "fails", "invalid"), "refused to load ds.events: invalid"), (Fault("load ds.replays", "fails", "quotaExceeded"), "quotaExceeded"),
    (Fault("^PUT /upload/", 503, times=10**6), "did not answer"), (Fault("load ds.events", "loses"), "other rows"), (Fault("load ds.failures", "loses"), "other rows")])
def test_what_does_not_pass_is_told_and_mended_by_the_next_replay(fault, words, made, service, capsys) -> None:
    service.faults = [fault]
    assert go(made, service, patience=replace(QUICK, seconds=0.5)) == 1
    assert words in capsys.readouterr().err
    service.faults = []
    assert go(made, service) == 0
    if fault.kind != "loses":  # there the failed run is in the ledger, out of balance
        as_new(made, service)
    ours = service.ask(f"SELECT {COMPARED} FROM ds.events ORDER BY application_id")
    assert ours == ask(made["new"], f"select {COMPARED} from events order by application_id")


def test_a_day_that_another_run_is_writing(made, service, capsys) -> None:
    day = service.ask("SELECT d FROM ds.events LIMIT 1")[0]["d"]
    service.store.make_table("ds", f"penstock_writing_{day:%Y%m%d}", {"schema": {"fields": [{"name": "run", "type": "STRING"}]},
                                                                      "description": json.dumps({"run": "nightly", "holder": "h"})})
    days = {r["d"] for r in service.ask("SELECT DISTINCT d FROM ds.events")}
    assert go(made, service) == 1
    assert f"day {day}: is being written by run nightly" in capsys.readouterr().err and len(days) > 1
    service.store.delete_table("ds", f"penstock_writing_{day:%Y%m%d}")
    assert go(made, service) == 0
    as_new(made, service)


def test_rows_that_are_stored_meanwhile_are_not_stored_again(made, service, capsys) -> None:
    """A batch run that has been there between the question and the load."""
    def at(reached: str) -> None:
        if reached == "in hand" and not met:
            met.append(reached)
            reader = Lake.reader(str(made["new"]))
            service.store.db.register("incoming", reader.query("select * from events"))
            service.store.db.execute("INSERT INTO ds.events BY NAME SELECT * FROM incoming WHERE id_hash NOT IN (SELECT id_hash FROM ds.events)")
            reader.close()

    met: list[str] = []
    assert go(made, service, at) == 1
    assert "were stored while this run was working" in capsys.readouterr().err
    assert go(made, service) == 0
    assert service.ask(f"SELECT {COMPARED} FROM ds.events ORDER BY application_id") == ask(made["new"], f"select {COMPARED} from events order by application_id")


def test_runs_that_are_not_done_and_late_rows_are_left_alone(made, service, capsys) -> None:
    db = service.store.db
    db.execute("INSERT INTO ds.failures SELECT * REPLACE ('undone' AS run) FROM ds.failures LIMIT 3")
    db.execute("INSERT INTO ds.failures SELECT * REPLACE ('window' AS stage, 'late' AS reason) FROM ds.failures LIMIT 2")
    db.execute("INSERT INTO ds.failures SELECT * REPLACE ('window' AS stage, 'late' AS reason, (SELECT min(origin) FROM ds.events) AS origin) FROM ds.failures LIMIT 1")
    row = replay(capsys, given(made, service))
    assert sorted(row["left"].values()) == [3, 3] and any("not done" in why for why in row["left"])
    late = replay(capsys, given(made, service, "--reason=late"))
    assert (late["read"], late["repeated"], late["stored"]) == (1, 1, 0)
    assert replay(capsys, given(made, service, "--reason=late"))["read"] == 0


def test_what_cannot_run_is_told_at_once(made, service, capsys) -> None:
    service.store.delete_table("ds", "replays")
    assert main([*given(made, service), "--stage=decode"]) == 2 and "replays: is missing" in capsys.readouterr().err
    assert main(given(made, service, "--dry_run")) == 0
    assert main([a.replace("project.ds", "project.none") for a in given(made, service)]) == 2
    assert "is no dataset" in capsys.readouterr().err
    service.store.delete_table("ds", "events")
    assert main(given(made, service)) == 2 and "holds no tables" in capsys.readouterr().err
