"""The replay graph for Dataflow: the same rows come out as on one machine, and what it leaves alone is told."""

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from pipelines import replay_graph
from pipelines.__main__ import main
from pipelines.flags import written
from pipelines.launch import submitting
from pipelines.replay_marks import marked, packed, stored, tried, unpacked
from pipelines.replay_read import batches
from pipelines.sinks.bigquery_replaying import SAME_ORIGIN
from pipelines.sinks.replays import Failure
from schemas.errors import Misconfigured
from tests import replay_ground
from tests.bigquery_server import Fault
from tests.replay_ground import Ground, Services, grounds
from tests.scan import Scan
from tests.secrets import planted
from tests.test_batch_graph import Job
from tests.test_job_file import refuse
from tests.test_replay_bigquery import COMPARED, PASSING, as_new, go


@pytest.fixture(scope="module")
def services(key_folder) -> Iterator[Services]:
    with replay_ground.services(key_folder) as there:
        yield there


@pytest.fixture
def ground(key_folder, services, tmp_path) -> Iterator[Ground]:
    with grounds(key_folder, services, tmp_path) as ground:
        yield ground


def left(caplog: pytest.LogCaptureFixture) -> dict[str, int]:
    """What the last step told that it left alone, by why."""
    told = [record.getMessage().split(" failures left alone: ") for record in caplog.records if record.name == "penstock" and "left alone" in record.getMessage()]
    return {why: int(rows.replace(",", "")) for rows, why in told}


def test_the_graph_stores_what_replay_stores(ground) -> None:
    """Events, failures, marks and books are those of a batch run by the newer contract, as test_replay_bigquery has it; nothing staged is left."""
    run = ground.run()
    as_new(ground.made, ground.bigquery)
    (books,) = ground.ask("SELECT * FROM ds.runs WHERE job = 'replay'")
    assert (books["run"], books["balanced"], books["contract"]) == (run, True, "census 1.1")
    assert books["read"] == books["stored"] + books["repeated"] + books["refused"] == sum(json.loads(books["reasons"]).values()) + books["stored"] + books["repeated"]
    assert ground.storage.names("load") == [] and not [table for table in ground.bigquery.store.tables if "writing" in str(table)]
    ground.run()
    assert len(ground.ask("SELECT * FROM ds.runs WHERE job = 'replay'")) == 1, "there was nothing left to do"
    again = ground.run(again=True)
    (third,) = ground.ask(f"SELECT * FROM ds.runs WHERE run = '{again}'")
    assert (third["read"], third["refused"], third["stored"]) == (books["refused"], books["refused"], 0)
    assert [r["attempt"] for r in ground.ask("SELECT DISTINCT attempt FROM ds.failures ORDER BY ALL")] == [1, 2, 3]


@pytest.mark.parametrize("faults", [
    [Fault("^POST .*/jobs$", 503, times=2), Fault("^POST .*/jobs$", "lost", times=2), Fault("^GET .*/queries/", "lost"), Fault("^GET .*/queries/", 503),
     Fault("^POST .*/jobs$", 429, "rateLimitExceeded"), Fault("load ds.events", "fails", "backendError")],
    PASSING["the turn's answer is lost, jobs fail"]], ids=["503 and 429, answers lost", "the turn's answer is lost, jobs fail"])
def test_what_passes_leaves_exact_books(faults, ground) -> None:
    ground.bigquery.faults = [replace(fault) for fault in faults]
    ground.kms.faults.extend(["unverified", "damaged"])
    ground.run()
    assert not [fault for fault in ground.bigquery.faults if fault.times] and not ground.kms.faults
    as_new(ground.made, ground.bigquery)


def test_what_does_not_pass_is_mended_by_the_next_replay(ground) -> None:
    ground.bigquery.faults = [Fault("load ds.failures", "fails", "invalid")]
    with pytest.raises(Exception, match="refused to load ds.failures: invalid"):
        ground.run()
    assert ground.ask("SELECT count(*) AS n FROM ds.replays")[0]["n"] == 0 < ground.ask("SELECT count(*) AS n FROM ds.events WHERE run IS NOT NULL")[0]["n"]
    ground.run()
    as_new(ground.made, ground.bigquery)


