"""Window, first half: rows to partials of their windows. Rows that no window takes any more are late: counted and kept.

Beam drops such rows in a grouping without a word, so they are taken out before one. A late row is stored all the same; it
goes to the failures as well (stage window, reason late), sealed as it is stored.
"""

from collections.abc import Iterator
from typing import Literal

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput
from apache_beam.typehints.decorators import no_annotations

from schemas.contract import Contract
from schemas.errors import Reason, Stage
from transforms.batch import DAY, ORIGIN, refused_rows
from transforms.fates import LATE
from transforms.ledger import count
from transforms.partials import partials
from transforms.rows import as_json


def late_rows(batch: pa.RecordBatch, late: npt.NDArray[np.bool_], contract: Contract) -> pa.RecordBatch:
    """The late ones of a batch as stored, as REFUSED rows; counts them."""
    positions = np.flatnonzero(late).tolist()
    count(LATE, len(positions))
    rows = zip(positions, as_json(batch, [f.name for f in contract.fields], positions))
    return refused_rows(Stage.WINDOW, [(Reason.LATE, contract.time, batch[ORIGIN][i].as_py(), batch[DAY][i].as_py(), row) for i, row in rows])


class Partials(beam.PTransform):
    """Batches as stored to partials (transforms.partials) as output `windows`; output `refused` carries late rows."""

    def __init__(self, contract: Contract) -> None:
        super().__init__()
        if contract.windows is None:
            raise ValueError("a contract without windows")
        self.contract = contract

    @no_annotations  # Beam reads types off the DoFn; a transform with several outputs has none
    def expand(self, stored: beam.PCollection[pa.RecordBatch]) -> beam.pvalue.DoOutputsTuple:
        return stored | "Measure" >> beam.ParDo(_PartialsFn(self.contract)).with_outputs("refused", main="windows")


class _PartialsFn(beam.DoFn):
    def __init__(self, contract: Contract) -> None:
        self.contract = contract

    def process(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch | TaggedOutput[Literal["refused"], pa.RecordBatch]]:
        assert self.contract.windows is not None
        parts, late = partials(batch, self.contract.windows, self.contract.time)
        if late.any():
            yield TaggedOutput("refused", late_rows(batch, late, self.contract))
        if parts.num_rows:
            yield parts
