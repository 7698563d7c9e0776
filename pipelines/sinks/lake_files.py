"""Load, first half: workers write Parquet files where the tables will look for them; nothing reads them before Commit.

A file is named by its run and by the rows in it (a digest of their origins), never by process or time: a bundle that is
tried again writes the same file again. It is written beside its place, synced and renamed, so a file is whole or absent.
"""

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from pipelines.sinks.lake_catalog import DATA
from schemas.arrow import arrow_schema
from schemas.tables import FAILURES, Column
from transforms.batch import DAY, ORIGIN, WATERMARK, with_column
from transforms.fates import STORED
from transforms.ledger import count
from transforms.run_id import RunId, told

EVENTS_TABLE, FAILURES_TABLE = "events", "failures"
_GROUP_ROWS = 122_880  # a row group of DuckDB's own size: what its threads share out among them
_SAMPLE = 1_000


class Written(NamedTuple):
    """A file of this run: its table, its path, its day (ISO; "" where the table has no partitions) and its rows."""

    table: str
    path: str
    day: str
    rows: int


def conform(batch: pa.RecordBatch, columns: tuple[Column, ...]) -> pa.RecordBatch:
    """The batch as the table has it: the columns by name, in order; any other is left out.

    Raises TypeError or ValueError, naming the column, where one is missing, of another type, or null though required.
    """
    schema = arrow_schema(columns)
    arrays = []
    for column, field in zip(columns, schema, strict=True):
        at = batch.schema.get_field_index(column.name)
        if at < 0:
            raise TypeError(f"a batch lacks the column {column.name}")
        array = batch.column(at)
        if pa.types.is_dictionary(array.type) and array.type.value_type == field.type:
            array = array.cast(field.type)
        if array.type != field.type:
            raise TypeError(f"the column {column.name} is {array.type} in a batch and {field.type} in the table")
        if array.null_count and not column.nullable:
            raise ValueError(f"the column {column.name} is required and holds nulls")
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def of_run(batch: pa.RecordBatch, run: str) -> pa.RecordBatch:
    """The batch with the columns run and watermark: both null in batch, where a row is a function of its input alone."""
    streamed = WATERMARK in batch.schema.names
    batch = with_column(batch, "run", pa.array([run if streamed else None], pa.string()).take(pa.array(np.zeros(batch.num_rows, np.int32))))
    return batch if streamed else with_column(batch, WATERMARK, pa.nulls(batch.num_rows, pa.timestamp("us", "UTC")))


def by_day(batch: pa.RecordBatch) -> Iterator[tuple[str, pa.RecordBatch]]:
    """(day, its rows in their order) for each day in the batch."""
    days = batch[DAY].cast(pa.int32()).to_numpy()
    if not len(days):
        return
    if (days == days[0]).all():
        yield batch[DAY][0].as_py().isoformat(), batch
        return
    order = np.argsort(days, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(days[order])) + 1):
        part = batch.take(pa.array(rows, pa.int64()))
        yield part[DAY][0].as_py().isoformat(), part


def as_stored(batch: pa.RecordBatch, table: str, run: str, columns: tuple[Column, ...]) -> pa.RecordBatch:
    """The batch as the table has it; events are of the run, and counted as stored. Raises as conform does."""
    if table != EVENTS_TABLE:
        return conform(batch, columns)
    rows = conform(of_run(batch, run), columns)
    count(STORED, rows.num_rows)
    return rows


class Waiting:
    """Rows of a table that wait for others of their day (events), or for others (""): some `most` bytes of them all."""

    def __init__(self, table: str, most: int) -> None:
        self._table, self._most = table, most
        self._rows: dict[str, list[pa.RecordBatch]] = {}
        self._bytes: dict[str, int] = {}

    def add(self, rows: pa.RecordBatch) -> Iterator[tuple[str, list[pa.RecordBatch]]]:
        """(day, its rows) of what must wait no longer: the largest days."""
        for day, part in by_day(rows) if self._table == EVENTS_TABLE else [("", rows)] if rows.num_rows else []:
            self._rows.setdefault(day, []).append(part)
            self._bytes[day] = self._bytes.get(day, 0) + part.nbytes
        while sum(self._bytes.values()) > self._most:
            largest = max(self._bytes, key=lambda day: (self._bytes[day], day))
            del self._bytes[largest]
            yield largest, self._rows.pop(largest)

    def rest(self) -> Iterator[tuple[str, list[pa.RecordBatch]]]:
        """All that waits; none of it waits any more."""
        self._bytes.clear()
        for day in sorted(self._rows):
            yield day, self._rows.pop(day)


