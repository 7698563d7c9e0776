"""Decode: blocks of a file, or of messages, into typed batches, strictly. One bad row refuses one row."""

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Iterator
from datetime import date
from itertools import accumulate
from typing import Literal

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.pvalue import TaggedOutput
from apache_beam.typehints.decorators import no_annotations

from schemas.contract import Contract
from schemas.errors import Reason, Stage
from schemas.fields import Field
from transforms.batch import DAY, LINEAGE, ORIGIN, Refusal, keep, refused_rows
from transforms.columns import Typing
from transforms.fates import REFUSED
from transforms.formats import avro, csv, messages, ndjson, opened, parquet
from transforms.formats.block import Block, Rows
from transforms.formats.messages import Front
from transforms.keys import Keys
from transforms.ledger import count

Refused = tuple[Reason, str | None, str, date | None, bytes | None]
AHEAD = 300_000_000  # microseconds: event times further after their message's publish time are not believed


def decode(block: Block, contract: Contract, typing: Typing, digest: "Digest",
           days: frozenset[date] | None = None, front: Front = Front()) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """A block as a batch of events (the contract's fields, then LINEAGE) and a batch of what was refused (REFUSED).

    days: where given, rows of other days are refused (other_partition). Of messages, those too far AHEAD are (future).
    """
    ids = [m.id for m in block.messages]

    def place(offset: int) -> str:
        return f"{block.path}:{ids[offset] if ids else offset}"

    refused: list[Refused] = []
    pieces: list[pa.RecordBatch] = []
    kept: list[tuple[list[int], Callable[[int], bytes], list[int]]] = []  # offsets, raw, which of them are in the piece
    for rows, offsets, raw, broken in rows_of(block, contract.fields, contract.max_row_bytes, front):
        refused += [(reason, field, place(offset), None, row) for reason, field, offset, row in broken]
        batch, wrong = typing.columns(rows)
        refused += [(r.reason, r.field, place(offsets[r.position]), None, raw(r.position)) for r in wrong]
        out = {r.position for r in wrong}
        kept.append((offsets, raw, [i for i in range(len(offsets)) if i not in out] if out else list(range(len(offsets)))))
        pieces.append(batch)
    batch = pa.concat_batches(pieces) if pieces else pa.RecordBatch.from_pylist([], typing.schema)
    ends = list(accumulate(len(positions) for _, _, positions in kept))

    def told(r: Refusal) -> Refused:
        chunk = bisect_right(ends, r.position)
        offsets, raw, positions = kept[chunk]
        i = positions[r.position - (ends[chunk - 1] if chunk else 0)]
        return r.reason, r.field, place(offsets[i]), day[r.position].as_py(), raw(i)

    day = batch[contract.time].cast(pa.date32())
    unfit = {r.position: r for r in typing.outside(batch)}
    places = [np.asarray(offsets, np.int64)[positions] for offsets, _, positions in kept]
    at = np.concatenate(places) if places else np.empty(0, np.int64)
    if ids:
        published = np.fromiter((m.published for m in block.messages), np.int64, len(ids))[at]
        ahead = pc.greater(batch[contract.time].cast(pa.int64()), pa.array(published + AHEAD))
        for position in pc.indices_nonzero(ahead).to_pylist():
            unfit.setdefault(position, Refusal(position, Reason.FUTURE, contract.time))
    if days is not None:
        for position in pc.indices_nonzero(pc.invert(pc.is_in(day, value_set=pa.array(sorted(days), pa.date32())))).to_pylist():
            unfit.setdefault(position, Refusal(position, Reason.OTHER_PARTITION, contract.time))
    refused += map(told, unfit.values())
    names = pa.array(ids, pa.string()).take(pa.array(at)) if ids else pa.array(at).cast(pa.string())
    origin = pc.binary_join_element_wise(pa.scalar(block.path), names, ":")
    whole = pa.RecordBatch.from_arrays([*batch.columns, origin, day], [*batch.schema.names, ORIGIN, DAY])
    whole = keep(whole, sorted(unfit))
    events = pa.RecordBatch.from_arrays([*whole.columns, *digest.of(whole)], schema=_schema(typing.schema))
    return events, refused_rows(Stage.DECODE, refused)


