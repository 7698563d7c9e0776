"""The batch job into BigQuery, by its flags."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.__main__ import main
from tests.bigquery_server import BigQuery, Fault
from tests.gcs_server import Storage


def job(service: BigQuery, census: Path, keys: Path, *more: str) -> list[str]:
    return ["batch", "--contract=census", f"--input={census}/*.ndjson", "--output=bq://project.ds", f"--keys={keys}", f"--bigquery_endpoint={service.url}", "--json",
            *more]


@pytest.fixture
def made(tmp_path) -> Iterator[BigQuery]:
    """BigQuery with the tables of the census contract, made by the command."""
    with BigQuery("project") as service:
        service.store.make_dataset("ds", {})
        assert main(["tables", "--contract=census", "--output=bq://project.ds", f"--bigquery_endpoint={service.url}", "--apply"]) == 0
        yield service


def test_the_job_by_its_flags(made, census, key_folder, tmp_path, capsys) -> None:
    truth = json.loads((census / "truth.json").read_text())
    days = f"--partition={','.join([*truth['stored_by_day'], '2026-03-09'])}"
    rows = []
    for more in ([], ["--run=mine"], ["--run=mine"], [f"--staging={tmp_path}/staging"]):
        assert main(job(made, census, key_folder, days, *more)) == 0
        rows.append(json.loads(capsys.readouterr().out.splitlines()[-1]))
    assert len({r["fingerprint"] for r in rows}) == 1 and len({r["run"] for r in rows}) == 3
    assert all({k: r[k] for k in truth if k in r and k != "contract"} == {k: truth[k] for k in truth if k in rows[0] and k != "contract"} for r in rows)
    assert {r["d"].isoformat(): r["n"] for r in made.ask("select d, count(*) as n from ds.events group by d")} == truth["stored_by_day"]
    assert made.ask("select run, count(*) as n from ds.failures group by run having n <> 64") == [] and list((tmp_path / "staging").iterdir()) == []
    assert main(["query", "bq://project.ds", "select sum(stored) as n from runs", "--format=csv", f"--bigquery_endpoint={made.url}"]) == 0
    assert capsys.readouterr().out == f"n\n{3 * truth['stored']}\n"


def test_a_job_that_fails_says_so(made, census, key_folder, capsys) -> None:
    made.faults = [Fault("load ds.events.20260303", "fails", "invalid")]
    assert main(job(made, census, key_folder, "--partition=2026-03-02,2026-03-03", "--run=mine")) == 1
    told = capsys.readouterr().err
    assert "run mine is not done" in told and "refused to load ds.events$20260303: invalid" in told and "2026-03-02 of 2 days had been replaced" in told
    assert main(job(made, census, key_folder, "--partition=2026-03-02,2026-03-03", "--run=mine")) == 0
    assert made.ask("select count(*) as n, count(distinct run) as runs from ds.runs") == [{"n": 1, "runs": 1}]


def test_a_run_out_of_balance_is_not_told_to_be_tried_again(made, census, key_folder, capsys) -> None:
    made.faults = [Fault("load ds.events", "loses")]
    given = job(made, census, key_folder, "--partition=2026-03-02", "--run=mine")
    assert main(given) == 1
    told = capsys.readouterr().err
    assert "run mine ended out of balance: BigQuery holds other rows than were written: events of 2026-03-02" in told and "tries it again" not in told
    assert "start a run under an id of its own" in told
    assert main(given) == 2 and "is in the ledger already, and its books did not balance" in capsys.readouterr().err


def test_staging_that_cannot_be_written_is_named(made, census, key_folder, tmp_path, capsys) -> None:
    with Storage(tmp_path / "gcs", "there") as storage:
        assert main(job(made, census, key_folder, "--partition=2026-03-02", "--staging=gs://nowhere/x", f"--storage_endpoint={storage.url}")) == 1
    told = capsys.readouterr().err
    assert "gs://nowhere/x/" in told and "cannot be written: NotFound; look at --staging" in told and made.ask("select count(*) as n from ds.events") == [{"n": 0}]


def test_a_run_of_one_name_into_two_datasets_of_a_project(made, census, key_folder) -> None:
    """As a scheduler names them, by the day: ids of jobs are a project's."""
    made.store.make_dataset("other", {})
    assert main(["tables", "--contract=census", "--output=bq://project.other", f"--bigquery_endpoint={made.url}", "--apply"]) == 0
    given = job(made, census, key_folder, "--partition=2026-03-02", "--run=2026-03-02")
    for name in ("ds", "other"):
        assert main([argument.replace("project.ds", f"project.{name}") for argument in given]) == 0
    rows = [[tuple(row.values()) for row in made.ask(f"select * from {name}.events order by all")] for name in ("ds", "other")]
    assert rows[0] == rows[1] != []


@pytest.mark.parametrize(("fault", "expected"), [
    (Fault("load ds.runs", "loses"), "BigQuery says that its row was loaded into runs, and does not have it; start a run under an id of its own"),
    (Fault("^POST .*/jobs$", 403, "accessDenied", 99), "BigQuery refused a query: accessDenied")])
def test_a_run_whose_row_cannot_be_read_says_so(fault, expected, made, census, key_folder, capsys) -> None:
    made.faults = [fault]
    assert main(job(made, census, key_folder, "--partition=2026-03-02")) == 1
    told = capsys.readouterr().err
    assert expected in told and "Traceback" not in told


@pytest.mark.parametrize(("arguments", "expected"), [
    (["--output=bq://project.ds"], ["--partition: is missing"]),
    (["--output=bq://project.ds", "--staging=s3://x"], ["--partition: is missing", "--staging: is neither"]),
    (["--output=bq://project.ds", "--staging=/dev/null/x", "--partition=2026-03-02"], ["--staging: cannot be written"]),
    (["--output=bq://project.other", "--partition=2026-03-02"], ["bq://project.other: is no dataset"]),
    (["--output=bq://nothing", "--partition=2026-03-02"], ["--output: is no BigQuery dataset"]),
    (["--output=bq://project.ds", "--contract=telemetry", "--partition=2026-03-02"], ["ds: events: has another form", "ds: windows: is missing"]),
    (["--output=bq://project.ds", "--partition=2026-03-02", "--bigquery_endpoint=http://example.com"], ["--bigquery_endpoint: is neither"]),
])
def test_what_cannot_run_says_all_that_is_wrong(arguments, expected, made, census, key_folder, capsys) -> None:
    names = [a.partition("=")[0] for a in arguments]
    kept = [a for a in job(made, census, key_folder) if a.partition("=")[0] not in names]
    assert main([*kept, *arguments]) == 2
    told = capsys.readouterr().err
    assert all(part in told for part in expected), told
    assert not any("/upload/" in call for call in made.calls) and not any(name.startswith("penstock_writing") for _, name in made.store.tables)


def test_tables_that_are_missing_or_behind_are_named(made, census, key_folder, capsys) -> None:
    del made.store.tables["ds", "failures"]
    fields = made.store.tables["ds", "events"]["schema"]["fields"]
    fields[:] = [f for f in fields if f["name"] != "watermark"]
    assert main(job(made, census, key_folder, "--partition=2026-03-02")) == 2
    told = capsys.readouterr().err
    assert "ds: failures: is missing; make it: penstock tables --apply" in told and "ds: events: lacks watermark" in told
