"""`windows` and `disorder` of contract.yaml: what may be declared, every fault at once, and the table that comes of it."""

import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from pipelines.tools.describe import dictionary, markdown
from schemas import bigquery
from schemas.arrow import window_columns
from schemas.contract import SHIPPED, load
from schemas.durations import duration
from schemas.errors import Misconfigured
from schemas.fields import Field
from schemas.windows import Measure, read_windowing
from tests.test_model import CONTENT, descriptor

FIELDS = (Field("id", "string", False, "public", "The id."), Field("at", "timestamp-micros", False, "public", "When."),
          Field("machine", "string", True, "identifier", "Which machine."), Field("room", "int", True, "public", "Room."),
          Field("bytes", "long", True, "public", "Bytes."), Field("heat", "float", True, "sensitive", "Heat."), Field("on", "boolean", True, "public", "On."),
          Field("day", "date", True, "public", "Day."), Field("note", "string", True, "free_text", "Note."), Field("income", "int", True, "sensitive", "Income."))
BUCKETS = json.dumps({"deidentifyConfig": {"recordTransformations": {"fieldTransformations": [
    {"fields": [{"name": "income"}], "primitiveTransformation": {"fixedSizeBucketingConfig": {"lowerBound": {"integerValue": "0"}, "upperBound": {"integerValue": "9"},
                                                                                              "bucketSize": 3}}}]}}})
FIXED = {"kind": "fixed", "size": "5m", "measures": {"rows": "count"}}
SLIDING = FIXED | {"kind": "sliding", "period": "1m"}
SESSION = {"kind": "session", "gap": "30m", "measures": {"rows": "count"}}


def read(windows, folder=Path("somewhere"), template=BUCKETS, **head):
    return read_windowing({"windows": windows} | head, FIELDS, template, folder)


def right(windows, **head):
    found, faults = read(windows, **head)
    assert faults == []
    return found


@pytest.mark.parametrize("text, seconds", [("5m", 300), ("60s", 60), ("24h", 86400), ("7d", 604800), ("0s", 0), ("", None), ("m", None), ("5", None), (5, None),
                                           ("-5m", None), ("5.5m", None), ("5 m", None), (None, None), ("5w", None)])
def test_durations(text, seconds):
    assert duration(text) == (None if seconds is None else timedelta(seconds=seconds))


def test_no_windows():
    assert read(None) == (None, [])


def test_kinds():
    assert right(FIXED).period == right(FIXED).size == timedelta(minutes=5) and right(FIXED).gap == timedelta()
    assert right(SLIDING).period == timedelta(minutes=1)
    session = right(SESSION | {"key": ["machine", "room"], "lateness": "10m", "early": "1m", "accumulation": "discarding"})
    assert (session.gap, session.max_length, session.lateness) == (timedelta(minutes=30), timedelta(hours=24), timedelta(minutes=10))
    assert session.key == ("machine", "room") and session.early == timedelta(minutes=1) and not session.accumulating
    assert right(FIXED).accumulating and right(FIXED).early is None and right(FIXED).key == () and right(FIXED).model is None
    assert hash(session), "plain, immutable data"


@pytest.mark.parametrize("said, type_", [
    ({"sum": "bytes"}, "long"), ({"sum": "room"}, "long"), ({"sum": "heat"}, "double"), ({"mean": "room"}, "double"), ({"quantile": "bytes", "at": 0.5}, "double"),
    ({"distinct": "machine"}, "long"), ({"distinct": "on"}, "long"), ({"min": "room"}, "int"), ({"max": "at"}, "timestamp-micros"), ({"min": "day"}, "date"),
    ({"max": "machine"}, "string"), ({"max": "heat"}, "float"), ({"first": "on"}, "boolean"), ({"last": "income"}, "string"), ({"max": "income"}, "string")])
def test_types_of_measures(said, type_):
    (measure,) = right(FIXED | {"measures": {"it": said}}).measures
    kind = next(k for k in said if k != "at")
    assert measure == Measure("it", kind, said[kind], said.get("at"), type_)


def test_what_the_model_of_the_events_answered():
    assert right(FIXED | {"measures": {"worst": {"max": "score"}}}, model="model.json").measures[0].type == "float"
    _, faults = read(FIXED | {"measures": {"worst": {"max": "score"}}})
    assert "no column" in faults[0].problem


