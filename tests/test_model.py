"""model.json: each fault is found, and all of them at once."""

import hashlib
import json

import pytest

from schemas.fields import Field
from schemas.model import MAX_BYTES, Model, read_model

FIELDS = (Field("id", "string", False, "sensitive", "The id."), Field("age", "int", True, "public", "Age."),
          Field("weight", "double", True, "public", "Weight."), Field("job", "string", True, "public", "Work."),
          Field("over", "boolean", True, "public", "A flag."), Field("name", "string", True, "identifier", "Name."),
          Field("note", "string", True, "free_text", "Note."), Field("income", "int", True, "sensitive", "Income."))
BUCKETS = json.dumps({"deidentifyConfig": {"recordTransformations": {"fieldTransformations": [
    {"fields": [{"name": "income"}], "primitiveTransformation": {"bucketingConfig": {"buckets": [
        {"min": {"integerValue": "0"}, "max": {"integerValue": "9"}, "replacementValue": {"stringValue": "low"}}]}}}]}}})
NOTHING = json.dumps({"deidentifyConfig": {"recordTransformations": {"fieldTransformations": []}}})
CONTENT = b"the bytes of a model"


def descriptor(**changed):
    given = {"name": "m", "version": "1", "format": "onnx", "uri": "m.onnx", "sha256": hashlib.sha256(CONTENT).hexdigest(), "size": len(CONTENT),
             "inputs": [{"name": "age", "type": "float"}, {"name": "job", "type": "string"}], "missing": {"float": "NaN", "string": "?"},
             "output": {"name": "probabilities", "index": 1}, "threshold": 0.5,
             "golden": {"rows": [[1, "a"], [None, None]], "scores": [0.25, 1], "atol": 1e-4}}
    return {k: v for k, v in (given | changed).items() if v is not ...}


def read(folder, written, template=NOTHING, content=CONTENT):
    if content is not None:
        (folder / "m.onnx").write_bytes(content)
    (folder / "model.json").write_text(written if isinstance(written, str) else json.dumps(written))
    return read_model(folder, "model.json", FIELDS, template)


def test_a_right_descriptor(tmp_path):
    model, faults = read(tmp_path, descriptor(drift={}, trained={}))
    assert faults == []
    assert model == Model("m", "1", tmp_path / "m.onnx", hashlib.sha256(CONTENT).hexdigest(), (("age", "float"), ("job", "string")),
                          "probabilities", 1, 0.5, "?", ((1, "a"), (None, None)), (0.25, 1.0), 1e-4)
    assert hash(model)  # plain, immutable data


@pytest.mark.parametrize("kind, column", [("float", "age"), ("float", "weight"), ("string", "job"), ("string", "id"), ("string", "note")])
def test_types_that_fit(tmp_path, kind, column):
    golden = {"rows": [[None]], "scores": [0], "atol": 1e-4}
    model, faults = read(tmp_path, descriptor(inputs=[{"name": column, "type": kind}], golden=golden))
    assert faults == [] and model.inputs == ((column, kind),)


