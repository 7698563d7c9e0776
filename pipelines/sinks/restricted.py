"""A folder for values in clear: only its owner may enter it, and the result shows there whole or not at all."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from schemas.errors import Fault, Misconfigured

RESULT = "result.parquet"
_PART = f".{RESULT}.part"


class Part(NamedTuple):
    """The result as it was written, not yet visible."""

    path: str
    rows: int


def faults(destination: str, output: str) -> list[Fault]:
    """Why a folder cannot take the result; `output` is the lake that was asked."""
    folder, tables = Path(destination).resolve(), Path(output).resolve()
    where = "--destination"
    if folder == tables or tables in folder.parents:
        return [Fault(where, "lies inside the tables", "give a folder outside OUT, for those alone who may see the values")]
    try:
        if folder.exists() and not folder.is_dir():
            return [Fault(where, "is not a folder", "give one that is new or empty")]
        if folder.exists() and any(folder.iterdir()):
            return [Fault(where, "is not empty", "give a folder that is new or empty")]
    except OSError as error:
        return [Fault(where, f"cannot be read ({os.strerror(error.errno or 0)})", "give a folder of your own")]
    return []


def make(destination: str) -> None:
    """Makes the folder, mode 0700, or gives an empty one that mode. Raises Misconfigured."""
    folder = Path(destination)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError as error:
        raise Misconfigured([Fault("--destination", f"cannot be made ({os.strerror(error.errno or 0)})", "give a folder of your own")]) from None


def reveal(destination: str) -> None:
    """Gives the result its name; nothing where it has it already. Raises OSError."""
    folder = Path(destination)
    if (folder / _PART).exists() or not (folder / RESULT).exists():
        os.rename(folder / _PART, folder / RESULT)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def discard(destination: str) -> None:
    """Removes what was not revealed."""
    (Path(destination) / _PART).unlink(missing_ok=True)


class WriteResult(beam.PTransform):
    """All batches to one Parquet file (mode 0600) under a name that is not the result's; answers its Part.

    One bundle: a second one finds the file there and fails.
    """

    def __init__(self, destination: str) -> None:
        super().__init__()
        self.destination = destination

    def expand(self, batches: beam.PCollection[pa.RecordBatch]) -> beam.PCollection[Part]:
        return batches | "ToParquet" >> beam.ParDo(_WriteFn(self.destination)).with_output_types(Part)


class _WriteFn(beam.DoFn):
    def __init__(self, destination: str) -> None:
        self.path = str(Path(destination) / _PART)

    def start_bundle(self) -> None:
        self.rows = 0
        self.file: BinaryIO | None = None

    def process(self, batch: pa.RecordBatch) -> None:
        if self.file is None:
            self.file = open(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
            self.writer = pq.ParquetWriter(self.file, batch.schema, compression="zstd")
        self.writer.write_batch(batch)
        self.rows += batch.num_rows

    def finish_bundle(self) -> Iterator[WindowedValue]:
        if self.file is not None:
            self.writer.close()
            self.file.flush()
            os.fsync(self.file.fileno())
            self.file.close()
            yield GlobalWindows.windowed_value(Part(self.path, self.rows))
