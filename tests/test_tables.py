"""penstock tables: shows, makes, adds; refuses everything else."""

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.__main__ import main
from pipelines.sinks.bigquery import Dataset
from pipelines.sinks.bigquery_tables import PLACEHOLDER, ddl, difference, wanted_tables
from schemas import bigquery, views
from schemas.contract import load
from schemas.errors import Misconfigured
from tests import bigquery_query
from tests.bigquery_emulator import MISSING, emulator
from tests.bigquery_server import BigQuery, Fault

TAG = "projects/p/locations/eu/taxonomies/1/policyTags/2"
OUT = "--output=bq://project.ds"


@pytest.fixture
def service() -> Iterator[BigQuery]:
    with BigQuery("project") as service:
        service.store.make_dataset("ds", {})
        yield service


def tables(service: BigQuery, *more: str, contract: str = "census") -> int:
    return main(["tables", f"--contract={contract}", OUT, f"--bigquery_endpoint={service.url}", *more])


def fields(service: BigQuery, table: str = "events") -> dict:
    return {f["name"]: f for f in service.store.tables["ds", table]["schema"]["fields"]}


def changes(service: BigQuery) -> list[str]:
    return [c for c in service.calls if not c.startswith("GET ")]


@pytest.mark.parametrize("contract", ["census", "telemetry", "contact_center", "gaming", "weblog"])
def test_tables_are_made_as_the_contract_declares_them(contract, service, capsys) -> None:
    assert tables(service, contract=contract) == 0 and changes(service) == []
    shown = capsys.readouterr().out
    declared = bigquery.tables(load(contract))
    assert all(f"CREATE TABLE `project.ds.{name}` (" in shown for name in declared) and "--apply does it" in shown
    assert tables(service, "--apply", contract=contract) == 0
    assert {name for _, name in service.store.tables} == set(declared) | set(views.bigquery(load(contract), "project.ds"))
    for name, table in declared.items():
        made = service.store.tables["ds", name]
        assert (made.get("timePartitioning"), made.get("clustering"), made["description"]) == (table.get("timePartitioning"), table.get("clustering"), table["description"])
        assert [(f["name"], f["mode"], f["description"]) for f in made["schema"]["fields"]] == [(f["name"], f["mode"], f["description"]) for f in table["schema"]["fields"]]
    service.calls.clear()
    capsys.readouterr()
    assert tables(service, "--apply", contract=contract) == 0 and changes(service) == []
    assert "the tables and views are as the contract declares them" in capsys.readouterr().out


def test_policy_tags_are_left_out_and_said_so_or_put_in(service, capsys) -> None:
    assert tables(service, "--apply") == 0
    told = capsys.readouterr().out
    assert f"{PLACEHOLDER} is left out: give --policy_tag to tag events.application_id" in told
    assert not any("policyTags" in f for f in fields(service).values())
    assert tables(service, "--apply", f"--policy_tag={TAG}") == 0
    told = capsys.readouterr().out
    assert "~ policyTags of email" in told and PLACEHOLDER not in told
    declared = {f["name"] for f in bigquery.tables(load("census"))["events"]["schema"]["fields"] if "policyTags" in f}
    assert {n for n, f in fields(service).items() if f.get("policyTags") == {"names": [TAG]}} == declared
    service.calls.clear()
    assert tables(service, "--apply") == 0 and changes(service) == [], "tags that are there stay"