def test_repeats_conflicts_and_places_that_come_twice(ground, caplog) -> None:
    """Rows that are stored already repeat; another run's failures of the same places wait for the next replay, which finds that they repeat too."""
    db = ground.bigquery.store.db
    assert go(ground.made, ground.bigquery) == 0
    stored = ground.ask("SELECT count(*) AS n FROM ds.replays WHERE outcome = 'stored'")[0]["n"]
    refused = ground.ask("SELECT count(*) AS n FROM ds.replays WHERE outcome = 'refused'")[0]["n"]
    db.execute("DELETE FROM ds.replays")
    db.execute("DELETE FROM ds.failures WHERE attempt > 1")
    db.execute("UPDATE ds.events SET content_hash = content_hash + 1 WHERE id_hash IN (SELECT id_hash FROM ds.events WHERE run IS NOT NULL ORDER BY 1 LIMIT 2)")
    events = ground.ask(f"SELECT {COMPARED} FROM ds.events ORDER BY ALL")
    (first,) = ground.ask(f"SELECT * FROM ds.runs WHERE run = '{ground.run()}'")
    assert (first["stored"], first["repeated"], first["refused"]) == (0, stored - 2, refused + 2) and json.loads(first["reasons"])["conflict"] >= 2
    assert ground.ask("SELECT outcome, count(*) AS n FROM ds.replays GROUP BY ALL ORDER BY ALL") == [
        {"outcome": "refused", "n": refused + 2}, {"outcome": "repeated", "n": stored - 2}]
    db.execute("INSERT INTO ds.failures SELECT * REPLACE (attempt + 10 AS attempt) FROM ds.failures WHERE attempt = 1 AND reason = 'unknown_field'")
    twice = ground.ask("SELECT count(*) AS n FROM ds.failures WHERE attempt = 11")[0]["n"]
    db.execute("DELETE FROM ds.replays WHERE reason = 'unknown_field' AND attempt = 1")
    caplog.clear()
    (second,) = ground.ask(f"SELECT * FROM ds.runs WHERE run = '{ground.run()}'")
    assert second["read"] == twice == left(caplog)[SAME_ORIGIN] > 1
    (third,) = ground.ask(f"SELECT * FROM ds.runs WHERE run = '{ground.run()}'")
    assert third["read"] == twice and ground.ask(f"SELECT {COMPARED} FROM ds.events ORDER BY ALL") == events


def test_what_is_left_alone_is_told(ground, caplog) -> None:
    """Rows that kill, of runs that are not done, late ones, and those of another key. Late rows that are asked for repeat."""
    db = ground.bigquery.store.db
    db.execute("INSERT INTO ds.failures SELECT * REPLACE ('undone' AS run) FROM ds.failures LIMIT 3")
    db.execute("INSERT INTO ds.failures SELECT * REPLACE ('window' AS stage, 'late' AS reason) FROM ds.failures LIMIT 2")
    db.execute("INSERT INTO ds.failures SELECT * REPLACE ('window' AS stage, 'late' AS reason, (SELECT min(origin) FROM ds.events) AS origin) FROM ds.failures LIMIT 1")
    db.execute("INSERT INTO ds.failures SELECT * REPLACE ('crashes' AS reason, 'elsewhere' AS origin) FROM ds.failures LIMIT 4")
    db.execute("INSERT INTO ds.failures SELECT * REPLACE ('moved' AS origin) FROM ds.failures WHERE stage = 'decode' AND run <> 'undone' LIMIT 1")
    run = ground.run()
    told = left(caplog)
    assert sorted(told.values()) == [1, 3, 3, 4]
    assert [next(rows for why, rows in told.items() if word in why) for word in ("another key", "on one machine", "not done", "late")] == [1, 4, 3, 3]
    first = ground.ask(f"SELECT * FROM ds.runs WHERE run = '{run}'")[0]
    assert first["read"] == ground.ask("SELECT count(*) AS n FROM ds.replays")[0]["n"]
    (late,) = ground.ask(f"SELECT * FROM ds.runs WHERE run = '{ground.run(reason='late')}'")
    assert (late["read"], late["repeated"], late["stored"]) == (1, 1, 0)
    with pytest.raises(Exception, match="the key opens none of 1 failures"):
        ground.run()


def test_a_key_that_cannot_be_used_fails_the_job(ground) -> None:
    ground.kms.enabled = False
    try:
        with pytest.raises(Exception, match="the key is disabled"):
            ground.run()
    finally:
        ground.kms.enabled = True
    assert ground.ask("SELECT count(*) AS n FROM ds.replays")[0]["n"] == 0 and ground.storage.names("load") == []


def test_a_row_carries_its_failure_under_whatever_origin() -> None:
    """The origin that Decode gives it is a colon and what was packed; events and refused rows get the true one back."""
    failures = [Failure("run", "decode", "malformed", origin, 2, b"sealed", "key")
                for origin in ("gs://b/a:1", "projects/p/subscriptions/s:12", 'a "b", [c]\n\u2028:7', "\x1f\x00é😀:0", "")]
    rows = pa.RecordBatch.from_pydict({"origin": [f":{packed(failure)}" for failure in failures], "attempt": pa.array([1] * 5, pa.int32())})
    were = unpacked(rows)
    assert were == [failure._replace(sealed=None, key="") for failure in failures]
    assert tried(rows, were).to_pylist() == [{"origin": failure.origin, "attempt": 3} for failure in failures]
    assert stored(rows, were)["origin"].to_pylist() == [failure.origin for failure in failures] and stored(rows, were)["watermark"].null_count == 5
    assert [row["outcome"] for batch in marked(were, "again", "stored") for row in batch.to_pylist()] == ["stored"] * 5 and not list(marked([], "again", "stored"))


