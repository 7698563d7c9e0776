"""The currency between stages: a `pyarrow.RecordBatch`, its reserved columns, its coder, and what a stage refuses.

A batch of events has the contract's fields in the contract's order, then the reserved columns below. A batch of refused
rows has the schema REFUSED.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

import pyarrow as pa
from apache_beam.coders import Coder, registry

from schemas.errors import Reason, Stage

ORIGIN = "origin"  # string: file path and byte offset (or row number), or subscription and message id
DAY = "d"  # date32: day of the event time in UTC, the partition
ID_HASH = "id_hash"  # int64: keyed digest of the id
CONTENT_HASH = "content_hash"  # int64: keyed digest of all the contract's fields
WATERMARK = "watermark"  # timestamp: as it stood when the row's run began; in streams only
RAW = "_raw"  # struct of the row as it was read; between Deidentify and Infer only, never written

LINEAGE = [pa.field(ORIGIN, pa.string()), pa.field(DAY, pa.date32()), pa.field(ID_HASH, pa.int64()),
           pa.field(CONTENT_HASH, pa.int64())]

REFUSED = pa.schema([
    pa.field("stage", pa.string(), nullable=False),
    pa.field("reason", pa.string(), nullable=False),
    pa.field("field", pa.string()),
    pa.field("origin", pa.string(), nullable=False),
    pa.field("attempt", pa.int32(), nullable=False),
    pa.field("d", pa.date32()),
    pa.field("row", pa.binary()),  # in clear: goes to Seal and nowhere else
])


@dataclass(frozen=True)
class Refusal:
    """One row that a stage refuses. `position` is the row's index in the batch that the stage was given."""

    position: int
    reason: Reason
    field: str | None = None


def refused_rows(stage: Stage, rows: Iterable[tuple[Reason, str | None, str, date | None, bytes | None]],
                 attempt: int = 1) -> pa.RecordBatch:
    """Builds a REFUSED batch from (reason, field, origin, day, row as read) tuples."""
    listed = list(rows)
    columns: list[Sequence[object]] = list(zip(*listed)) if listed else [()] * 5
    return pa.RecordBatch.from_arrays(
        [pa.array([str(stage)] * len(listed), pa.string()), pa.array([str(r) for r in columns[0]], pa.string()),
         pa.array(columns[1], pa.string()), pa.array(columns[2], pa.string()),
         pa.array([attempt] * len(listed), pa.int32()), pa.array(columns[3], pa.date32()),
         pa.array(columns[4], pa.binary())], schema=REFUSED)


def keep(batch: pa.RecordBatch, refused: Sequence[int]) -> pa.RecordBatch:
    """The batch without the rows at these positions."""
    if not refused:
        return batch
    mask = [True] * batch.num_rows
    for position in refused:
        mask[position] = False
    return batch.filter(pa.array(mask))


def with_column(batch: pa.RecordBatch, name: str, column: pa.Array) -> pa.RecordBatch:
    """The batch with the column of this name replaced, or appended."""
    at = batch.schema.get_field_index(name)
    if at < 0:
        return batch.append_column(name, column)
    return batch.set_column(at, pa.field(name, column.type), column)


class ArrowCoder(Coder):
    """Arrow IPC. Beam's default would pickle a slice together with all of its parent's buffers."""

    def encode(self, value: pa.RecordBatch) -> bytes:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, value.schema) as writer:
            writer.write_batch(value)
        encoded: bytes = sink.getvalue().to_pybytes()
        return encoded

    def decode(self, encoded: bytes) -> pa.RecordBatch:
        with pa.ipc.open_stream(encoded) as reader:
            for batch in reader:
                return batch
        raise ValueError("an Arrow stream without a batch")

    def estimate_size(self, value: pa.RecordBatch) -> int:
        return int(value.nbytes)

    def is_deterministic(self) -> bool:
        return False

    def to_type_hint(self) -> type:
        batch: type = pa.RecordBatch
        return batch


registry.register_coder(pa.RecordBatch, ArrowCoder)
