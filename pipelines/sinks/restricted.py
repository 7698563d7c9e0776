"""Where values in clear go: what all destinations promise, and the one that is a folder.

A folder: only its owner may enter it, and the result shows there whole or not at all.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from schemas.errors import Fault, Misconfigured

RESULT = "result.parquet"
_PART = f".{RESULT}.part"


class Part(NamedTuple):
    """A part of the result as it was written, not yet visible. name: of its file, or of its write stream."""

    name: str
    rows: int


class Destination(Protocol):
    """Frozen, picklable: workers call it. schema: of the result."""

    @property
    def name(self) -> str:
        """As the audit row has it."""
        ...

    def faults(self, output: str, schema: pa.Schema | None) -> list[Fault]:
        """Why it cannot take the result; output: the tables that are asked; schema: None where it is not known."""
        ...

    def prepare(self, schema: pa.Schema) -> None:
        """Makes it, or takes it for this run. Raises Misconfigured."""
        ...

    def writer(self, schema: pa.Schema) -> beam.PTransform:
        """Batches, which stay hidden, to Parts."""
        ...

    def check(self) -> None:
        """Just before the audit row: raises where the result could not be shown here."""
        ...

    def show(self, parts: Sequence[Part]) -> None:
        """Makes the result visible, whole; nothing where it is already."""
        ...

    def discard(self) -> None:
        """Removes what was not shown, as far as it can be removed."""
        ...

    def told(self) -> str:
        """Where the result is, for a person."""
        ...

    def left(self) -> str:
        """What a run left here that failed after its audit row, for a person."""
        ...


@dataclass(frozen=True)
class RestrictedFolder:
    """A folder on this machine."""

    folder: str

    @property
    def name(self) -> str:
        return str(Path(self.folder).resolve())

    def faults(self, output: str, schema: pa.Schema | None) -> list[Fault]:
        folder, where = Path(self.folder).resolve(), "--destination"
        if not output.startswith("bq://"):
            tables = Path(output).resolve()
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

    def prepare(self, schema: pa.Schema) -> None:
        """Makes the folder, mode 0700, or gives an empty one that mode."""
        folder = Path(self.folder)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)
        except OSError as error:
            raise Misconfigured([Fault("--destination", f"cannot be made ({os.strerror(error.errno or 0)})", "give a folder of your own")]) from None

    def writer(self, schema: pa.Schema) -> beam.PTransform:
        return WriteResult(self.name)

    def check(self) -> None:
        """Nothing: it was empty, and is this user's."""

    def show(self, parts: Sequence[Part]) -> None:
        """Gives the result its name; nothing where it has it already. Raises OSError."""
        folder = Path(self.folder)
        if (folder / _PART).exists() or not (folder / RESULT).exists():
            os.rename(folder / _PART, folder / RESULT)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def discard(self) -> None:
        (Path(self.folder) / _PART).unlink(missing_ok=True)

    def told(self) -> str:
        return str(Path(self.folder) / RESULT)

    def left(self) -> str:
        return f"nothing is in {self.folder}"


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