def test_new_nullable_columns_are_added_and_descriptions_follow(service, tmp_path, capsys) -> None:
    assert tables(service, "--apply") == 0
    service.store.db.execute("INSERT INTO ds.failures (run, stage, reason, origin, attempt, key) VALUES ('r', 's', 'x', 'o', 1, 'k')")
    mine = tmp_path / "census"
    shutil.copytree(Path(load("census").folder), mine)
    schema = json.loads((mine / "event.avsc").read_text())
    schema["fields"][0]["doc"] = "Another description."
    schema["fields"].append({"name": "height", "type": ["null", "int"], "doc": "Height in cm.", "privacy": "public"})
    (mine / "event.avsc").write_text(json.dumps(schema))
    before = list(fields(service))
    capsys.readouterr()
    assert tables(service, contract=str(mine)) == 0
    told = capsys.readouterr().out
    assert "-- + column height" in told and f"-- ~ description of {before[0]}" in told and list(fields(service)) == before
    assert tables(service, "--apply", contract=str(mine)) == 0
    assert list(fields(service)) == [*before, "height"] and fields(service)[before[0]]["description"].startswith("Another description")
    assert main(["batch", "--contract=census", "--input=/none/*", OUT, f"--bigquery_endpoint={service.url}", "--partition=2026-03-02"]) == 2
    assert "events: has another form: height is not declared" in capsys.readouterr().err


def view(service: BigQuery, name: str) -> dict:
    return service.store.tables["ds", name]


def test_views_are_made_with_the_tables_and_made_anew_where_they_differ(service, capsys) -> None:
    assert tables(service) == 0
    shown = capsys.readouterr().out
    assert all(f"CREATE OR REPLACE VIEW `project.ds.{name}`" in shown for name in views.NAMES)
    assert tables(service, "--apply") == 0
    shipped = views.bigquery(load("census"), "project.ds")
    assert {name: (view(service, name)["view"]["query"], view(service, name)["description"]) for name in views.NAMES} == {
        name: (v.sql, v.doc) for name, v in shipped.items()}
    bigquery_query.make_view(service.store, "ds", "freshness", {"view": {"query": "SELECT 1 AS old", "useLegacySql": False}}, anew=True)
    view(service, "volume_drift")["description"] = "older words"
    service.calls.clear()
    capsys.readouterr()
    assert tables(service) == 0 and changes(service) == []
    shown = capsys.readouterr().out
    assert "-- freshness: differs\n-- ~ SQL of the view\nCREATE OR REPLACE VIEW `project.ds.freshness`" in shown
    assert "-- volume_drift: differs\n-- ~ description of the view\n-- unbalanced_runs: is as shipped" in shown and "--apply does it" in shown
    assert tables(service, "--apply") == 0
    assert [c.rpartition("/")[2] for c in changes(service)] == ["volume_drift", "freshness"]
    assert view(service, "freshness")["view"]["query"] == shipped["freshness"].sql and view(service, "volume_drift")["description"] == shipped["volume_drift"].doc


def test_a_table_under_a_views_name_stays(service, capsys) -> None:
    service.store.make_table("ds", "freshness", {"schema": {"fields": [{"name": "mine", "type": "STRING"}]}})
    assert tables(service, "--apply") == 0 and view(service, "freshness")["type"] == "TABLE"
    assert "-- freshness: = a table of that name is left" in capsys.readouterr().out


def test_a_view_of_all_columns_gets_the_new_ones(service, tmp_path) -> None:
    assert tables(service, "--apply") == 0
    mine = tmp_path / "census"
    shutil.copytree(Path(load("census").folder), mine)
    schema = json.loads((mine / "event.avsc").read_text())
    schema["fields"].append({"name": "height", "type": ["null", "int"], "doc": "Height in cm.", "privacy": "public"})
    (mine / "event.avsc").write_text(json.dumps(schema))
    assert tables(service, "--apply", contract=str(mine)) == 0
    assert "height" in {f["name"] for f in view(service, "events_once")["schema"]["fields"]}
    service.calls.clear()
    assert tables(service, "--apply", contract=str(mine)) == 0 and changes(service) == []


def test_a_view_that_bigquery_does_not_take_is_told(service, capsys) -> None:
    service.faults = [Fault("^GET .*/events_once$", 403, "accessDenied")]
    assert tables(service, "--apply") == 2 and changes(service) == []
    service.faults = [Fault("^POST .*/tables$", 503), Fault("^POST .*/tables$", "lost", times=2)]
    assert tables(service, "--apply") == 0 and len(service.store.tables) == 4 + len(views.NAMES)
    service.store.delete_table("ds", "events_once")
    service.faults = [Fault("^POST .*/tables$", 400, "invalidQuery")]
    capsys.readouterr()
    assert tables(service, "--apply") == 2
    assert "bq://project.ds.events_once: could not be made: invalidQuery" in capsys.readouterr().err


