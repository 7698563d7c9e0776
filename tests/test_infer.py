"""A model that fails, answers short or answers nonsense loses no row but the one at fault."""

from datetime import date

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.ml.inference.base import ModelHandler, PredictionResult
from apache_beam.testing.util import assert_that, equal_to

from schemas.arrow import stored_columns
from schemas.errors import Reason
from schemas.model import Model
from tests.contracts import plain_contract
from transforms.batch import Refusal
from transforms.infer import Infer, infer, scorer_of, stamp


def batch(values: list[float]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"x": pa.array(values, pa.float64())})


def halves(b: pa.RecordBatch) -> list[float]:
    return [v / 2 for v in b["x"].to_pylist()]


def test_scores_every_row_in_order() -> None:
    values = [float(i) for i in range(10_000)]
    scores, refused = infer(batch(values), halves)
    assert scores.to_pylist() == [v / 2 for v in values] and refused == []


@pytest.mark.parametrize("bad", [[0], [9_999], [5, 6], [0, 4_095, 4_096, 9_999]])
def test_only_the_rows_at_fault_are_refused(bad) -> None:
    values = [float(i) for i in range(10_000)]

    def picky(b: pa.RecordBatch) -> list[float]:
        if any(v in bad for v in b["x"].to_pylist()):
            raise ValueError("no")
        return halves(b)

    scores, refused = infer(batch(values), picky)
    assert refused == [Refusal(i, Reason.UNSCORABLE) for i in bad]
    assert scores.null_count == len(bad) and scores[1].as_py() == 0.5


def test_a_short_answer_is_a_failure_not_a_loss() -> None:
    def short(b: pa.RecordBatch) -> list[float]:
        return [v for v in halves(b) if v != 1.5]

    scores, refused = infer(batch([1.0, 2.0, 3.0, 4.0]), short)
    assert refused == [Refusal(2, Reason.UNSCORABLE)] and scores.to_pylist() == [0.5, 1.0, None, 2.0]


@pytest.mark.parametrize("nonsense", [float("nan"), float("inf"), float("-inf")])
def test_a_score_that_is_not_finite(nonsense) -> None:
    _, refused = infer(batch([1.0, 2.0]), lambda b: [nonsense if v == 2 else v for v in b["x"].to_pylist()])
    assert refused == [Refusal(1, Reason.UNSCORABLE)]


def test_what_no_one_named_propagates() -> None:
    def broken(b: pa.RecordBatch) -> list[float]:
        raise MemoryError

    with pytest.raises(MemoryError):
        infer(batch([1.0]), broken)


def thirds(b: pa.RecordBatch) -> list[list[float]]:
    """Probabilities of three classes; of -1 none is a number."""
    return [[float("nan"), 0.5, 0.5] if v < 0 else [v, 0.4, 0.6 - v] for v in b["x"].to_pylist()]


def test_of_classes_the_greatest_probability_and_its_class() -> None:
    answers, refused = infer(batch([0.5, -1.0, 0.0, 0.4]), thirds, classes=3)
    assert refused == [Refusal(1, Reason.UNSCORABLE)]
    assert answers.to_pylist() == [{"score": 0.5, "number": 0}, None, {"score": float(np.float32(0.6)), "number": 2}, {"score": float(np.float32(0.4)), "number": 0}]


@pytest.mark.parametrize("asked", [2, 4, 0])
def test_another_number_of_classes_is_a_failure(asked) -> None:
    assert [r.position for r in infer(batch([0.5, 0.1]), thirds, classes=asked)[1]] == [0, 1]


def test_no_rows_of_classes() -> None:
    answers, refused = infer(batch([]), thirds, classes=3)
    assert len(answers) == 0 and pa.types.is_struct(answers.type) and refused == []


CLASSES = Model("m", "1", "m.onnx", "0" * 64, (("x", "float"),), "p", 0, 0.45, "", (), (), 1e-4, ("low", "middle", "high"), ())


def test_label_is_the_class_and_null_where_the_score_is_not_over_the_threshold() -> None:
    answers, _ = infer(batch([0.5, 0.0, 0.3]), thirds, classes=3)
    stamped = stamp(batch([0.5, 0.0, 0.3]), answers, plain_contract(model=CLASSES))
    assert stamped["label"].type == pa.string() and stamped["label"].to_pylist() == ["low", "high", None]
    assert stamped["score"].type == pa.float32() and np.allclose(stamped["score"].to_pylist(), [0.5, 0.6, 0.4])
    column = next(c for c in stored_columns(plain_contract(model=CLASSES)) if c.name == "label")
    assert column.type == "string" and column.nullable and "one of 3" in column.doc