M = {"rows": "count"}
CASES = [  # what is declared, where the fault is, and a word of what it says
    ("fixed", "", "not a mapping"),
    (FIXED | {"colour": "red"}, ".colour", "unknown key"),
    ({"measures": M}, ".kind", "missing or unknown"), (FIXED | {"kind": "hopping"}, ".kind", "missing or unknown"), (FIXED | {"kind": []}, ".kind", "missing or unknown"),
    ({"kind": "fixed", "measures": M}, ".size", "is missing"), (FIXED | {"size": "0s"}, ".size", "over zero"), (FIXED | {"size": 5}, ".size", "over zero"),
    (FIXED | {"period": "1m"}, ".period", "not a length of fixed"), (FIXED | {"gap": "1m"}, ".gap", "not a length of fixed"),
    (FIXED | {"max_length": "1m"}, ".max_length", "not a length of fixed"),
    ({"kind": "sliding", "size": "5m", "measures": M}, ".period", "is missing"), (SLIDING | {"period": "0m"}, ".period", "over zero"),
    (SLIDING | {"period": "2m"}, ".period", "does not divide"), (SLIDING | {"period": "10m"}, ".period", "does not divide"),
    (SLIDING | {"size": "1001s", "period": "1s"}, ".period", "more than 1,000"), (SLIDING | {"gap": "5m"}, ".gap", "not a length of sliding"),
    ({"kind": "session", "measures": M}, ".gap", "is missing"), (SESSION | {"size": "5m"}, ".size", "not a length of session"),
    (SESSION | {"max_length": "soon"}, ".max_length", "over zero"), (SESSION | {"max_length": "29m"}, ".max_length", "shorter than gap"),
    (SESSION | {"gap": "25h"}, ".max_length", "shorter than gap"),
    (FIXED | {"key": "machine"}, ".key", "not a list"), (FIXED | {"key": [1]}, ".key", "not a list"), (FIXED | {"key": ["room", "room"]}, ".key", "twice"),
    (FIXED | {"key": ["wheel"]}, ".key (wheel)", "no column"), (FIXED | {"key": ["note"]}, ".key (note)", "free text"), (FIXED | {"key": ["run"]}, ".key (run)", "no column"),
    (FIXED | {"lateness": "late"}, ".lateness", "not a duration"), (FIXED | {"early": "0s"}, ".early", "over zero"), (FIXED | {"early": None}, ".early", "over zero"),
    (FIXED | {"accumulation": "both"}, ".accumulation", "neither"),
    ({"kind": "fixed", "size": "5m"}, ".measures", "missing or not a mapping"), (FIXED | {"measures": []}, ".measures", "missing or not"),
    (FIXED | {"measures": {}}, ".measures", "missing or not"), (FIXED | {"measures": {"Rows": "count"}}, ".measures.Rows", "not a usable name"),
    (FIXED | {"measures": {1: "count"}}, ".measures.1", "not a usable name"), (FIXED | {"measures": {"pane": "count"}}, ".measures.pane", "column of the windows table"),
    (FIXED | {"measures": {"prediction": "count"}}, ".measures.prediction", "column of the windows table"),
    (FIXED | {"measures": {"a": "total"}}, ".measures.a", "no measure"), (FIXED | {"measures": {"a": {"median": "room"}}}, ".measures.a", "no measure"),
    (FIXED | {"measures": {"a": {"sum": "room", "max": "room"}}}, ".measures.a", "no measure"), (FIXED | {"measures": {"a": {"sum": 5}}}, ".measures.a", "no measure"),
    (FIXED | {"measures": {"a": {}}}, ".measures.a", "no measure"), (FIXED | {"measures": {"a": None}}, ".measures.a", "no measure"),
    (FIXED | {"measures": {"a": {"sum": "wheel"}}}, ".measures.a.sum", "no column"), (FIXED | {"measures": {"a": {"first": "note"}}}, ".measures.a.first", "free text"),
    (FIXED | {"measures": {"a": {"sum": "machine"}}}, ".measures.a.sum", "stored as string"), (FIXED | {"measures": {"a": {"mean": "income"}}}, ".measures.a.mean", "stored as string"),
    (FIXED | {"measures": {"a": {"min": "on"}}}, ".measures.a.min", "stored as boolean"), (FIXED | {"measures": {"a": {"sum": "at"}}}, ".measures.a.sum", "timestamp"),
    (FIXED | {"measures": {"a": {"quantile": "room"}}}, ".measures.a.at", "between 0 and 1"),
    *((FIXED | {"measures": {"a": {"quantile": "room", "at": at}}}, ".measures.a.at", "between 0 and 1") for at in (0, 1, -1, "0.5", True, None)),
    (FIXED | {"measures": {"a": {"max": "room", "at": 0.5}}}, ".measures.a.at", "for quantile alone"),
    (FIXED | {"model": 5}, ".model", "not the name of a file"),
]