INPUT = {"name": "age", "type": "float"}
GOLDEN = descriptor()["golden"]
CASES = [  # what is changed, where the fault is, and a word of what it says
    ({"colour": "red"}, "colour", "unknown key"),
    *(({key: ...}, key, "is missing") for key in descriptor()),
    ({"name": "a b"}, "name", "not a name"), ({"name": 3}, "name", "not a name"), ({"version": ""}, "version", "not a name"),
    ({"format": "pickle"}, "format", "not onnx"),
    ({"uri": "../m.onnx"}, "uri", "beside"), ({"uri": "/m.onnx"}, "uri", "beside"), ({"uri": "gs://b/m.onnx"}, "uri", "beside"), ({"uri": 1}, "uri", "beside"),
    ({"uri": "other.onnx"}, "uri", "missing or cannot be read"),
    ({"sha256": "0" * 64}, "sha256", "not the digest of the file"), ({"sha256": "abc"}, "sha256", "not a SHA-256"),
    ({"sha256": hashlib.sha256(CONTENT).hexdigest().upper()}, "sha256", "not a SHA-256"),
    ({"size": 3}, "size", "not the size"), ({"size": "20"}, "size", "not the size"), ({"size": 20.0}, "size", "not the size"),
    ({"inputs": []}, "inputs", "not a list of inputs"), ({"inputs": ["age"]}, "inputs", "not a list of inputs"),
    ({"inputs": [{"name": "age", "type": "int64"}]}, "inputs", "not a list of inputs"),
    ({"inputs": [{**INPUT, "shape": 1}]}, "inputs", "not a list of inputs"), ({"inputs": [{"name": [], "type": []}]}, "inputs", "not a list of inputs"),
    ({"inputs": [INPUT, INPUT], "golden": {**GOLDEN, "rows": [[1, 2], [1, 2]]}}, "inputs", "twice"),
    ({"inputs": [INPUT, {"name": "wage", "type": "string"}]}, "inputs[1] (wage)", "no field"),
    ({"inputs": [INPUT, {"name": "name", "type": "string"}]}, "inputs[1] (name)", "identifier"),
    ({"inputs": [INPUT, {"name": "note", "type": "float"}], "golden": {**GOLDEN, "rows": [[1, 1]] * 2}}, "inputs[1] (note)", "stored as string"),
    ({"inputs": [{"name": "weight", "type": "string"}, {"name": "job", "type": "string"}], "golden": {**GOLDEN, "rows": [["a", "a"]] * 2}},
     "inputs[0] (weight)", "stored as double"),
    ({"inputs": [INPUT, {"name": "job", "type": "float"}], "golden": {**GOLDEN, "rows": [[1, 1]] * 2}}, "inputs[1] (job)", "stored as string"),
    ({"inputs": [{"name": "over", "type": "float"}, {"name": "job", "type": "string"}]}, "inputs[0] (over)", "stored as boolean"),
    ({"missing": {"float": 0, "string": "?"}}, "missing", "null"), ({"missing": {"string": "?"}}, "missing", "null"),
    ({"missing": {"float": "NaN", "string": None}}, "missing", "null"), ({"missing": "?"}, "missing", "null"),
    ({"output": {"name": "p"}}, "output", "not an output"), ({"output": {"name": "p", "index": -1}}, "output", "not an output"),
    ({"output": {"name": "p", "index": True}}, "output", "not an output"), ({"output": 1}, "output", "not an output"),
    ({"threshold": 2}, "threshold", "between 0 and 1"), ({"threshold": True}, "threshold", "between 0 and 1"), ({"threshold": "0.5"}, "threshold", "between"),
    ({"golden": []}, "golden", "not golden rows"), ({"golden": {**GOLDEN, "rows": []}}, "golden", "not golden rows"),
    ({"golden": {**GOLDEN, "more": 1}}, "golden", "not golden rows"), ({"golden": {**GOLDEN, "rows": [{}, {}]}}, "golden", "not golden rows"),
    ({"golden": {**GOLDEN, "scores": [0.5]}}, "golden", "one score for each row"),
    ({"golden": {**GOLDEN, "scores": [0.5, 1.5]}}, "golden.scores", "not probabilities"),
    ({"golden": {**GOLDEN, "scores": [0.5, True]}}, "golden.scores", "not probabilities"),
    ({"golden": {**GOLDEN, "scores": [0.5, float("nan")]}}, "golden.scores", "not probabilities"),
    ({"golden": {**GOLDEN, "atol": 0}}, "golden.atol", "at most 0.01"), ({"golden": {**GOLDEN, "atol": 1}}, "golden.atol", "at most 0.01"),
    ({"golden": {**GOLDEN, "rows": [[1, "a"], [1]]}}, "golden.rows[1]", "does not fit"),
    ({"golden": {**GOLDEN, "rows": [["1", "a"], [1, "a"]]}}, "golden.rows[0]", "does not fit"),
    ({"golden": {**GOLDEN, "rows": [[1, "a"], [1, 2]]}}, "golden.rows[1]", "does not fit"),
    ({"golden": {**GOLDEN, "rows": [[True, "a"], [1, "a"]]}}, "golden.rows[0]", "does not fit"),
]


@pytest.mark.parametrize("changed, where, words", CASES)
def test_a_fault(tmp_path, changed, where, words):
    model, faults = read(tmp_path, descriptor(**changed))
    assert model is None
    assert [f.where for f in faults] == [f"{tmp_path / 'model.json'}: {where}"] and words in faults[0].problem and faults[0].remedy


CLASSES = {"classes": ["no", "yes", "who knows?"], "output": {"name": "probabilities"}, "golden": {**GOLDEN, "labels": ["yes", "who knows?"]}}


