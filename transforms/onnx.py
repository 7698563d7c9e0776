"""A Beam ModelHandler for ONNX models over named columns: one input tensor [rows, 1] a column.

A model without classes answers one number a row, one with classes a row of probabilities.

Loaded by SHA-256 and tried on the model's golden rows before the first row. ONNX Runtime executes no code from the file:
it refuses external data, and operators that it was not built with (those of ai.onnx, ai.onnx.ml and com.microsoft it was).
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnxruntime
import pyarrow as pa
from apache_beam.ml.inference.base import ModelHandler

from schemas.errors import Fault, Misconfigured
from schemas.model import MAX_BYTES, Model
from schemas.place import content

Row = dict[str, Any]
_NUMPY = {"float": np.float32, "string": np.object_}


def _errors() -> tuple[type[Exception], ...]:
    """ONNX Runtime's own exceptions; each class of them stands alone in its C module."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return tuple(c for c in vars(state).values() if isinstance(c, type) and issubclass(c, Exception))


_ERRORS: tuple[type[Exception], ...] = (*_errors(), ValueError, TypeError)


class OnnxHandler(ModelHandler[Row, Any, onnxruntime.InferenceSession]):
    """Scores rows with the model that a descriptor names. Takes rows as dicts, as Beam does, or a RecordBatch."""

    takes_columns = True
    row_errors = _ERRORS  # what a row that cannot be scored may raise

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def load_model(self) -> onnxruntime.InferenceSession:
        """Raises Misconfigured where the bytes, the inputs or the golden rows are not those of the descriptor."""
        where = str(self.model.file)
        try:
            found = content(self.model.file, MAX_BYTES)
        except OSError:
            raise Misconfigured([Fault(where, "cannot be read", "put the model where its descriptor says")]) from None
        if hashlib.sha256(found).hexdigest() != self.model.sha256:
            raise Misconfigured([Fault(where, "is not the model that its descriptor names (SHA-256 differs)",
                                       "restore the file, or make the descriptor anew")])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # Beam runs the threads
        options.log_severity_level = 4  # its messages may hold values
        try:
            session = onnxruntime.InferenceSession(found, options, providers=["CPUExecutionProvider"])
        except _ERRORS:
            raise Misconfigured([Fault(where, "cannot be loaded by ONNX Runtime", "export it again (opset 17 or lower, no external data)")]) from None
        if [i.name for i in session.get_inputs()] != [name for name, _ in self.model.inputs]:
            raise Misconfigured([Fault(where, "has other inputs than its descriptor says", "make the descriptor anew")])
        try:
            names = [name for name, _ in self.model.inputs]
            golden = [dict(zip(names, row)) for row in self.model.golden_rows]
            got = np.asarray(self.run_inference(golden, session), np.float64)
        except _ERRORS:
            got = np.zeros(0)
        if self.model.classes and got.shape[1:] != (len(self.model.classes),):
            raise Misconfigured([Fault(where, "answers another number of classes than its descriptor names", "make the descriptor anew")])
        if not self._golden(got):
            raise Misconfigured([Fault(where, "answers its golden rows differently", "restore the model, or train it again and look at why")])
        return session

    def run_inference(self, batch: Sequence[Row] | pa.RecordBatch, model: onnxruntime.InferenceSession,
                      inference_args: dict[str, Any] | None = None) -> Iterable[Any]:
        """One score a row, in order; with classes one row of probabilities, float32 [rows, classes]."""
        output = self.model.output
        scores: Any = model.run([output], self._feed(batch))[0]
        return scores[:, self.model.index] if scores.ndim == 2 and not self.model.classes else scores  # type: ignore[no-any-return]

    def _golden(self, got: "np.typing.NDArray[np.float64]") -> bool:
        """Whether these are the answers that the descriptor has for its golden rows."""
        model, best = self.model, got
        if model.classes:
            if [model.classes[i] for i in got.argmax(axis=1)] != list(model.golden_labels):
                return False
            best = got.max(axis=1)
        return best.shape == (len(model.golden_scores),) and np.allclose(best, model.golden_scores, rtol=0, atol=model.golden_atol)

    def get_num_bytes(self, batch: Sequence[Row]) -> int:
        return 200 * len(batch)  # Beam's default pickles every batch to weigh it

    def _feed(self, batch: Sequence[Row] | pa.RecordBatch) -> dict[str, Any]:
        feed: dict[str, Any] = {}
        for name, kind in self.model.inputs:
            if isinstance(batch, pa.RecordBatch):
                column = batch[name]
                if kind == "float":
                    values = column.cast(pa.float32()).to_numpy(zero_copy_only=False)
                else:
                    coded = column.fill_null(self.model.missing_string).dictionary_encode()
                    values = np.array(coded.dictionary.to_pylist(), object)[coded.indices.to_numpy()]
            else:
                missing: Any = np.nan if kind == "float" else self.model.missing_string
                values = np.array([missing if row[name] is None else row[name] for row in batch], _NUMPY[kind])
            feed[name] = values.astype(_NUMPY[kind], copy=False).reshape(-1, 1)
        return feed
