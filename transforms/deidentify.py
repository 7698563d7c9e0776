"""Deidentify: the contract's policy, by an engine. Fails closed: a row not provably transformed is refused."""

from collections.abc import Iterator
from typing import Literal, Protocol

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput
from apache_beam.typehints.decorators import no_annotations

from schemas.contract import Contract
from schemas.errors import Fault, Misconfigured, Stage
from transforms.batch import DAY, LINEAGE, ORIGIN, RAW, WATERMARK, Refusal, keep, refused_rows, with_column
from transforms.fates import REFUSED
from transforms.ledger import count
from transforms.resident import Resident
from transforms.rows import as_json

_LINEAGE = frozenset(field.name for field in LINEAGE) | {WATERMARK}


class Engine(Protocol):
    """What transforms rows: Google's service or the engine of ours. One a worker process, called by its threads."""

    def setup(self) -> None:
        """Called once, before the first batch: loads keys, models, connections."""
        ...

    def deidentify(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, list[Refusal]]:
        """The surviving rows, in order and under the batch's column names, and a Refusal for each of the others."""
        ...


class EngineConfig(Protocol):
    """What names an engine: frozen, picklable, holds no key and no connection."""

    def faults(self) -> list[Fault]:
        """Everything in the contract that this engine cannot do; asked while the pipeline is built."""
        ...

    def start(self) -> Engine: ...


def deidentify(batch: pa.RecordBatch, engine: Engine) -> tuple[pa.RecordBatch, list[Refusal]]:
    """The rows as stored, with their originals in the struct column RAW, and the rows that are refused."""
    stored, refused = engine.deidentify(batch)
    kept = keep(batch, [r.position for r in refused])
    # Rows are paired by position below: no row may come to stand beside the original of another.
    if stored.num_rows != kept.num_rows or not stored[ORIGIN].equals(kept[ORIGIN]):
        raise RuntimeError("the engine answered other rows than it was asked")
    names = [name for name in batch.schema.names if name not in _LINEAGE]
    raw = pa.StructArray.from_arrays([kept[name] for name in names], fields=[kept.schema.field(name) for name in names])
    return with_column(stored, RAW, raw), refused


class Deidentify(beam.PTransform):
    """Batches of events to batches as stored, plus RAW; output `refused` carries REFUSED batches.

    Raises Misconfigured with everything that the engine cannot do.
    """

    def __init__(self, contract: Contract, engine: EngineConfig) -> None:
        super().__init__()
        if faults := engine.faults():
            raise Misconfigured(faults)
        self.contract, self.engine = contract, engine

    @no_annotations  # Beam reads types off the DoFn; a transform with several outputs has none
    def expand(self, batches: beam.PCollection[pa.RecordBatch]) -> beam.pvalue.DoOutputsTuple:
        fn = _DeidentifyFn(self.contract, self.engine)
        return batches | "Transform" >> beam.ParDo(fn).with_outputs("refused", main="events")


class _DeidentifyFn(beam.DoFn):
    def __init__(self, contract: Contract, engine: EngineConfig) -> None:
        self.names = [field.name for field in contract.fields]
        self.config = engine
        self.resident = Resident()  # one engine a process: detectors are megabytes, connections are few

    def setup(self) -> None:
        self.engine: Engine = self.resident.acquire(self._started)

    def _started(self) -> Engine:
        engine = self.config.start()
        engine.setup()
        return engine

    def process(
        self, batch: pa.RecordBatch
    ) -> Iterator[pa.RecordBatch | TaggedOutput[Literal["refused"], pa.RecordBatch]]:
        stored, refused = deidentify(batch, self.engine)
        if refused:
            count(REFUSED, len(refused))
            positions = [r.position for r in refused]
            lost = batch.take(pa.array(positions, pa.int64()))
            rows = zip(refused, lost[ORIGIN].to_pylist(), lost[DAY].to_pylist(), as_json(batch, self.names, positions),
                       strict=True)
            listed = [(r.reason, r.field, origin, day, row) for r, origin, day, row in rows]
            yield TaggedOutput("refused", refused_rows(Stage.DEIDENTIFY, listed))
        if stored.num_rows:
            yield stored
