"""The data dictionary and the table schemas, from the contract alone."""

import json

import pytest

from pipelines.__main__ import main
from schemas import views
from schemas.contract import load


def shown(capsys, form: str) -> str:
    assert main(["describe", "--contract=census", f"--format={form}"]) == 0
    return capsys.readouterr().out


def test_markdown_names_every_field_with_its_class_and_transformation(capsys) -> None:
    lines = shown(capsys, "markdown").splitlines()
    for field in load("census").fields:
        assert any(line.startswith(f"| `{field.name}` |") and field.privacy in line and field.doc in line for line in lines)
    assert any("`email`" in line and "cryptoDeterministic" in line for line in lines)


def test_json_holds_fields_and_tables(capsys) -> None:
    found = json.loads(shown(capsys, "json"))
    assert [f["name"] for f in found["fields"]] == [f.name for f in load("census").fields]
    assert set(found["tables"]) == {"events", "failures", "runs", "replays"}
    assert {c["name"]: c["type"] for c in found["tables"]["events"]}["fnlwgt"] == "int"


def test_bigquery_gives_table_resources(capsys) -> None:
    events = json.loads(shown(capsys, "bigquery"))["events"]
    columns = {f["name"]: f for f in events["schema"]["fields"]}
    assert events["timePartitioning"] == {"type": "DAY", "field": "d"}
    assert columns["submitted_at"]["type"] == "TIMESTAMP" and columns["d"]["mode"] == "REQUIRED" and columns["email"]["type"] == "STRING"
    assert "policyTags" in columns["age"] and "policyTags" not in columns["d"]
    assert all(f["description"] for f in events["schema"]["fields"])


def test_views_are_statements_for_the_dataset(capsys) -> None:
    assert main(["describe", "--contract=census", "--format=views", "--output=bq://p-1.ds"]) == 0
    statements = capsys.readouterr().out.split(";\n")
    assert [s.split()[4] for s in statements if s.strip()] == [f"`p-1.ds.{name}`" for name in views.NAMES]
    assert "MAX(`submitted_at`)" in shown(capsys, "views")
    assert main(["describe", "--contract=census", "--format=views", "--output=bq://p`; drop"]) == 2


@pytest.mark.parametrize("name", ["nowhere", "../nowhere", "CENSUS"])
def test_an_unknown_contract(name, capsys) -> None:
    assert main(["describe", f"--contract={name}"]) == 2
    assert "--contract" in capsys.readouterr().err
