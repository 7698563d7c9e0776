"""Which failure a row was, on Dataflow: no process is shared there, so each row carries it through the graph.

A row's origin in the graph is a JSON list of what names its failure. It leaves the graph under its true origin, and what came
of it goes beside it into a file with the columns of `replays`: the marks that the commit loads.
"""

import json
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput
from apache_beam.typehints.decorators import no_annotations

from pipelines.sinks.bigquery_files import Staged, StageRows
from pipelines.sinks.replays import REPLAYS_TABLE, Failure, marks
from schemas.tables import REPLAYS
from transforms.batch import ORIGIN, WATERMARK, with_column
from transforms.deduplicate import Deduplicate
from transforms.fates import REFUSED, REPEATED, STORED
from transforms.ledger import Tally


def packed(failure: Failure) -> str:
    """What names a failure, as the id of its Message."""
    return json.dumps(failure[:5])


def unpacked(rows: pa.RecordBatch) -> list[Failure]:
    """The failures that rows with the column ORIGIN were."""
    return [Failure(*json.loads(origin[1:])) for origin in rows[ORIGIN].to_pylist()]  # Decode writes PATH:ID, and the path is empty


def marked(failures: list[Failure], run: str, outcome: str) -> Iterator[pa.RecordBatch]:
    """Rows of `replays`, in one batch; none of no failures."""
    yield from marks(failures, run, [outcome] * len(failures)).combine_chunks().to_batches()


class StageMarks(beam.PTransform):
    """Batches of `replays` to files; answers a Staged for each."""

    def __init__(self, folder: str, run: str, endpoint: str) -> None:
        super().__init__()
        self.folder, self.run, self.endpoint = folder, run, endpoint

    def expand(self, rows: beam.PCollection[pa.RecordBatch]) -> beam.PCollection[Staged]:
        return rows | "Rows" >> StageRows(self.folder, self.run, REPLAYS_TABLE, REPLAYS, endpoint=self.endpoint)


class StoreMarked(beam.PTransform):
    """Batches of events to a sink, under their true origins; with their marks."""

    def __init__(self, sink: beam.PTransform, stage: StageMarks) -> None:
        super().__init__()
        self.sink, self.stage = sink, stage

    @no_annotations  # Beam reads types off the DoFn; a transform with several outputs has none
    def expand(self, events: beam.PCollection[pa.RecordBatch]) -> beam.PCollection[Staged]:
        named = events | "Name" >> beam.ParDo(_NameFn(self.stage.run, STORED, stored)).with_outputs("marks", main="rows")
        return (named.rows | "Store" >> self.sink, named.marks | "Mark" >> self.stage) | "Both" >> beam.Flatten()


def stored(events: pa.RecordBatch, were: list[Failure]) -> pa.RecordBatch:
    """Events under their true origins. Rows with a watermark, even none, belong to their run (pipelines.sinks.lake_files.of_run)."""
    return with_column(_renamed(events, were), WATERMARK, pa.nulls(events.num_rows, pa.timestamp("us", "UTC")))


class Refused(NamedTuple):
    """REFUSED batches under their true origins, and their marks."""

    refused: beam.PCollection[pa.RecordBatch]
    tally: beam.PCollection[Staged]


class RefuseMarked(beam.PTransform):
    """REFUSED batches under their true origins, with attempts one higher; with their marks."""

    def __init__(self, stage: StageMarks) -> None:
        super().__init__()
        self.stage = stage

    @no_annotations  # Beam reads types off the DoFn; a transform with several outputs has none
    def expand(self, refused: beam.PCollection[pa.RecordBatch]) -> Refused:
        named = refused | "Name" >> beam.ParDo(_NameFn(self.stage.run, REFUSED, tried)).with_outputs("marks", main="rows")
        return Refused(named.rows, named.marks | "Mark" >> self.stage)


def tried(refused: pa.RecordBatch, were: list[Failure]) -> pa.RecordBatch:
    """REFUSED rows under their true origins, with attempts one higher."""
    return with_column(_renamed(refused, were), "attempt", pa.array([f.attempt + 1 for f in were], pa.int32()))


class Sifted(NamedTuple):
    """What Deduplicate gives; the tally holds the marks of what repeats too."""

    events: beam.PCollection[pa.RecordBatch]
    refused: beam.PCollection[pa.RecordBatch]
    tally: beam.PCollection[Staged | Tally]


class DeduplicateMarked(beam.PTransform):
    """Deduplicate, with the marks of what repeats; it is to be given as one that tells repeats."""

    def __init__(self, deduplicate: Deduplicate, stage: StageMarks) -> None:
        super().__init__()
        self.deduplicate, self.stage = deduplicate, stage

    @no_annotations  # Beam reads types off the DoFn; a transform with several outputs has none
    def expand(self, blocks: beam.PCollection[tuple[str, pa.RecordBatch]]) -> Sifted:
        sifted = blocks | "Sift" >> self.deduplicate
        repeats = sifted.repeats | "Repeats" >> beam.FlatMap(_repeated, self.stage.run).with_output_types(pa.RecordBatch)
        return Sifted(sifted.events, sifted.refused, (sifted.tally, repeats | "Mark" >> self.stage) | "Told" >> beam.Flatten())


def _repeated(rows: pa.RecordBatch, run: str) -> Iterator[pa.RecordBatch]:
    return marked(unpacked(rows), run, REPEATED)


class _NameFn(beam.DoFn):
    def __init__(self, run: str, outcome: str, name: Callable[[pa.RecordBatch, list[Failure]], pa.RecordBatch]) -> None:
        self.run, self.outcome, self.name = run, outcome, name

    def process(self, rows: pa.RecordBatch) -> Iterator[pa.RecordBatch | TaggedOutput[Literal["marks"], pa.RecordBatch]]:
        were = unpacked(rows)
        for batch in marked(were, self.run, self.outcome):
            yield TaggedOutput("marks", batch)
        yield self.name(rows, were)


def _renamed(rows: pa.RecordBatch, were: list[Failure]) -> pa.RecordBatch:
    return with_column(rows, ORIGIN, pa.array([f.origin for f in were], pa.string()))
