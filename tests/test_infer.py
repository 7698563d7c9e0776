"""A model that fails, answers short or answers nonsense loses no row but the one at fault."""

from datetime import date

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.ml.inference.base import ModelHandler, PredictionResult
from apache_beam.testing.util import assert_that, equal_to

from schemas.errors import Reason
from tests.contracts import plain_contract
from transforms.batch import Refusal
from transforms.infer import Infer, infer, scorer_of


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


def test_without_a_model_scores_are_null() -> None:
    rows = pa.RecordBatch.from_pydict({"id": ["a"], "origin": ["f:0"], "d": [date(2026, 3, 4)]})
    with beam.Pipeline("FnApiRunner") as pipeline:
        out = pipeline | beam.Create([rows], reshuffle=False) | Infer(plain_contract(), None)
        assert_that(out.events | beam.FlatMap(lambda b: b.to_pylist()).with_output_types(dict) | beam.Map(lambda r: (r["score"], r["label"])).with_output_types(tuple),
                    equal_to([(None, None)]))
