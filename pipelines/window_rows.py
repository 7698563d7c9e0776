"""Window rows as the table has them: scored by the contract's model of windows, with their lineage."""

from collections.abc import Callable, Iterator

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.arrow import arrow_schema, window_columns
from schemas.contract import Contract
from schemas.windows import Windowing
from transforms.batch import ID_HASH, WATERMARK
from transforms.infer import infer, scorer_of
from transforms.onnx import OnnxHandler

Scores = Callable[[pa.RecordBatch], pa.Array]


def measured(contract: Contract) -> tuple[str, ...]:
    """The columns of the stored events that windows are made of, in a fixed order."""
    assert contract.windows is not None
    fields = (m.field for m in contract.windows.measures if m.field)
    return tuple(dict.fromkeys([contract.time, ID_HASH, WATERMARK, *contract.windows.key, *fields]))


def scorer(windowing: Windowing) -> Scores | None:
    """Answers a float32 for each window, null where the model gives no finite score; None where there is no model."""
    if windowing.model is None:
        return None
    handler = OnnxHandler(windowing.model)
    score = scorer_of(handler, handler.load_model(), windowing.model)
    return lambda rows: infer(rows, score, handler.row_errors)[0]


def completed(rows: pa.RecordBatch, contract: Contract, scores: Scores | None, run: str | None) -> pa.RecordBatch:
    """Window rows (transforms.window.window_schema) with all the columns of the table, scored where there is a model."""
    schema = arrow_schema(window_columns(contract))
    model = contract.windows.model if contract.windows else None
    prediction = scores(rows) if scores and rows.num_rows else pa.nulls(rows.num_rows, pa.float32())
    over = pc.greater(prediction, pa.scalar(model.threshold if model else 1.0, pa.float32()))
    told = {"prediction": prediction, "label": over, "d": rows["window_start"].cast(pa.date32())}
    lineage = {"model_name": model and model.name, "model_version": model and model.version, "model_digest": model and model.sha256,
               "contract_version": contract.version, "run": run}
    told |= {name: pa.array([value], pa.string()).take(pa.array(np.zeros(rows.num_rows, np.int32))) for name, value in lineage.items()}
    return pa.RecordBatch.from_arrays([told[f.name] if f.name in told else rows[f.name] for f in schema], schema=schema)


class Complete(beam.PTransform):
    """Window rows (transforms.window.window_schema) to rows with all the table's columns."""

    def __init__(self, contract: Contract, run: str) -> None:
        super().__init__()
        self.contract, self.run = contract, run

    def expand(self, rows: beam.PCollection[pa.RecordBatch]) -> beam.PCollection[pa.RecordBatch]:
        return rows | "Score" >> beam.ParDo(_CompleteFn(self.contract, self.run)).with_output_types(pa.RecordBatch)


class _CompleteFn(beam.DoFn):
    def __init__(self, contract: Contract, run: str) -> None:
        self.contract, self.run = contract, run

    def setup(self) -> None:
        assert self.contract.windows is not None
        self.scores = scorer(self.contract.windows)

    def process(self, rows: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        yield completed(rows, self.contract, self.scores, self.run)