DIFFERENCES = {
    "a column of another type": (lambda t: t["schema"]["fields"][0].update(type="INTEGER"), "application_id is INT64 NOT NULL and declared STRING NOT NULL"),
    "a column that is nullable there": (lambda t: t["schema"]["fields"][0].update(mode="NULLABLE"), "application_id is STRING and declared STRING NOT NULL"),
    "a column that is required there": (lambda t: next(f for f in t["schema"]["fields"] if f["name"] == "age").update(mode="REQUIRED"), "age is INT64 NOT NULL"),
    "a repeated column": (lambda t: t["schema"]["fields"][0].update(mode="REPEATED"), "application_id is STRING REPEATED"),
    "a required column that is missing": (lambda t: t["schema"]["fields"].pop(0), "application_id is missing and required"),
    "a column of somebody else's": (lambda t: t["schema"]["fields"].append({"name": "mine", "type": "STRING"}), "mine is not declared"),
    "no partitions": (lambda t: t.pop("timePartitioning"), "timePartitioning is none and declared DAY by d"),
    "partitions by the hour": (lambda t: t["timePartitioning"].update(type="HOUR"), "timePartitioning is HOUR by d and declared DAY by d"),
    "other clusters": (lambda t: t["clustering"].update(fields=["email"]), "clustering is email and declared id_hash"),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_anything_else_is_refused(name, service, capsys) -> None:
    change, told = DIFFERENCES[name]
    wanted = wanted_tables(load("census"), "")["events"]
    present = copy.deepcopy(wanted)
    change(present)
    assert any(part.startswith(told) for part in difference("events", wanted, present).refused)
    assert tables(service, "--apply") == 0
    change(service.store.tables["ds", "events"])
    del service.store.tables["ds", "runs"]
    service.calls.clear()
    capsys.readouterr()
    assert tables(service, "--apply") == 2 and changes(service) == [], "nothing is changed, not even what could be"
    seen = capsys.readouterr()
    assert told in seen.err and "-- ! " in seen.out


def test_names_are_the_same_whatever_their_case_and_old_type_names_are_known() -> None:
    wanted = wanted_tables(load("census"), "")["events"]
    present = copy.deepcopy(wanted)
    for field in present["schema"]["fields"]:
        field["name"] = field["name"].upper()
        field["type"] = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN"}.get(field["type"], field["type"])
    found = difference("events", wanted, present)
    assert (found.added, found.updated, found.refused) == ((), (), ())


def test_what_is_left_alone_is_said(service, capsys) -> None:
    assert tables(service, "--apply") == 0
    service.store.tables["ds", "events"]["timePartitioning"]["expirationMs"] = "86400000"
    service.store.tables["ds", "events"]["labels"] = {"team": "x"}
    service.calls.clear()
    assert tables(service, "--apply") == 0 and changes(service) == []
    told = capsys.readouterr().out
    assert "-- = the partitions' expiration" in told and "-- = labels" in told


def expiring(folder: Path, said: str) -> str:
    shutil.copytree(load("telemetry").folder, folder, ignore=shutil.ignore_patterns("*.gz", "*.py"))
    with open(folder / "contract.yaml", "a") as file:
        file.write(f"expiration: {said}\n")
    return str(folder)


def test_days_are_kept_as_long_as_the_contract_says(service, tmp_path, capsys) -> None:
    assert tables(service, "--apply", contract="telemetry") == 0
    contract = expiring(tmp_path / "own", "{events: 400d, windows: 30d}")
    capsys.readouterr()
    assert tables(service, contract=contract) == 0
    assert capsys.readouterr().out.count("-- ~ expiration of the days") == 2
    assert tables(service, "--apply", contract=contract) == 0
    kept = {name: service.store.tables["ds", name]["timePartitioning"] for name in ("events", "windows")}
    assert kept == {"events": {"type": "DAY", "field": "d", "expirationMs": "34560000000"}, "windows": {"type": "DAY", "field": "d", "expirationMs": "2592000000"}}
    service.calls.clear()
    assert tables(service, "--apply", contract=contract) == 0 and changes(service) == []
    assert "partition_expiration_days = 400)" in ddl(Dataset("project", "ds"), "events", bigquery.tables(load(contract))["events"])


@pytest.mark.parametrize("said", ["{events: 12h}", "{runs: 400d}", "400d", "{events: forever}"])
def test_an_expiration_that_is_none_is_told(said, tmp_path) -> None:
    with pytest.raises(Misconfigured, match=r"contract.yaml: expiration: is not \{events: DURATION"):
        load(expiring(tmp_path / "own", said))


@pytest.mark.parametrize(("arguments", "told"), [
    (["--output=bq://project.other"], "bq://project.other: is no dataset"), (["--output=folder"], "--output: is no BigQuery dataset"),
    (["--output=bq://project.dataset.events"], "--output: is no BigQuery dataset"),
    (["--policy_tag=mine"], "--policy_tag: has not the form"), (["--contract=nowhere"], "--contract")])
def test_what_cannot_run_says_so(arguments, told, service, capsys) -> None:
    names = [a.partition("=")[0] for a in arguments]
    kept = [a for a in ("--contract=census", OUT, f"--bigquery_endpoint={service.url}") if a.partition("=")[0] not in names]
    assert main(["tables", *kept, *arguments]) == 2 and told in capsys.readouterr().err


def test_what_passes_is_waited_for_and_a_lost_answer_is_no_second_table(service) -> None:
    service.faults = [Fault("^GET .*/datasets/ds$", 503), Fault("^POST .*/tables$", "lost"), Fault("^GET .*/events$", 429, "rateLimitExceeded")]
    assert tables(service, "--apply") == 0
    assert len(service.store.tables) == 4 + len(views.NAMES) and not any(f.times for f in service.faults)


def test_ddl_quotes_what_stands_in_descriptions() -> None:
    field = {"name": "a", "type": "STRING", "mode": "REQUIRED", "description": 'a "b" \\ c'}
    told = ddl(Dataset("p", "d"), "t", {"schema": {"fields": [field | {"policyTags": {"names": [TAG]}}, field | {"name": "b"}]}, "description": "x"})
    assert told == (f'CREATE TABLE `p.d.t` (\n  `a` STRING NOT NULL OPTIONS (description = "a \\"b\\" \\\\ c"),  -- policy tag {TAG}\n'
                    '  `b` STRING NOT NULL OPTIONS (description = "a \\"b\\" \\\\ c")\n)\nOPTIONS (description = "x");')


def test_the_emulator_takes_the_tables_too(capsys) -> None:
    with emulator("project") as found:
        if found is None:
            pytest.skip(MISSING)
        from pipelines.sinks.bigquery_client import connect

        client = connect("project", found[0])
        client.create_dataset("ds", retry=None)
        given = ["tables", "--contract=census", OUT, f"--bigquery_endpoint={found[0]}", "--apply"]
        assert main(given) == 0 and main(given) == 0
        assert capsys.readouterr().out.count("-- refused_rates: made") == 1  # it does not show the SQL of a view, so that each call makes them anew
        assert [*client.query("SELECT * FROM `project.ds.refused_rates`", retry=None, job_retry=None).result(retry=None)] == []
        for name, table in bigquery.tables(load("census")).items():
            client.query(ddl(Dataset("project", "ds"), f"{name}_2", table), retry=None, job_retry=None).result(retry=None)  # our DDL is GoogleSQL
            made = client.get_table(f"project.ds.{name}_2", retry=None)
            assert [(f.name, f.mode) for f in made.schema] == [(f["name"], f["mode"]) for f in table["schema"]["fields"]]