class Digest:
    """Keyed 64-bit digests (BLAKE2b, RFC 7693) of a row's id and of all its fields: what tells repeats from conflicts.

    They depend on the typed values alone, so the same event read as JSON or as Avro has the same digests.
    """

    def __init__(self, contract: Contract, key: bytes) -> None:
        self.id = contract.id
        self.names = [f.name for f in contract.fields]
        # Where a value could hold the separator, its length is digested too: no two rows share a text by accident.
        self.open = [f.name for f in contract.fields if f.type == "string" and f.values is None]
        self._id = hashlib.blake2b(digest_size=8, key=key, person=b"id")
        self._content = hashlib.blake2b(digest_size=8, key=key, person=b"content")

    def of(self, batch: pa.RecordBatch) -> tuple[pa.Array, pa.Array]:
        """(id_hash, content_hash), int64."""
        columns = [c if pa.types.is_string(c.type) else (c.cast(pa.int64()) if pa.types.is_timestamp(c.type) else c).cast(pa.string())
                   for c in (batch[n] for n in self.names)]
        columns += [pc.binary_length(batch[n]).cast(pa.string()) for n in self.open]
        text = pc.binary_join_element_wise(*columns, "\x1f", null_handling="replace", null_replacement="\x00")
        return self._digests(self._id, batch[self.id]), self._digests(self._content, text)

    @staticmethod
    def _digests(keyed: "hashlib.blake2b", texts: pa.Array) -> pa.Array:
        digests = bytearray()
        for value in texts.cast(pa.binary()).to_pylist():
            digest = keyed.copy()
            digest.update(value)
            digests += digest.digest()
        return pa.Array.from_buffers(pa.int64(), len(texts), [None, pa.py_buffer(digests)])


def rows_of(block: Block, fields: tuple[Field, ...], max_row_bytes: int, front: Front = Front()) -> Iterator[Rows]:
    """The rows of a block by its format, in chunks; fields say how the texts of a CSV file are read, front how messages are."""
    if block.format == "messages":
        return messages.parse(block, front, max_row_bytes)
    if block.format == "ndjson":
        return ndjson.parse(block, max_row_bytes)
    if block.format == opened.OPENED:
        return opened.parse(block, fields, front, max_row_bytes)
    parse: Callable[..., Iterator[Rows]] = {"csv": csv.parse, "avro": avro.parse, "parquet": parquet.parse}[block.format]
    return parse(block, fields, max_row_bytes)


def _schema(fields: pa.Schema) -> pa.Schema:
    return pa.schema([*fields, *LINEAGE])


class Decode(beam.PTransform):
    """Blocks to (block key, batch of events); output `refused` carries REFUSED batches."""

    def __init__(self, contract: Contract, keys: Keys, days: frozenset[date] | None = None, front: Front = Front()) -> None:
        super().__init__()
        self.contract, self.keys, self.days, self.front = contract, keys, days, front

    @no_annotations  # Beam reads types off the DoFn; a transform with several outputs has none
    def expand(self, blocks: beam.PCollection[Block]) -> beam.pvalue.DoOutputsTuple:
        return blocks | "ToBatches" >> beam.ParDo(_DecodeFn(self.contract, self.keys, self.days, self.front)).with_outputs("refused", main="events")


class _DecodeFn(beam.DoFn):
    def __init__(self, contract: Contract, keys: Keys, days: frozenset[date] | None, front: Front) -> None:
        self.contract, self.keys, self.days, self.front = contract, keys, days, front

    def setup(self) -> None:
        self.typing = Typing(self.contract)
        self.digest = Digest(self.contract, self.keys.derive("row digests"))

    def process(self, block: Block) -> Iterator[tuple[str, pa.RecordBatch] | TaggedOutput[Literal["refused"], pa.RecordBatch]]:
        events, refused = decode(block, self.contract, self.typing, self.digest, self.days, self.front)
        if refused.num_rows:
            count(REFUSED, refused.num_rows)
            yield TaggedOutput("refused", refused)
        if events.num_rows:
            yield block.key, events
