"""Infer: a ParDo that hosts a Beam ModelHandler and keeps every row.

Beam's RunInference moves event times, refuses whole batches for one bad row, and loses rows where a model answers fewer
than it was asked. Here a batch keeps its rows, times and window; a batch that fails is halved down to the rows at fault;
an answer of the wrong length counts as a failure; a score that is not finite is refused.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.ml.inference.base import ModelHandler, PredictionResult
from apache_beam.pvalue import TaggedOutput
from apache_beam.typehints.decorators import no_annotations
from apache_beam.utils.shared import Shared

from schemas.contract import Contract
from schemas.errors import Reason, Stage
from schemas.model import Model
from transforms.batch import DAY, ORIGIN, RAW, Refusal, keep, refused_rows, with_column
from transforms.fates import REFUSED
from transforms.ledger import count
from transforms.rows import as_json

Scorer = Callable[[pa.RecordBatch], Sequence[float]]
ROWS = 4096  # rows a call: the tensors stay in cache
ROW_ERRORS: tuple[type[Exception], ...] = (ValueError, TypeError, ArithmeticError, LookupError, RuntimeError)


def infer(batch: pa.RecordBatch, scorer: Scorer, errors: tuple[type[Exception], ...] = ROW_ERRORS) -> tuple[pa.Array, list[Refusal]]:
    """A float32 score for each row (null where refused) and the rows that have none (unscorable).

    errors: what the scorer may raise for a row that it cannot score; anything else propagates.
    """
    pieces = [_scores(batch.slice(first, ROWS), scorer, errors) for first in range(0, batch.num_rows, ROWS)]
    scores = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
    finite = np.isfinite(scores)
    return (pa.array(scores, pa.float32(), mask=~finite), [Refusal(int(i), Reason.UNSCORABLE) for i in np.flatnonzero(~finite)])


def _scores(batch: pa.RecordBatch, scorer: Scorer, errors: tuple[type[Exception], ...]) -> "np.typing.NDArray[np.float32]":
    """Scores, NaN for each row at fault."""
    try:
        scores = np.asarray(scorer(batch), np.float32)
        if scores.shape == (batch.num_rows,):
            return scores
    except errors:
        pass
    if batch.num_rows == 1:
        return np.full(1, np.nan, np.float32)
    half = batch.num_rows // 2
    return np.concatenate([_scores(batch.slice(0, half), scorer, errors), _scores(batch.slice(half), scorer, errors)])


class Infer(beam.PTransform):
    """Batches to batches with score, label and lineage (contract, policy, model); output `refused` carries REFUSED batches.

    handler: any Beam ModelHandler whose predictions are numbers or PredictionResults that hold one; None: the rows pass
    with null scores. Drops the column RAW, from which a refused row is sealed as it was read.
    """

    def __init__(self, contract: Contract, handler: "ModelHandler[Any, Any, Any] | None") -> None:
        super().__init__()
        self.contract, self.handler = contract, handler

    @no_annotations  # Beam reads types off the DoFn; a transform with several outputs has none
    def expand(self, batches: beam.PCollection[pa.RecordBatch]) -> beam.pvalue.DoOutputsTuple:
        return batches | "Score" >> beam.ParDo(_InferFn(self.contract, self.handler)).with_outputs("refused", main="events")


class _Loaded:
    """A model that the threads of a process share; Shared needs something that can be referred to weakly."""

    def __init__(self, model: Any) -> None:
        self.model = model


class _InferFn(beam.DoFn):
    def __init__(self, contract: Contract, handler: "ModelHandler[Any, Any, Any] | None") -> None:
        self.contract, self.handler = contract, handler
        self.names = [f.name for f in contract.fields]
        self.shared = Shared()

    def setup(self) -> None:
        if self.handler is not None:
            self.loaded = self.shared.acquire(self._load)
            self.scorer = scorer_of(self.handler, self.loaded.model, self.contract.model)

    def _load(self) -> "_Loaded":
        assert self.handler is not None
        return _Loaded(self.handler.load_model())

    def process(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch | TaggedOutput[Literal["refused"], pa.RecordBatch]]:
        if self.handler is None:
            yield stamp(batch, pa.nulls(batch.num_rows, pa.float32()), self.contract)
            return
        scores, refused = infer(batch, self.scorer, getattr(self.handler, "row_errors", ROW_ERRORS))
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
    """The function from a batch to numbers that this handler is, with its loaded model."""
    if getattr(handler, "takes_columns", False):
        return lambda batch: handler.run_inference(batch, loaded)  # type: ignore[return-value]
    names = [name for name, _ in model.inputs] if model else None

    def score(batch: pa.RecordBatch) -> list[float]:
        rows = (batch.select(names) if names else batch).to_pylist()
        return [p.inference if isinstance(p, PredictionResult) else p for p in handler.run_inference(rows, loaded)]

    return score


def stamp(batch: pa.RecordBatch, scores: pa.Array, contract: Contract) -> pa.RecordBatch:
    """The batch without RAW, with score and label and what they come from: contract, policy, model."""
    if RAW in batch.schema.names:
        batch = batch.drop_columns([RAW])
    model = contract.model
    over = scores.to_numpy(zero_copy_only=False) > (model.threshold if model else 0.5)
    batch = with_column(batch, "score", scores)
    batch = with_column(batch, "label", pa.array(over, pa.bool_(), mask=scores.is_null().to_numpy(zero_copy_only=False)))
    lineage = {"contract_version": contract.version, "policy_digest": contract.policy_digest, "model_name": model.name if model else None,
               "model_version": model.version if model else None, "model_digest": model.sha256 if model else None}
    for name, value in lineage.items():
        batch = with_column(batch, name, pa.array([value], pa.string()).take(pa.array(np.zeros(batch.num_rows, np.int32))))
    return batch
