"""The census contract as it is shipped: it loads, its data are the published ones, and its model is as good as it says."""

import gzip
import hashlib
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from google.cloud.dlp_v2 import types

from schemas.contract import SHIPPED, load

FOLDER = SHIPPED / "census"
TEST = Path(__file__).parent / "data" / "adult.test.gz"
COLUMNS = ("age", "workclass", "fnlwgt", "education", "education_num", "marital_status", "occupation", "relationship", "race", "sex",
           "capital_gain", "capital_loss", "hours_per_week", "native_country")


@pytest.fixture(scope="module")
def contract():
    return load("census")


@pytest.fixture(scope="module")
def session():
    return onnxruntime.InferenceSession((FOLDER / "model.onnx").read_bytes(), providers=["CPUExecutionProvider"])


def adult(path):
    """Rows as dicts of strings, with the income under `income`."""
    lines = gzip.decompress(path.read_bytes()).decode("ascii").splitlines()
    rows = [line.rstrip(".").split(", ") for line in lines if line.count(",") == 14]
    return [dict(zip((*COLUMNS, "income"), row, strict=True)) for row in rows]


def buckets():
    """(minimum, maximum, replacement) of fnlwgt, as Google's own types read the template."""
    template = types.DeidentifyTemplate.from_json((FOLDER / "deidentify.json").read_text())
    rule = next(r for r in template.deidentify_config.record_transformations.field_transformations if r.fields[0].name == "fnlwgt")
    return [(b.min_.integer_value, b.max_.integer_value, b.replacement_value.integer_value)
            for b in rule.primitive_transformation.bucketing_config.buckets]


def scores(session, model, rows):
    """What the model answers for rows (one value or None for each input, in order), fed as the descriptor says."""
    feed = {}
    for i, (name, kind) in enumerate(model.inputs):
        column = [row[i] for row in rows]
        feed[name] = (np.array([[np.nan if v is None else v] for v in column], np.float32) if kind == "float"
                      else np.array([[model.missing_string if v is None else v] for v in column], object))
    return session.run([model.output], feed)[0][:, model.index]


@pytest.mark.parametrize("path, digest, rows", [
    (FOLDER / "adult.data.gz", "5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d", 32_561),
    (TEST, "a2a9044bc167a35b2361efbabec64e89d69ce82d9790d2980119aac5fd7e9c05", 16_281)])
def test_the_data_are_the_published_ones(path, digest, rows):
    assert hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest() == digest
    assert len(adult(path)) == rows


def test_the_contract_loads_and_says_what_the_files_say(contract):
    assert (contract.name, contract.version, contract.id, contract.time) == ("census", "1.0", "application_id", "submitted_at")
    assert [f.name for f in contract.fields][8:] == list(COLUMNS) and len(contract.fields) == 22
    assert {f.name for f in contract.fields if not f.nullable} == {"application_id", "submitted_at"}
    assert {f.name for f in contract.fields if f.privacy == "identifier"} == {"full_name", "email", "phone", "ssn", "ip"}
    assert [f.name for f in contract.fields if f.privacy == "free_text"] == ["note"]
    assert dict(contract.labels).keys() == {"owner", "cost_center", "data_class"}


def test_every_row_of_both_files_is_inside_the_domain(contract):
    fields = {f.name: f for f in contract.fields}
    for row in adult(FOLDER / "adult.data.gz") + adult(TEST):
        for name in COLUMNS:
            field, value = fields[name], row[name]
            assert value in field.values if field.values else field.minimum <= int(value) <= field.maximum
    assert all("?" in f.values for f in fields.values() if f.values)


def test_the_templates_are_dlp_resources(contract):
    inspect = types.InspectTemplate.from_json(contract.inspect)
    deidentify = types.DeidentifyTemplate.from_json(contract.deidentify)
    rules = deidentify.deidentify_config.record_transformations.field_transformations
    assert {r.fields[0].name for r in rules} == {"full_name", "email", "phone", "ssn", "ip", "fnlwgt", "note"}
    note = next(r for r in rules if r.fields[0].name == "note").info_type_transformations.transformations
    transformed = [i.name for t in note for i in t.info_types]
    assert sorted(transformed) == sorted(i.name for i in inspect.inspect_config.info_types)


def test_the_buckets_cover_the_domain_without_gap(contract):
    edges, field = buckets(), contract.field("fnlwgt")
    assert edges[0][0] == field.minimum and edges[-1][1] > field.maximum
    assert all(a[1] == b[0] for a, b in pairwise(edges))
    assert all(low < middle < high for low, high, middle in edges)


def test_the_descriptor_names_the_model(contract):
    content = (FOLDER / "model.onnx").read_bytes()
    descriptor = json.loads((FOLDER / "model.json").read_text())
    assert hashlib.sha256(content).hexdigest() == contract.model.sha256 == descriptor["sha256"]
    assert len(content) == descriptor["size"] <= 400_000
    assert sorted(name for name, _ in contract.model.inputs) == sorted(COLUMNS)
    assert descriptor["trained"]["sha256"] == hashlib.sha256(gzip.decompress((FOLDER / "adult.data.gz").read_bytes())).hexdigest()


def test_the_inputs_are_those_of_the_graph(contract, session):
    types_of = {"float": "tensor(float)", "string": "tensor(string)"}
    assert [(i.name, i.type) for i in session.get_inputs()] == [(n, types_of[t]) for n, t in contract.model.inputs]


def test_golden_rows(contract, session):
    model = contract.model
    assert len(model.golden_rows) >= 10
    assert any(None in r for r in model.golden_rows) and any("?" in r for r in model.golden_rows)
    assert scores(session, model, model.golden_rows) == pytest.approx(model.golden_scores, abs=model.golden_atol)
    assert len({round(s, 2) for s in model.golden_scores}) > 5


def test_error_on_the_official_test_split_without_unknowns(contract, session):
    rows = [r for r in adult(TEST) if "?" not in r.values()]
    assert len(rows) == 15_060
    table = buckets()
    bucket = {w: next(new for low, high, new in table if low <= w < high) for w in {int(r["fnlwgt"]) for r in rows}}
    fed = [[bucket[int(r[n])] if n == "fnlwgt" else float(r[n]) if kind == "float" else r[n] for n, kind in contract.model.inputs] for r in rows]
    label = scores(session, contract.model, fed) > contract.model.threshold
    error = 100 * float(np.mean(label != np.array([r["income"] == ">50K" for r in rows])))
    assert error <= 13.3
    assert round(error, 2) == json.loads((FOLDER / "model.json").read_text())["trained"]["test_error_percent"]


def test_drift_counts_are_of_all_training_rows():
    descriptor = json.loads((FOLDER / "model.json").read_text())
    drift, rows = descriptor["drift"], descriptor["trained"]["rows"]
    assert drift.keys() == {*COLUMNS, "score"} and all(sum(d["counts"]) == rows for d in drift.values())
    for each in drift.values():
        bins = len(each["values"]) if "values" in each else len(each["edges"]) + 1
        assert len(each["counts"]) == bins
    zeros = sum(r["capital_gain"] == "0" for r in adult(FOLDER / "adult.data.gz"))
    assert drift["capital_gain"]["counts"][0] == zeros and drift["score"]["edges"] == sorted(drift["score"]["edges"])
