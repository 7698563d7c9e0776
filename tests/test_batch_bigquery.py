"""The batch sink on BigQuery: days are replaced, books are exact whatever happens to jobs and answers."""

import copy
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.sinks.bigquery import Dataset
from pipelines.sinks.bigquery_client import Patience, connect
from pipelines.sinks.bigquery_commit import Request, commit, verdict
from pipelines.sinks.bigquery_files import Staged, stage, withdraw
from pipelines.sinks.bigquery_jobs import Failed, Place
from pipelines.sinks.bigquery_tables import apply, compare, wanted_tables
from pipelines.sinks.lake import fingerprinted
from pipelines.sinks.lake_commit import Unbalanced
from pipelines.sinks.lake_files import by_day, conform
from pipelines.sources.gcs import client as storage
from pipelines.sources.gcs import matching
from schemas.arrow import stored_columns
from schemas.errors import Transient
from schemas.tables import FAILURES
from tests.bigquery_server import BigQuery, Fault
from tests.gcs_emulator import MISSING as GCS_MISSING
from tests.gcs_emulator import emulator as gcs_emulator
from tests.lakes import CONTRACT, DAY, NEXT, STARTED, events, failures
from transforms.ledger import LedgerRow, Tally

COLUMNS = stored_columns(CONTRACT)
QUICK = Patience(seconds=600.0, first=0.02, answer=300.0, job=600.0)
HERE = Dataset("project", "ds")
UPLOAD = "^PUT /upload/"


@pytest.fixture
def service(tmp_path) -> Iterator[BigQuery]:
    """BigQuery with the tables of CONTRACT in project.ds."""
    with BigQuery("project", gcs=str(tmp_path / "gcs")) as service:
        make(service)
        yield service


def make(service: BigQuery) -> None:
    service.store.make_dataset("ds", {})
    client = connect("project", service.url)
    for table in compare(client, HERE, wanted_tables(CONTRACT, ""), QUICK):
        apply(client, HERE, table, QUICK)
    service.calls.clear()


class Run:
    """One run that replaces days by rows with these ids, and refuses some; `again` stages anew and commits under the same id."""

    def __init__(self, service: BigQuery, folder: Path, name: str, batches: Iterable[pa.RecordBatch], days: Iterable[date] = (DAY,), sealed: int = 2,
                 patience: Patience = QUICK, gcs: bool = False) -> None:
        self.service, self.folder, self.name, self.batches, self.sealed, self.gcs = service, folder / name, name, list(batches), sealed, gcs
        self.folder.mkdir(parents=True)
        self.place = Place(connect("project", service.url), "EU", patience)
        self.request = Request(HERE, service.url, "EU", str(self.folder), name, "batch", "plain 1", STARTED, tuple(d.isoformat() for d in days), COLUMNS,
                               fingerprinted(COLUMNS), patience=patience)

    def staged(self) -> list[Staged]:
        found = [stage(str(self.folder), self.name, "events", day, [part], COLUMNS) for b in self.batches for day, part in by_day(conform(b, COLUMNS))]
        if self.sealed:  # as sealing does, never twice the same bytes
            batch = failures(self.name, self.sealed)
            unique = pa.array([secrets.token_bytes(8)] * self.sealed)
            found.append(stage(str(self.folder), self.name, "failures", "", [batch.set_column(batch.schema.get_field_index("sealed"), "sealed", unique)], FAILURES))
        if not self.gcs:
            return found
        for file in found:
            path = Path(self.service.gcs) / "bucket" / Path(file.path).name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(Path(file.path).read_bytes())
        return [f._replace(path=f"gs://bucket/{Path(f.path).name}") for f in found]

    def again(self, off: int = 0, at=lambda step: None) -> LedgerRow:
        staged = self.staged()
        tallies = [Tally("read", "", sum(f.rows for f in staged) + off)]
        return commit(self.place, self.request, staged, tallies, at=at)

    def lost(self) -> str:
        return verdict(str(self.folder)).read_text()


def stored(service: BigQuery) -> list[dict]:
    return service.ask("SELECT * FROM ds.events ORDER BY d, id_hash, origin")


def ids_of(service: BigQuery) -> list[int]:
    return [r["id_hash"] for r in stored(service)]


def books(service: BigQuery) -> list[tuple]:
    """(run, read, stored, refused, balanced, failures in the table) of each row of the ledger."""
    return [tuple(r.values()) for r in service.ask("SELECT run, read, stored, refused, balanced, (SELECT count(*) FROM ds.failures f WHERE f.run = r.run) "
                                                   "FROM ds.runs r ORDER BY ended")]