@pytest.mark.parametrize("windows, place, problem", CASES)
def test_a_fault(windows, place, problem):
    found, faults = read(windows)
    assert found is None and [(f.where, problem in f.problem) for f in faults] == [(f"somewhere/contract.yaml: windows{place}", True)]
    assert faults[0].remedy


def test_all_faults_at_once():
    _, faults = read({"kind": "sliding", "size": "0s", "gap": "1m", "key": ["note"], "lateness": "x", "measures": {"Q": {"sum": "machine"}}, "model": 1, "x": 1})
    assert len(faults) == 9


def test_a_template_that_cannot_be_read_is_not_told_twice():
    assert read(FIXED | {"measures": {"a": {"sum": "income"}}}, template="{")[1] == [] == read(FIXED, template="")[1]


def test_a_model_of_windows(tmp_path):
    (tmp_path / "m.onnx").write_bytes(CONTENT)
    windows = FIXED | {"measures": {"bytes": {"sum": "bytes"}, "place": {"first": "income"}, "machine": {"last": "machine"}}, "model": "w.json"}
    golden = {"rows": [[1, "a"]], "scores": [0.5], "atol": 1e-4}
    inputs = [{"name": "bytes", "type": "float"}, {"name": "place", "type": "string"}]
    (tmp_path / "w.json").write_text(json.dumps(descriptor(inputs=inputs, golden=golden)))
    found, faults = read(windows, tmp_path)
    assert faults == [] and found.model.inputs == (("bytes", "float"), ("place", "string"))
    for name, problem in (("heat", "no field"), ("machine", "identifier")):
        (tmp_path / "w.json").write_text(json.dumps(descriptor(inputs=[inputs[0], {"name": name, "type": "string"}], golden=golden)))
        assert problem in read(windows, tmp_path)[1][0].problem
    (tmp_path / "w.json").write_text(json.dumps(descriptor(inputs=[inputs[1] | {"type": "float"}, inputs[0]], golden=golden | {"rows": [[1, 2]]})))
    assert "stored as string" in read(windows, tmp_path)[1][0].problem
    (tmp_path / "w.json").unlink()
    assert "missing" in read(windows, tmp_path)[1][0].problem


@pytest.fixture
def census(tmp_path):
    shutil.copytree(SHIPPED / "census", tmp_path / "census")

    def changed(**keys):
        head = yaml.safe_load((SHIPPED / "census" / "contract.yaml").read_text("utf-8"))
        (tmp_path / "census" / "contract.yaml").write_text(yaml.safe_dump(head | keys, sort_keys=False), "utf-8")
        return str(tmp_path / "census")

    return changed


def test_a_contract_with_windows(census):
    windows = FIXED | {"key": ["sex"], "measures": {"rows": "count", "oldest": {"max": "age"}, "ids": {"distinct": "email"}}}
    contract = load(census(windows=windows, disorder="5m"))
    assert contract.disorder == timedelta(minutes=5) and contract.windows.key == ("sex",)
    columns = window_columns(contract)
    assert [c.name for c in columns] == ["key", "window_start", "window_end", "pane", "is_late", "rows", "oldest", "ids", "prediction", "label", "model_name",
                                         "model_version", "model_digest", "contract_version", "run", "d"]
    named = {c.name: c for c in columns}
    assert named["key"].privacy == contract.field("sex").privacy and named["oldest"].privacy == contract.field("age").privacy
    assert named["rows"].privacy == "public" and named["ids"].privacy == contract.field("email").privacy
    assert contract.field("age").doc in named["oldest"].doc and not named["rows"].nullable and named["oldest"].nullable
    table = bigquery.tables(contract)["windows"]
    assert table["timePartitioning"]["field"] == "d" and table["clustering"] == {"fields": ["key"]}
    assert [f["name"] for f in table["schema"]["fields"]] == [c.name for c in columns]
    assert {f["name"] for f in table["schema"]["fields"] if "policyTags" in f} == {c.name for c in columns if c.privacy != "public"}
    assert [c["name"] for c in dictionary(contract)["tables"]["windows"]] == [c.name for c in columns]
    assert "## Table windows" in markdown(contract) and "| `oldest` |" in markdown(contract)


def test_a_contract_without_windows(census):
    contract = load(census())
    assert contract.windows is None and contract.disorder == timedelta(seconds=60)
    assert "windows" not in bigquery.tables(contract) and "windows" not in dictionary(contract)["tables"]
    assert load(census(disorder="0s")).disorder == timedelta()


def test_faults_reach_the_contract(census):
    with pytest.raises(Misconfigured) as caught:
        load(census(windows={"kind": "fixed", "size": "0s", "measures": {}}, disorder="soon"))
    assert [f.where.rpartition(": ")[2] for f in caught.value.faults] == ["disorder", "windows.size", "windows.measures"]
