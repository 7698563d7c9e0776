"""Reidentify: tokens back to values in the named columns. What is no token of these keys becomes null, and is counted."""

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple, Protocol

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.pvalue import TaggedOutput
from apache_beam.typehints.decorators import no_annotations
from apache_beam.utils.shared import Shared

from schemas.errors import Fault, Misconfigured
from transforms.batch import with_column


class Turned(NamedTuple):
    """So many cells of a column were turned back, and so many were no token. Null and empty cells are neither."""

    column: str
    values: int
    no_token: int


class Reverser(Protocol):
    """What turns tokens back. One a worker process, called by its threads."""

    def setup(self) -> None:
        """Called once, before the first batch: loads keys, opens connections."""
        ...

    def reverse(self, batch: pa.RecordBatch) -> Mapping[str, pa.Array]:
        """By named column, the values behind its tokens, one a row: null for what does not open."""
        ...


class ReverserConfig(Protocol):
    """What names a reverser: frozen, picklable, holds no key and no connection."""

    def faults(self) -> list[Fault]:
        """Everything that cannot be turned back, and why; asked while the pipeline is built."""
        ...

    def start(self) -> Reverser: ...


def reidentify(batch: pa.RecordBatch, reverser: Reverser) -> tuple[pa.RecordBatch, list[Turned]]:
    """The batch with values in place of tokens, its rows and columns in their order, and what became of each column."""
    turned = []
    for name, values in reverser.reverse(batch).items():
        if len(values) != batch.num_rows:
            raise RuntimeError("a reverser answered another number of rows than it was asked")
        tokens = pc.fill_null(pc.not_equal(batch[name], ""), False)
        opened = pc.sum(pc.and_(tokens, values.is_valid()), min_count=0).as_py()
        turned.append(Turned(name, opened, pc.sum(tokens, min_count=0).as_py() - opened))
        batch = with_column(batch, name, values)
    return batch, turned


class Reidentify(beam.PTransform):
    """Batches with tokens to batches with values (output `rows`); output `turned` carries Turned.

    Raises Misconfigured with everything that cannot be turned back.
    """

    def __init__(self, reverser: ReverserConfig) -> None:
        super().__init__()
        if faults := reverser.faults():
            raise Misconfigured(faults)
        self.reverser = reverser

    @no_annotations  # Beam reads types off the DoFn; a transform with several outputs has none
    def expand(self, batches: beam.PCollection[pa.RecordBatch]) -> beam.pvalue.DoOutputsTuple:
        return batches | "TurnBack" >> beam.ParDo(_ReidentifyFn(self.reverser)).with_outputs("turned", main="rows")


class _ReidentifyFn(beam.DoFn):
    def __init__(self, reverser: ReverserConfig) -> None:
        self.config = reverser
        self.shared = Shared()  # one a process: connections are few

    def setup(self) -> None:
        self.reverser: Reverser = self.shared.acquire(self._started)

    def _started(self) -> Reverser:
        reverser = self.config.start()
        reverser.setup()
        return reverser

    def process(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch | TaggedOutput[Literal["turned"], Turned]]:
        rows, turned = reidentify(batch, self.reverser)
        for column in turned:
            yield TaggedOutput("turned", column)
        yield rows
