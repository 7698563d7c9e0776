"""A model is data: named by its digest, tried on golden rows, refused before the first row where anything differs."""

import dataclasses
import hashlib

import numpy as np
import pyarrow as pa
import pytest

from schemas.contract import load
from schemas.errors import Misconfigured
from schemas.place import content
from transforms.onnx import OnnxHandler

MODEL = load("census").model


def refusal(model) -> str:
    with pytest.raises(Misconfigured) as error:
        OnnxHandler(model).load_model()
    (fault,) = error.value.faults
    return fault.problem


def test_the_shipped_model_loads_and_scores_rows_as_dicts_and_as_columns() -> None:
    handler = OnnxHandler(MODEL)
    loaded = handler.load_model()
    names = [name for name, _ in MODEL.inputs]
    rows = [dict(zip(names, row)) for row in MODEL.golden_rows]
    by_rows = np.asarray(handler.run_inference(rows, loaded))
    fields = [pa.field(name, pa.float64() if kind == "float" else pa.string()) for name, kind in MODEL.inputs]
    by_columns = np.asarray(handler.run_inference(pa.RecordBatch.from_pylist(rows, pa.schema(fields)), loaded))
    assert np.allclose(by_rows, MODEL.golden_scores, atol=MODEL.golden_atol, rtol=0) and np.array_equal(by_rows, by_columns)


def test_other_bytes(tmp_path) -> None:
    (tmp_path / "m.onnx").write_bytes(content(MODEL.file, 10_000_000) + b"\0")
    assert "SHA-256" in refusal(dataclasses.replace(MODEL, file=tmp_path / "m.onnx"))


def test_no_file(tmp_path) -> None:
    assert "read" in refusal(dataclasses.replace(MODEL, file=tmp_path / "none.onnx"))


def test_bytes_that_are_no_model(tmp_path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"junk")
    assert "loaded" in refusal(dataclasses.replace(MODEL, file=tmp_path / "m.onnx", sha256=hashlib.sha256(b"junk").hexdigest()))


def test_other_inputs() -> None:
    assert "inputs" in refusal(dataclasses.replace(MODEL, inputs=MODEL.inputs[::-1]))


def test_other_answers_on_golden_rows() -> None:
    scores = (MODEL.golden_scores[0] + 0.01, *MODEL.golden_scores[1:])
    assert "golden" in refusal(dataclasses.replace(MODEL, golden_scores=scores))


def test_golden_rows_that_cannot_be_scored() -> None:
    rows = (("text",) * len(MODEL.inputs), *MODEL.golden_rows[1:])
    assert "golden" in refusal(dataclasses.replace(MODEL, golden_rows=rows))


INTENT = load("contact_center").model


def test_a_model_with_classes_answers_a_probability_for_each_by_rows_and_by_columns() -> None:
    handler = OnnxHandler(INTENT)
    loaded = handler.load_model()
    rows = [{"text": row[0]} for row in INTENT.golden_rows]
    by_rows = np.asarray(handler.run_inference(rows, loaded))
    by_columns = np.asarray(handler.run_inference(pa.RecordBatch.from_pylist(rows, pa.schema([pa.field("text", pa.string())])), loaded))
    assert by_rows.shape == (len(rows), 77) and np.array_equal(by_rows, by_columns)
    assert [INTENT.classes[i] for i in by_rows.argmax(axis=1)] == list(INTENT.golden_labels)


def test_classes_in_another_order() -> None:
    assert "golden" in refusal(dataclasses.replace(INTENT, classes=INTENT.classes[::-1]))


def test_another_number_of_classes() -> None:
    assert "number of classes" in refusal(dataclasses.replace(INTENT, classes=INTENT.classes[:-1]))


def test_other_labels_on_golden_rows() -> None:
    assert "golden" in refusal(dataclasses.replace(INTENT, golden_labels=INTENT.golden_labels[1:] + INTENT.golden_labels[:1]))


def test_another_score_of_a_golden_row_with_classes() -> None:
    scores = (INTENT.golden_scores[0] - 0.01, *INTENT.golden_scores[1:])
    assert "golden" in refusal(dataclasses.replace(INTENT, golden_scores=scores))