def test_a_descriptor_with_classes(tmp_path):
    model, faults = read(tmp_path, descriptor(**CLASSES))
    assert faults == []
    assert (model.classes, model.golden_labels, model.index) == (("no", "yes", "who knows?"), ("yes", "who knows?"), 0)
    assert hash(model)


@pytest.mark.parametrize("changed, where, words", [
    *(({"classes": c}, "classes", "not a list of classes") for c in (["no", "yes", "no", "who knows?"], ["yes", "who knows?", ""], ["yes", "who knows?", "a\nb"],
                                                                     ["yes", "who knows?", 3])),
    ({"output": {"name": "probabilities", "index": 1}}, "output", "not an output of classes"), ({"output": "probabilities"}, "output", "not an output of classes"),
    ({"golden": GOLDEN}, "golden", "not golden rows"), ({"golden": {**CLASSES["golden"], "labels": "yes"}}, "golden", "not golden rows"),
    ({"golden": {**CLASSES["golden"], "labels": ["yes"]}}, "golden.labels", "one of the classes for each row"),
    ({"golden": {**CLASSES["golden"], "labels": ["yes", "maybe"]}}, "golden.labels", "one of the classes for each row"),
])
def test_a_fault_of_classes(tmp_path, changed, where, words):
    model, faults = read(tmp_path, descriptor(**{**CLASSES, **changed}))
    assert model is None
    assert [f.where for f in faults] == [f"{tmp_path / 'model.json'}: {where}"] and words in faults[0].problem and faults[0].remedy


@pytest.mark.parametrize("classes", [[], ["one"], "yes", None, 3])
def test_what_are_no_classes_at_all(tmp_path, classes):
    _, faults = read(tmp_path, descriptor(**{**CLASSES, "classes": classes}))
    assert f"{tmp_path / 'model.json'}: classes" in [f.where for f in faults]


def test_labels_of_golden_rows_without_classes(tmp_path):
    assert "not golden rows" in read(tmp_path, descriptor(golden=CLASSES["golden"]))[1][0].problem


def test_all_faults_at_once(tmp_path):
    model, faults = read(tmp_path, descriptor(format="pickle", threshold=7, sha256="0" * 64, golden=None, colour=1, inputs=[{"name": "wage", "type": "float"}]))
    assert model is None
    assert [f.where.split(": ")[1] for f in faults] == ["colour", "format", "threshold", "sha256", "inputs[0] (wage)", "golden"]


def test_the_stored_type_counts_not_the_type_read(tmp_path):
    golden = {"rows": [["low"]], "scores": [0.5], "atol": 1e-4}
    as_text = descriptor(inputs=[{"name": "income", "type": "string"}], golden=golden)
    assert read(tmp_path, as_text, BUCKETS)[1] == []
    assert "stored as int" in read(tmp_path, as_text, NOTHING)[1][0].problem
    as_number = descriptor(inputs=[{"name": "income", "type": "float"}], golden={**golden, "rows": [[1]]})
    assert "stored as string" in read(tmp_path, as_number, BUCKETS)[1][0].problem
    assert read(tmp_path, as_number, NOTHING)[1] == []


@pytest.mark.parametrize("template", ["", "{", '{"wrong": 1}'])
def test_a_broken_template_is_reported_elsewhere(tmp_path, template):
    assert read(tmp_path, descriptor(), template)[1] == []


@pytest.mark.parametrize("written, words", [("", "not JSON"), ("{", "not JSON"), ("[]", "not a JSON object"), ("3", "not a JSON object")])
def test_no_descriptor_at_all(tmp_path, written, words):
    model, faults = read(tmp_path, written)
    assert model is None and len(faults) == 1 and words in faults[0].problem


def test_files_that_are_missing(tmp_path):
    assert "missing" in read_model(tmp_path, "model.json", FIELDS, NOTHING)[1][0].problem
    assert "missing or cannot be read" in read(tmp_path, descriptor(), content=None)[1][0].problem


def test_a_model_that_is_too_large_is_not_read(tmp_path):
    with open(tmp_path / "m.onnx", "wb") as sparse:
        sparse.truncate(MAX_BYTES + 1)
    model, faults = read(tmp_path, descriptor(), content=None)
    assert model is None and len(faults) == 1 and "50,000,000" in faults[0].problem
