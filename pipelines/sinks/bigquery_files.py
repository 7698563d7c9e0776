"""Load for BigQuery, first half: workers write Parquet files into a staging folder; nothing reads them before the commit.

A file is named by its run and its bytes, so a bundle that is tried again writes the same file again. Staged rows are
de-identified, and failures are sealed.
"""

import hashlib
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.transforms.window import GlobalWindows
from apache_beam.typehints.decorators import no_annotations
from apache_beam.utils.windowed_value import WindowedValue
from google.cloud.storage.retry import DEFAULT_RETRY

from pipelines.sinks.lake_files import FAILURES_TABLE, Waiting, as_stored
from pipelines.sinks.replays import REPLAYS_TABLE
from pipelines.sources import gcs
from pipelines.sources.verdict import VERDICT
from schemas.arrow import arrow_schema
from schemas.tables import Column
from transforms.ledger import LedgerRow
from transforms.run_id import RunId, told

_GROUP_ROWS = 122_880
_TOLD = {FAILURES_TABLE: "reason", REPLAYS_TABLE: "outcome"}  # columns whose words are counted
_SECONDS = 60.0


class Staged(NamedTuple):
    """A file of this run: its table, path and day (ISO; "" of failures), and what BigQuery must answer of its rows: their
    number, the sums of id_hash and of content_hash (0 of failures), the number of values that are not null, and of
    failures the rows by reason (of `replays`, by outcome).
    """

    table: str
    path: str
    day: str
    rows: int
    ids: int
    contents: int
    cells: int
    reasons: tuple[tuple[str, int], ...] = ()


def parquet_schema(columns: tuple[Column, ...]) -> pa.Schema:
    """The Arrow schema with required columns as such: BigQuery refuses an optional Parquet column for a REQUIRED one."""
    return pa.schema([field.with_nullable(column.nullable) for column, field in zip(columns, arrow_schema(columns), strict=True)])


def as_parquet(batches: Sequence[pa.RecordBatch], columns: tuple[Column, ...]) -> bytes:
    """The batches, already conformed, as one Parquet file; of no batches, one without rows."""
    schema = parquet_schema(columns)
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        writer.write_table(pa.Table.from_batches([pa.RecordBatch.from_arrays(b.columns, schema=schema) for b in batches], schema), _GROUP_ROWS)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def stage(folder: str, run: str, table: str, day: str, batches: Sequence[pa.RecordBatch], columns: tuple[Column, ...], endpoint: str = "") -> Staged:
    """Writes one file, below FOLDER/RUN; endpoint: of Cloud Storage, as pipelines.sources.gcs.client takes it. Raises OSError."""
    content = as_parquet(batches, columns)
    place = "/".join(filter(None, (folder.rstrip("/"), run, table, day)))
    path = f"{place}/{hashlib.blake2b(content, digest_size=16).hexdigest()}.parquet"
    if path.startswith(gcs.SCHEME):
        try:
            gcs.put(gcs.client(endpoint), path, content)
        except OSError as error:
            VERDICT.tell(f"{error}; look at --staging: whether the bucket is there, and the account may write to it (roles/storage.objectUser)")
            raise
    else:
        Path(place).mkdir(parents=True, exist_ok=True)
        descriptor, part = tempfile.mkstemp(dir=place)
        with open(descriptor, "wb") as file:
            file.write(content)
        os.replace(part, path)
    cells = sum(b.num_rows - column.null_count for b in batches for column in b.columns)
    ids, contents = (sum(_sum(b, name) for b in batches) for name in ("id_hash", "content_hash"))
    told = _TOLD.get(table)
    reasons = Counter(word for b in batches for word in b[told].to_pylist()) if told else Counter()
    return Staged(table, path, day, sum(b.num_rows for b in batches), ids, contents, cells, tuple(sorted(reasons.items())))


def _sum(batch: pa.RecordBatch, name: str) -> int:
    """The sum of a column of 64-bit integers, which may pass 64 bits; 0 where there is no such column."""
    if name not in batch.schema.names:
        return 0
    values = batch[name].to_numpy(zero_copy_only=False)
    return (int((values >> 32).sum()) << 32) + int((values & 0xFFFFFFFF).sum())