@pytest.mark.parametrize("model, kind", [(None, pa.bool_()), (CLASSES, pa.string())])
def test_label_without_an_answer(model, kind) -> None:
    stamped = stamp(batch([1.0]), pa.nulls(1, pa.float32()), plain_contract(model=model))
    assert stamped["label"].type == kind and stamped["label"].to_pylist() == stamped["score"].to_pylist() == [None]


@pytest.mark.parametrize("score, label", [(0.5, False), (np.nextafter(np.float32(0.5), np.float32(1)), True)])
def test_label_without_classes_is_over_the_threshold(score, label) -> None:
    assert stamp(batch([1.0]), pa.array([score], pa.float32()), plain_contract())["label"].to_pylist() == [label]


class Doubling(ModelHandler):
    """A handler as Beam's users write them: rows in, PredictionResults out."""

    def load_model(self):
        return 2

    def run_inference(self, batch, model, inference_args=None):
        return [PredictionResult(row, row["n"] * model) for row in batch]


def test_any_beam_handler() -> None:
    scorer = scorer_of(Doubling(), 2, None)
    assert list(scorer(pa.RecordBatch.from_pydict({"n": [1, 2]}))) == [2, 4]


def test_transform_keeps_rows_and_seals_the_original() -> None:
    raw = pa.StructArray.from_arrays([pa.array(["a", "b"]), pa.array([0, 0], pa.timestamp("us", "UTC")), pa.array(["in clear", "x"])], ["id", "at", "text"])
    rows = pa.RecordBatch.from_pydict({"id": ["a", "b"], "text": ["masked", "x"], "n": [float("nan"), 0.4], "origin": ["f:0", "f:1"],
                                       "d": [date(2026, 3, 4)] * 2, "_raw": raw})
    with beam.Pipeline("FnApiRunner") as pipeline:
        out = pipeline | beam.Create([rows], reshuffle=False) | Infer(plain_contract(), Doubling())
        stored = out.events | beam.FlatMap(lambda b: b.to_pylist()).with_output_types(dict)
        assert_that(stored, equal_to([{"id": "b", "text": "x", "n": 0.4, "origin": "f:1", "d": date(2026, 3, 4), "score": float(np.float32(0.8)), "label": True,
                                       "contract_version": "1", "policy_digest": plain_contract().policy_digest, "model_name": None, "model_version": None,
                                       "model_digest": None}]))
        refused = out.refused | "rows" >> beam.FlatMap(lambda b: b.to_pylist()).with_output_types(dict)
        assert_that(refused | beam.Map(lambda r: (r["stage"], r["reason"], r["origin"], r["row"])).with_output_types(tuple),
                    equal_to([("infer", "unscorable", "f:0", b'{"id":"a","at":"1970-01-01T00:00:00+00:00","text":"in clear"}')]), "refused")


class Thirds(ModelHandler):
    """A handler that answers a vector a row, one of them no number."""

    def load_model(self):
        return None

    def run_inference(self, batch, model, inference_args=None):
        return [PredictionResult(row, thirds(pa.RecordBatch.from_pylist([row]))[0]) for row in batch]


def test_transform_with_classes_keeps_the_rows_that_have_one() -> None:
    raw = pa.StructArray.from_arrays([pa.array(["a", "b"]), pa.array([0, 0], pa.timestamp("us", "UTC")), pa.array(["x", "y"])], ["id", "at", "text"])
    rows = pa.RecordBatch.from_pydict({"x": [-1.0, 0.5], "origin": ["f:0", "f:1"], "d": [date(2026, 3, 4)] * 2, "_raw": raw})
    with beam.Pipeline("FnApiRunner") as pipeline:
        out = pipeline | beam.Create([rows], reshuffle=False) | Infer(plain_contract(model=CLASSES), Thirds())
        assert_that(out.events | beam.FlatMap(lambda b: b.to_pylist()).with_output_types(dict) | beam.Map(lambda r: (r["origin"], r["score"], r["label"])).with_output_types(tuple),
                    equal_to([("f:1", 0.5, "low")]))
        refused = out.refused | "rows" >> beam.FlatMap(lambda b: b.to_pylist()).with_output_types(dict)
        assert_that(refused | beam.Map(lambda r: (r["origin"], r["reason"])).with_output_types(tuple), equal_to([("f:0", "unscorable")]), "refused")


def test_without_a_model_scores_are_null() -> None:
    rows = pa.RecordBatch.from_pydict({"id": ["a"], "origin": ["f:0"], "d": [date(2026, 3, 4)]})
    with beam.Pipeline("FnApiRunner") as pipeline:
        out = pipeline | beam.Create([rows], reshuffle=False) | Infer(plain_contract(), None)
        assert_that(out.events | beam.FlatMap(lambda b: b.to_pylist()).with_output_types(dict) | beam.Map(lambda r: (r["score"], r["label"])).with_output_types(tuple),
                    equal_to([(None, None)]))