def test_days_are_replaced_and_the_same_rows_give_the_same_table(service, tmp_path) -> None:
    both = (DAY, NEXT)
    a = [events(range(10)), events(range(10, 30), NEXT)]
    first = Run(service, tmp_path, "a1", a, both).again()
    table = stored(service)
    assert (first.read, first.stored, first.refused, first.balanced, len(table)) == (32, 30, 2, True, 30)
    again = Run(service, tmp_path, "a2", a, both)
    assert again.again().fingerprint == first.fingerprint and stored(service) == table
    jobs = len(service.jobs)
    assert again.again().fingerprint == first.fingerprint and stored(service) == table, "a second try of a run that is done"
    assert len([j for j in list(service.jobs)[jobs:] if j.startswith("penstock-")]) == 0
    b = Run(service, tmp_path, "b", [events(range(5), text="other")], both).again()
    assert (b.stored, b.fingerprint != first.fingerprint, ids_of(service)) == (5, True, list(range(5)))
    assert Run(service, tmp_path, "a3", a, both).again().fingerprint == first.fingerprint and stored(service) == table
    nothing = Run(service, tmp_path, "none", [], both, sealed=0).again()
    assert (nothing.read, nothing.stored, nothing.fingerprint, stored(service)) == (0, 0, "0" * 32, [])
    assert Run(service, tmp_path, "a4", a, both).again().fingerprint == first.fingerprint and stored(service) == table
    assert [b[-2:] for b in books(service)] == [(True, 2), (True, 2), (True, 2), (True, 2), (True, 0), (True, 2)]


def test_a_day_that_is_not_declared_stays(service, tmp_path) -> None:
    Run(service, tmp_path, "a", [events(range(10)), events(range(10, 30), NEXT)], (DAY, NEXT)).again()
    Run(service, tmp_path, "b", [events([7])], (DAY,)).again()
    assert ids_of(service) == [7, *range(10, 30)]
    with pytest.raises(ValueError):
        Run(service, tmp_path, "c", [events([1], NEXT)], (DAY,)).again()
    assert ids_of(service) == [7, *range(10, 30)]


@pytest.mark.parametrize("gcs", [False, True], ids=["uploaded", "from gs://"])
def test_several_files_of_a_day_are_one_job(service, tmp_path, gcs) -> None:
    row = Run(service, tmp_path, "a", [events(range(10)), events(range(10, 20)), events(range(20, 30))], gcs=gcs).again()
    assert (row.stored, ids_of(service)) == (30, list(range(30)))
    loads = [j["statistics"]["load"] for j in service.jobs.values() if "load" in j["statistics"]]
    assert [(load["outputRows"], load["inputFiles"]) for load in loads] == [("30", "3" if gcs else "1"), ("2", "1"), ("1", "1")]


SLOW = "time-out after the job was done"
PASSING = {
    "503 twice": [Fault(UPLOAD, 503, times=2)],
    "503 before an upload": [Fault("^POST /upload/", 503), Fault("^POST /upload/", "lost")],
    "429": [Fault(UPLOAD, 429, "rateLimitExceeded")],
    "403 of a rate": [Fault(UPLOAD, 403, "rateLimitExceeded", times=3)],
    "500 on queries": [Fault("^POST .*/jobs$", 500, "internalError", times=2)],
    "503 on answers of queries": [Fault("^GET .*/queries/", 503)],
    "answer lost after the job was done": [Fault(UPLOAD, "lost")],
    "answers lost of every job": [Fault(UPLOAD, "lost", times=1), Fault(UPLOAD, 503), Fault(UPLOAD, "lost", times=2)],
    "answer lost, and the job shows late": [Fault(UPLOAD, "lost"), Fault("^GET .*/jobs/", 404, "notFound", times=2)],
    SLOW: [Fault(UPLOAD, "slow", seconds=60.0)],
    "cut in mid-upload": [Fault(UPLOAD, "cut", times=2)],
    "cut before an upload, then in its answer": [Fault("^POST /upload/", "cut"), Fault("^POST /upload/", "torn")],
    "answer torn after the job was done": [Fault(UPLOAD, "torn")],
    "cut and torn on queries": [Fault("^POST .*/jobs$", "cut"), Fault("^GET .*/queries/", "torn"), Fault("^POST .*/jobs$", "torn")],
    "answer of a query lost": [Fault("^POST .*/jobs$", "lost"), Fault("^GET .*/queries/", "lost")],
    "job fails and may pass": [Fault("load ds.events", "fails", "backendError", times=2)],
    "failures' job fails and may pass": [Fault("load ds.failures", "fails", "internalError")],
    "ledger's job fails, its second answer is lost": [Fault("load ds.runs", "fails", "rateLimitExceeded"), Fault(UPLOAD, "lost", times=3)],
}


