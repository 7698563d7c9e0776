"""The model of a contract's windows: what scores rows of the windows table."""

from collections.abc import Callable

import pyarrow as pa

from schemas.windows import Windowing
from transforms.infer import infer, scorer_of
from transforms.onnx import OnnxHandler

Scores = Callable[[pa.RecordBatch], pa.Array]


def scorer(windowing: Windowing) -> Scores | None:
    """Answers a float32 for each window, null where the model gives no finite score; None where there is no model."""
    if windowing.model is None:
        return None
    handler = OnnxHandler(windowing.model)
    score = scorer_of(handler, handler.load_model(), windowing.model)
    return lambda rows: infer(rows, score)[0]
