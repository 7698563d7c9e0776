"""Infer: a ParDo that hosts a Beam ModelHandler and keeps every row.

Beam's RunInference moves event times, refuses whole batches for one bad row, and loses rows where a model answers fewer
than it was asked. Here a batch keeps its rows, times and window; a batch that fails is halved down to the rows at fault;
an answer of the wrong length counts as a failure; a score that is not finite is refused.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.ml.inference.base import ModelHandler, PredictionResult
from apache_beam.pvalue import TaggedOutput
from apache_beam.typehints.decorators import no_annotations

from schemas.contract import Contract
from schemas.errors import Reason, Stage
from schemas.model import Model
from transforms.batch import DAY, ORIGIN, RAW, Refusal, keep, refused_rows, with_column
from transforms.fates import REFUSED
from transforms.ledger import count
from transforms.resident import Resident
from transforms.rows import as_json

Scorer = Callable[[pa.RecordBatch], Sequence[Any]]
Numbers = npt.NDArray[np.float32]
ROWS = 4096  # rows a call: the tensors stay in cache
ROW_ERRORS: tuple[type[Exception], ...] = (ValueError, TypeError, ArithmeticError, LookupError, RuntimeError)


def infer(batch: pa.RecordBatch, scorer: Scorer, errors: tuple[type[Exception], ...] = ROW_ERRORS,
          classes: int = 0) -> tuple[pa.Array, list[Refusal]]:
    """What the model answers for each row (null where refused), and the rows that have no answer (unscorable).

    An answer is a float32 score; of a scorer that gives `classes` probabilities a row it is a struct: score, the greatest
    of them, and number, the class that it is of (the first one, of equals). errors: what the scorer may raise for a row
    that it cannot score; anything else propagates.
    """
    shape = (classes,) if classes else ()
    pieces = [_scores(batch.slice(first, ROWS), scorer, errors, shape) for first in range(0, batch.num_rows, ROWS)]
    scores = np.concatenate(pieces) if pieces else np.zeros((0, *shape), np.float32)
    finite = np.isfinite(scores).all(axis=1) if classes else np.isfinite(scores)
    refused = [Refusal(int(i), Reason.UNSCORABLE) for i in np.flatnonzero(~finite)]
    if not classes:
        return pa.array(scores, pa.float32(), mask=~finite), refused
    best = [pa.array(scores.max(axis=1), pa.float32()), pa.array(scores.argmax(axis=1), pa.int32())]
    return pa.StructArray.from_arrays(best, ["score", "number"], mask=pa.array(~finite)), refused


def _scores(batch: pa.RecordBatch, scorer: Scorer, errors: tuple[type[Exception], ...], shape: tuple[int, ...]) -> Numbers:
    """Scores, NaN for each row at fault; shape: of what the model answers for a row."""
    try:
        scores = np.asarray(scorer(batch), np.float32)
        if scores.shape == (batch.num_rows, *shape):
            return scores
    except errors:
        pass
    if batch.num_rows == 1:
        return np.full((1, *shape), np.nan, np.float32)
    half = batch.num_rows // 2
    return np.concatenate([_scores(batch.slice(0, half), scorer, errors, shape), _scores(batch.slice(half), scorer, errors, shape)])


class Infer(beam.PTransform):
    """Batches to batches with score, label and lineage (contract, policy, model); output `refused` carries REFUSED batches.

    handler: any Beam ModelHandler whose predictions are numbers (for a model with classes, rows of numbers) or
    PredictionResults that hold them; None: the rows pass with null scores. Drops the column RAW, from which a refused row is sealed as it was read.
    """

    def __init__(self, contract: Contract, handler: "ModelHandler[Any, Any, Any] | None") -> None:
        super().__init__()
        self.contract, self.handler = contract, handler

    @no_annotations  # Beam reads types off the DoFn; a transform with several outputs has none
    def expand(self, batches: beam.PCollection[pa.RecordBatch]) -> beam.pvalue.DoOutputsTuple:
        return batches | "Score" >> beam.ParDo(_InferFn(self.contract, self.handler)).with_outputs("refused", main="events")


class _InferFn(beam.DoFn):
    def __init__(self, contract: Contract, handler: "ModelHandler[Any, Any, Any] | None") -> None:
        self.contract, self.handler = contract, handler
        self.classes = len(contract.model.classes) if contract.model else 0
        self.names = [f.name for f in contract.fields]
        self.resident = Resident()

    def setup(self) -> None:
        if self.handler is not None:
            self.scorer = scorer_of(self.handler, self.resident.acquire(self.handler.load_model), self.contract.model)

    def process(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch | TaggedOutput[Literal["refused"], pa.RecordBatch]]:
        if self.handler is None:
            yield stamp(batch, pa.nulls(batch.num_rows, pa.float32()), self.contract)
            return
        scores, refused = infer(batch, self.scorer, getattr(self.handler, "row_errors", ROW_ERRORS), self.classes)
        if refused:
            count(REFUSED, len(refused))
            yield TaggedOutput("refused", self._refused(batch, refused))
            at = [r.position for r in refused]
            batch, scores = keep(batch, at), scores.drop_null()
        if batch.num_rows:
            yield stamp(batch, scores, self.contract)

    def _refused(self, batch: pa.RecordBatch, refused: list[Refusal]) -> pa.RecordBatch:
        raw = pa.RecordBatch.from_struct_array(batch[RAW])
        rows = as_json(raw, self.names, [r.position for r in refused])
        return refused_rows(Stage.INFER, [(r.reason, r.field, batch[ORIGIN][r.position].as_py(), batch[DAY][r.position].as_py(), row)
                                          for r, row in zip(refused, rows)])


def scorer_of(handler: "ModelHandler[Any, Any, Any]", loaded: Any, model: Model | None) -> Scorer:
    """The function from a batch to answers, one a row, that this handler is with its loaded model."""
    if getattr(handler, "takes_columns", False):
        return lambda batch: handler.run_inference(batch, loaded)  # type: ignore[return-value]
    names = [name for name, _ in model.inputs] if model else None

    def score(batch: pa.RecordBatch) -> list[Any]:
        rows = (batch.select(names) if names else batch).to_pylist()
        return [p.inference if isinstance(p, PredictionResult) else p for p in handler.run_inference(rows, loaded)]

    return score


def stamp(batch: pa.RecordBatch, scores: pa.Array, contract: Contract) -> pa.RecordBatch:
    """The batch without RAW, with score and label and what they come from: contract, policy, model.

    scores: as infer answers them. label: whether the score is over the model's threshold; of a model with classes the
    class, null where the score is not over it.
    """
    if RAW in batch.schema.names:
        batch = batch.drop_columns([RAW])
    model = contract.model
    threshold = model.threshold if model else 0.5
    if model and model.classes:
        score, number = scores.flatten() if pa.types.is_struct(scores.type) else (scores, pa.nulls(len(scores), pa.int32()))
        label = pa.array(model.classes, pa.string()).take(pc.if_else(pc.greater(score, threshold), number, None))
    else:
        score, label = scores, pc.greater(scores, threshold)
    batch = with_column(with_column(batch, "score", score), "label", label)
    lineage = {"contract_version": contract.version, "policy_digest": contract.policy_digest, "model_name": model.name if model else None,
               "model_version": model.version if model else None, "model_digest": model.sha256 if model else None}
    for name, value in lineage.items():
        batch = with_column(batch, name, pa.array([value], pa.string()).take(pa.array(np.zeros(batch.num_rows, np.int32))))
    return batch