@pytest.mark.parametrize("name", PASSING)
def test_what_passes_leaves_exact_books(name, service, tmp_path) -> None:
    service.faults = [replace(f) for f in PASSING[name]]
    row = Run(service, tmp_path, "a", [events(range(10))], patience=replace(QUICK, answer=2.0) if name == SLOW else QUICK).again()
    assert not any(f.times for f in service.faults), "every fault was committed"
    assert (row.read, row.stored, row.refused, row.balanced) == (12, 10, 2, True)
    assert ids_of(service) == list(range(10)) and books(service) == [("a", 12, 10, 2, True, 2)]


@pytest.mark.parametrize("step", [f"events {DAY}", f"events {NEXT}", "failures", "compare", "runs", "done"])
def test_a_run_that_died_at_a_step_is_finished_by_a_second_try(step, service, tmp_path) -> None:
    run = Run(service, tmp_path, "a", [events(range(10)), events(range(10, 15), NEXT)], (DAY, NEXT))

    def dies(reached: str) -> None:
        if reached == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.again(at=dies)
    assert books(service) == ([("a", 17, 15, 2, True, 2)] if step == "done" else [])
    row = run.again()
    assert (row.stored, row.refused, row.balanced, ids_of(service), books(service)) == (15, 2, True, list(range(15)), [("a", 17, 15, 2, True, 2)])


def test_another_run_between_two_tries_is_noticed(service, tmp_path) -> None:
    run = Run(service, tmp_path, "a", [events(range(10))])

    def dies(reached: str) -> None:
        if reached == "failures":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.again(at=dies)
    Run(service, tmp_path, "b", [events(range(100, 110))]).again()
    with pytest.raises(Unbalanced, match=f"events of {DAY}"):
        run.again()
    assert ids_of(service) == list(range(100, 110)) and [b[0::4] for b in books(service)] == [("b", True), ("a", False)]