def joined(files: Sequence[Staged], columns: tuple[Column, ...], into: Path) -> Path:
    """Local files as one, for an upload takes one file a job. A row group at a time."""
    with pq.ParquetWriter(into, parquet_schema(columns), compression="zstd") as writer:
        for written in files:
            with pq.ParquetFile(written.path) as file:
                for group in range(file.num_row_groups):
                    writer.write_table(file.read_row_group(group))
    return into


def loadable(files: Sequence[Staged], columns: tuple[Column, ...], into: Path) -> Path | bytes | list[str]:
    """What one load job reads: these files by their URIs, or one file to upload, made at `into` where they are several."""
    if not files:
        return as_parquet([], columns)
    if "://" in files[0].path:
        return [f.path for f in files]
    return Path(files[0].path) if len(files) == 1 else joined(files, columns, into)


def withdraw(folder: str, run: str, endpoint: str = "") -> None:
    """Removes what a run staged in gs://. What cannot be removed, de-identified rows and sealed ones, a lifecycle rule of the bucket takes."""
    bucket, _, name = folder.rstrip("/").removeprefix(gcs.SCHEME).partition("/")
    prefix = "/".join(filter(None, (name, run))) + "/"
    try:
        for blob in gcs.client(endpoint).list_blobs(bucket, prefix=prefix, timeout=_SECONDS):
            blob.delete(timeout=_SECONDS, retry=DEFAULT_RETRY)
    except gcs.UNREACHED:
        pass


class CommitAndWithdraw(beam.PTransform):
    """Commits a run by another transform, which answers its LedgerRow, and then removes what was staged for it."""

    def __init__(self, commit: beam.PTransform, folder: str, run: str, endpoint: str = "") -> None:
        super().__init__()
        self.commit, self.given = commit, (folder, run, endpoint)

    @no_annotations  # Beam cannot read those of several collections
    def expand(self, outcome: tuple[beam.PCollection[Any], ...]) -> beam.PCollection[LedgerRow]:
        return outcome | self.commit | "Withdraw" >> beam.Map(_withdrawn, *self.given).with_output_types(LedgerRow)


def _withdrawn(row: LedgerRow, folder: str, run: str, endpoint: str) -> LedgerRow:
    withdraw(folder, run, endpoint)
    return row


class StageRows(beam.PTransform):
    """Batches of `events` (a file holds one day) or of sealed failures to files; answers a Staged for each file."""

    def __init__(self, folder: str, run: RunId, table: str, columns: tuple[Column, ...], buffer_bytes: int = 32 << 20, endpoint: str = "") -> None:
        super().__init__()
        self.given = folder, run, table, columns, buffer_bytes, endpoint

    def expand(self, batches: beam.PCollection[pa.RecordBatch]) -> beam.PCollection[Staged]:
        return batches | "Stage" >> beam.ParDo(_StageFn(*self.given)).with_output_types(Staged)


class _StageFn(beam.DoFn):
    def __init__(self, folder: str, run: RunId, table: str, columns: tuple[Column, ...], buffer_bytes: int, endpoint: str) -> None:
        self.folder, self.run, self.table, self.columns, self.buffer_bytes, self.endpoint = folder, run, table, columns, buffer_bytes, endpoint

    def start_bundle(self) -> None:
        self.run_id, self.waiting = told(self.run), Waiting(self.table, self.buffer_bytes)
        self.files: list[Staged] = []

    def process(self, batch: pa.RecordBatch) -> None:
        for day, rows in self.waiting.add(as_stored(batch, self.table, self.run_id, self.columns)):
            self._write(day, rows)

    def _write(self, day: str, rows: list[pa.RecordBatch]) -> None:
        self.files.append(stage(self.folder, self.run_id, self.table, day, rows, self.columns, self.endpoint))

    def finish_bundle(self) -> Iterator[WindowedValue]:
        for day, rows in self.waiting.rest():
            self._write(day, rows)
        for file in self.files:
            yield GlobalWindows.windowed_value(file)