def place(folder: str, run: str, table: str, day: str, batches: list[pa.RecordBatch]) -> Written:
    """Writes one file and answers where it is. Raises OSError."""
    key = hashlib.blake2b(digest_size=10)
    for batch in batches:
        named = batch.select([name for name in (ORIGIN, "stage", "reason") if name in batch.schema.names])
        ends = named.slice(0, 1).to_pylist() + named.slice(batch.num_rows - 1).to_pylist()
        key.update(repr((batch.num_rows, ends)).encode())
    path = Path(folder) / DATA / "main" / table / (f"d={day}" if day else "") / f"{run}-{key.hexdigest()}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = pa.Table.from_batches(batches)
    part = path.with_suffix(".part")
    with open(part, "wb") as file:
        pq.write_table(rows, file, compression="zstd", row_group_size=_GROUP_ROWS,
                       use_dictionary=_repetitive(rows))  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    _sync(path.parent)
    return Written(table, str(path), day, rows.num_rows)


def _repetitive(rows: pa.Table) -> list[str]:
    """The text columns with few distinct values: a dictionary of the others costs time and saves nothing."""
    sample = rows.slice(0, _SAMPLE)
    return [field.name for field in rows.schema
            if pa.types.is_string(field.type) and pc.count_distinct(sample[field.name]).as_py() * 10 <= sample.num_rows]


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class WriteEvents(beam.PTransform):
    """Batches with the columns of `events` to files of one day each; answers a Written for each file.

    Rows wait for others of their day until buffer_bytes are waiting, or the bundle ends: a file costs about 8 ms of its
    own in writing, adding and merging. One thread writes while the next batches come in.
    """

    def __init__(self, folder: str, run: RunId, columns: tuple[Column, ...], buffer_bytes: int = 32 << 20) -> None:
        super().__init__()
        self.folder, self.run, self.columns, self.buffer_bytes = folder, run, columns, buffer_bytes

    def expand(self, batches: beam.PCollection[pa.RecordBatch]) -> beam.PCollection[Written]:
        return batches | "Write" >> beam.ParDo(
            _WriteFn(self.folder, self.run, EVENTS_TABLE, self.columns, self.buffer_bytes)).with_output_types(Written)


class WriteFailures(beam.PTransform):
    """Sealed batches (schemas.tables.FAILURES) to files; answers a Written for each file."""

    def __init__(self, folder: str, run: RunId, buffer_bytes: int = 32 << 20) -> None:
        super().__init__()
        self.folder, self.run, self.buffer_bytes = folder, run, buffer_bytes

    def expand(self, batches: beam.PCollection[pa.RecordBatch]) -> beam.PCollection[Written]:
        return batches | "Write" >> beam.ParDo(
            _WriteFn(self.folder, self.run, FAILURES_TABLE, FAILURES, self.buffer_bytes)).with_output_types(Written)


class _WriteFn(beam.DoFn):
    def __init__(self, folder: str, run: RunId, table: str, columns: tuple[Column, ...], buffer_bytes: int) -> None:
        self.folder, self.run, self.table, self.columns, self.buffer_bytes = folder, run, table, columns, buffer_bytes

    def setup(self) -> None:
        self.writer = ThreadPoolExecutor(1)

    def start_bundle(self) -> None:
        self.run_id, self.waiting = told(self.run), Waiting(self.table, self.buffer_bytes)
        self.files: list[Future[Written]] = []

    def process(self, batch: pa.RecordBatch) -> None:
        for day, rows in self.waiting.add(as_stored(batch, self.table, self.run_id, self.columns)):
            self._write(day, rows)

    def _write(self, day: str, rows: list[pa.RecordBatch]) -> None:
        if self.files:
            self.files[-1].result()  # one file at a time waits for the disk, so memory stays bounded
        self.files.append(self.writer.submit(place, self.folder, self.run_id, self.table, day, rows))

    def finish_bundle(self) -> Iterator[WindowedValue]:
        for file in self.files:
            yield GlobalWindows.windowed_value(file.result())
        for day, rows in self.waiting.rest():  # no other batches come in meanwhile: a thread would be made for nothing
            yield GlobalWindows.windowed_value(place(self.folder, self.run_id, self.table, day, rows))

    def teardown(self) -> None:
        self.writer.shutdown()