REFUSED = {
    "quota by the day": ([Fault(UPLOAD, 403, "quotaExceeded")], Failed, "quotaExceeded"),
    "job fails": ([Fault("load ds.events", "fails", "invalid")], Failed, "invalid"),
    "job fails again and again": ([Fault("load ds.events", "fails", "backendError", times=99)], Transient, "failed 4 times: backendError"),
    "out of reach": ([Fault(UPLOAD, 503, times=999)], Transient, "did not answer for 0.3 s"),
    "failures' job fails": ([Fault("load ds.failures", "fails", "invalid")], Failed, "invalid"),
    "ledger's job fails": ([Fault("load ds.runs", "fails", "invalid")], Failed, "invalid"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_pass_is_no_run_and_a_second_try_finishes_it(name, service, tmp_path) -> None:
    faults, kind, told = REFUSED[name]
    Run(service, tmp_path, "before", [events(range(3))]).again()
    service.faults = [replace(f) for f in faults]
    run = Run(service, tmp_path, "a", [events(range(10))], patience=replace(QUICK, seconds=0.3))
    with pytest.raises(kind):
        run.again()
    assert told in run.lost() and [b[0] for b in books(service)] == ["before"]
    replaced = name in ("failures' job fails", "ledger's job fails")
    assert ids_of(service) == list(range(10 if replaced else 3)) and (f"{DAY} of 1 days had been replaced" in run.lost()) is replaced
    service.faults.clear()
    assert run.again().balanced and ids_of(service) == list(range(10)) and books(service)[1:] == [("a", 12, 10, 2, True, 2)]


def test_a_table_that_is_missing_or_changed_takes_nothing(service, tmp_path) -> None:
    table = service.store.tables.pop(("ds", "events"))
    run = Run(service, tmp_path, "a", [events(range(10))])
    with pytest.raises(Failed, match="notFound"):
        run.again()
    table["schema"]["fields"][0]["type"] = "INTEGER"
    service.store.tables["ds", "events"] = table
    with pytest.raises(Failed, match="invalid"):
        run.again()
    assert stored(service) == [] and books(service) == []
    table["schema"]["fields"][0]["type"] = "STRING"
    assert run.again().stored == 10 and books(service) == [("a", 12, 10, 2, True, 2)]


def test_a_row_that_bigquery_rejects_stores_none_of_its_day(service, tmp_path) -> None:
    """Of two days, the second has a row that its partition does not take: no run, the first day replaced, and a second try mends it."""
    Run(service, tmp_path, "before", [events(range(3)), events(range(20, 23), NEXT)], (DAY, NEXT)).again()
    run = Run(service, tmp_path, "a", [events(range(10)), events(range(30, 35), NEXT)], (DAY, NEXT))
    staged = run.staged()
    wrong = stage(str(run.folder), "a", "events", str(NEXT), [conform(events([99]), COLUMNS)], COLUMNS)._replace(day=str(NEXT))
    with pytest.raises(Failed, match=r"events\$20260305: invalid"):
        commit(run.place, run.request, [*staged, wrong], [Tally("read", "", 18)])
    assert ids_of(service) == [*range(10), 20, 21, 22] and [b[0] for b in books(service)] == ["before"]
    assert f"{DAY} of 2 days had been replaced" in run.lost()
    assert run.again().balanced and ids_of(service) == [*range(10), *range(30, 35)] and books(service)[1:] == [("a", 17, 15, 2, True, 2)]


DRIFTS = {
    "a nullable column more": (lambda f: f.append({"name": "theirs", "type": "STRING", "mode": "NULLABLE"}), True),
    "a required column more": (lambda f: f.append({"name": "theirs", "type": "STRING", "mode": "REQUIRED"}), False),
    "a column that was required": (lambda f: f[0].update(mode="NULLABLE"), True),
    "a column of another type": (lambda f: f[0].update(type="INTEGER"), False),
    "a column less": (lambda f: f.pop(2), False),
}


@pytest.mark.parametrize("name", DRIFTS)
def test_a_table_that_changes_while_a_run_works(name, service, tmp_path) -> None:
    """After the run looked at its tables, and before it loads: what still takes the rows takes them all, the others none."""
    change, taken = DRIFTS[name]
    Run(service, tmp_path, "before", [events(range(3))]).again()
    run, before = Run(service, tmp_path, "a", [events(range(10))]), copy.deepcopy(service.store.tables["ds", "events"])
    change(service.store.tables["ds", "events"]["schema"]["fields"])
    if name.endswith("more"):
        service.store.db.execute("ALTER TABLE ds.events ADD COLUMN theirs VARCHAR")
    if taken:
        assert run.again().balanced and ids_of(service) == list(range(10)) and books(service)[1:] == [("a", 12, 10, 2, True, 2)]
        return
    with pytest.raises(Failed, match=f"events.{DAY:%Y%m%d}: invalid"):
        run.again()
    assert ids_of(service) == [0, 1, 2] and [b[0] for b in books(service)] == ["before"]
    service.store.tables["ds", "events"] = before
    assert run.again().balanced and books(service)[1:] == [("a", 12, 10, 2, True, 2)]


def test_a_row_lost_by_a_load_is_noticed(service, tmp_path) -> None:
    service.faults = [Fault("load ds.events", "loses")]
    run = Run(service, tmp_path, "a", [events(range(10))])
    with pytest.raises(Unbalanced, match=f"other rows than were written: events of {DAY}"):
        run.again()
    assert books(service) == [("a", 12, 9, 2, False, 2)]
    with pytest.raises(Unbalanced, match="did not balance"):
        run.again()


def test_books_that_do_not_balance_load_nothing(service, tmp_path) -> None:
    Run(service, tmp_path, "before", [events(range(3))]).again()
    with pytest.raises(Unbalanced, match="13 rows at the source, 12 ended"):
        Run(service, tmp_path, "a", [events(range(10))]).again(off=1)
    assert ids_of(service) == [0, 1, 2] and books(service)[1] == ("a", 13, 0, 0, False, 0)


def test_what_bigquery_says_of_a_row_goes_nowhere(service, tmp_path) -> None:
    service.store.tables["ds", "events"]["schema"]["fields"][2]["type"] = "INTEGER"
    run = Run(service, tmp_path, "a", [events(range(3), text="SECRET")])
    with pytest.raises(Failed) as told:
        run.again()
    assert "SECRET" not in f"{told.value!r}{run.lost()}" and told.value.__cause__ is None


def test_files_wait_in_cloud_storage(tmp_path) -> None:
    with gcs_emulator() as bucket:
        if bucket is None:
            pytest.skip(GCS_MISSING)
        with BigQuery("project", gcs=bucket.url) as service:
            make(service)
            run = Run(service, tmp_path, "a", [])
            staged = [stage("gs://raw/wait", "a", "events", str(DAY), [conform(events(ids), COLUMNS)], COLUMNS, bucket.url) for ids in (range(5), range(5, 9))]
            staged.append(stage("gs://raw/wait", "a", "failures", "", [failures("a", 2)], FAILURES, bucket.url))
            row = commit(run.place, run.request, staged, [Tally("read", "", 11)])
            assert (row.stored, row.refused, row.balanced, ids_of(service)) == (9, 2, True, list(range(9)))
            other = stage("gs://raw/wait", "ab", "events", str(DAY), [conform(events([1]), COLUMNS)], COLUMNS, bucket.url)
            withdraw("gs://raw/wait/", "a", bucket.url)
            assert [o.path for o in matching(storage(bucket.url), "gs://raw/**")] == [other.path]