def test_failures_are_read_some_at_a_time() -> None:
    failures = [Failure("run", "decode", "malformed", f"file:{i}", 1, b"x" * 10, "key") for i in range(10)]
    for size, rows, expected in ((1 << 20, 100, [10]), (1 << 20, 4, [4, 4, 2]), (25, 100, [2] * 5), (5, 100, [1] * 10)):
        found = list(batches(iter(failures), size, rows))
        assert [batch.num_rows for batch in found] == expected
        assert [row["origin"] for batch in found for row in batch.to_pylist()] == [failure.origin for failure in failures]


def flags(ground: Ground, *more: str) -> list[str]:
    options = replace(ground.options, contract="census")
    return ["replay", *written(options), "--runner=DataflowRunner", "--project=project", "--region=europe-west4", "--temp_location=gs://load/temp", *more]


def test_a_dry_run_looks_at_everything_and_opens_nothing(ground, capsys) -> None:
    """Of the launch and of the graph too, which is built and dry-run."""
    assert main(flags(ground, "--dry_run", "--json")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "the graph of census 1.0 was built and dry-run for Dataflow" in lines[-2]
    assert json.loads(lines[-1])["rows"] == ground.ask("SELECT count(*) AS n FROM ds.failures")[0]["n"] > 50
    assert not [job for job in ground.bigquery.jobs.values() if "load" in job["configuration"]] and ("ds", "penstock_replaying") not in ground.bigquery.store.tables
    assert ground.storage.names("load") == []


@pytest.mark.parametrize(("more", "expected"), [
    (["--private_key=failures.private.pem"], ["--private_key: is no key version of Cloud KMS"]), (["--private_key="], ["--private_key: is no key version"]),
    (["--failures=tables", "--staging=here"], ["--failures: is no BigQuery dataset", "--staging: is not in Cloud Storage"]),
    (["--contract=/tmp"], ["--contract: /tmp is a folder of this machine"]), (["--since=2026-03-02", "--until=2026-03-01"], ["--until: is not after --since"])])
def test_what_cannot_run_there_is_told_at_once(ground, capsys, more, expected) -> None:
    kept = [flag for flag in flags(ground, "--dry_run") if not flag.startswith(tuple(f"{given.partition('=')[0]}=" for given in more))]
    assert main([*kept, *more]) == 2
    told = capsys.readouterr().err
    assert all(each in told for each in expected) and len(told.splitlines()) == 1 + len(expected), told


def test_the_books_of_a_submitted_job_are_told(ground, capsys) -> None:
    """What is left afterwards with them; of a run that found nothing to do there is no row."""
    replaying, outcome = ground.worked(reason="unknown_field")

    def ended(state: str, left: Any = None) -> tuple[int, str]:
        code = submitting.ended(Job(state), lambda: replay_graph.done(replaying), "replay", replaying.run, "bq://project.ds", True, left)
        return code, "".join(capsys.readouterr())

    assert ended("DONE")[0] == 0 and json.loads(ended("DONE")[1].splitlines()[-1])["read"] == 0
    replaying.commit(outcome)
    code, told = ended("DONE", lambda: {"sealed with another key": 2})
    assert code == 0 and "2 left alone: sealed with another key" in told and json.loads(told.splitlines()[-1])["left"] == {"sealed with another key": 2}
    assert json.loads(told.splitlines()[-1])["read"] > 1
    assert ended("FAILED")[0] == 1 and "078-05-1120" not in ended("FAILED")[1]


def test_what_is_staged_and_logged_holds_no_row(ground, caplog) -> None:
    """No secret of a row that was opened is in a file of the bucket, in a request to BigQuery, in its tables or in a log, in whatever form."""
    caplog.set_level(logging.DEBUG)
    refuse(ground.bigquery, ground.made["keys"], "ds")
    replaying, outcome = ground.worked(run="before")
    found = {name: ground.storage.read("load", name) for name in ground.storage.names("load")}
    row = replaying.commit(outcome)
    assert row.read == len(planted()) and row.stored > 5 and row.refused > 5 and len(found) > 4
    found |= {"log": caplog.text.encode(), "calls": "\n".join(ground.bigquery.calls).encode(), "jobs": repr(ground.bigquery.jobs).encode()}
    found |= {f"request {n}": body for n, body in enumerate(ground.bigquery.bodies)}
    found |= {name: repr(ground.ask(f"SELECT * FROM ds.{name} WHERE run = '{row.run}'")).encode() for name in ("events", "failures", "runs")}
    assert Scan({p.label: p.secret for p in planted()}).of(found) == set()


def test_a_contract_that_is_not_of_these_tables(ground) -> None:
    with pytest.raises(Misconfigured, match="the tables hold the events of census"):
        ground.run(contract="weblog")
