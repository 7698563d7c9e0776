"""Gather: the unbounded form of Decode and Deduplicate. Messages of a shard wait until they are a batch, and are then sifted for repeats.

A shard is a hash of the id, so that all copies of an id meet in one. State that is touched for each row costs milliseconds;
here a row waits in a bag, and what is compared is read once a batch.

The timer that ends the wait is one of event time, which is the time of publishing here: a timer of processing time would
hold the watermark. At a drain the watermark passes all timers, so nothing that waits is lost. No timer drops what was
stored: a shard's own progress does (transforms.held). Its clock is event time, where a timer's would be the time of
publishing, by which all events of a replay are long past; and shards are fixed, so none is left behind for good.
"""

import zlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Literal, TypeAlias

import apache_beam as beam
import numpy as np
import orjson
import pyarrow as pa
from apache_beam.coders import BytesCoder, TupleCoder, VarIntCoder
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import BagStateSpec, ReadModifyWriteStateSpec, TimerSpec, on_timer
from apache_beam.typehints.decorators import no_annotations
from apache_beam.utils.timestamp import Duration

from schemas.contract import Contract
from transforms import held
from transforms.batch import WATERMARK, with_column
from transforms.deduplicate import deduplicate, marks_of, parted, told_apart
from transforms.fates import READ, REFUSED
from transforms.formats.block import Block, Message
from transforms.formats.messages import Front, parse
from transforms.ledger import Tally, count
from transforms.message_coder import MessageCoder
from transforms.unquoted import unquoted

DecodeBlock = Callable[[Block], tuple[pa.RecordBatch, pa.RecordBatch]]
"""A Block of messages to (events, REFUSED rows)."""
Gathered: TypeAlias = pa.RecordBatch | TaggedOutput[Literal["refused"], pa.RecordBatch] | TaggedOutput[Literal["tally"], Tally]

SHARDS = 64


def id_of(message: Message, contract: Contract, front: Front) -> str:
    """The id by which a message is put into a shard: the event's; the message's own where no event can be read from it."""
    attribute = dict(front.filled).get(contract.id)
    if attribute is not None:
        return message.attributes.get(attribute, message.id)
    if len(message.data) > contract.max_row_bytes:
        return message.id
    try:
        row = orjson.loads(message.data)
        found = row.get(contract.id) if type(row) is dict else None
    except orjson.JSONDecodeError:
        rows = parse(Block("", "messages", 0, 0, 1, b"", messages=(message,)), front, contract.max_row_bytes)
        found = next((row.get(contract.id) for chunk in rows for row in chunk.rows), None)  # Avro
    return found if type(found) is str else message.id


class Gather(beam.PTransform):
    """Messages to batches of events with the column WATERMARK; outputs `refused` (REFUSED batches) and `tally` (READ, REPEATED).

    subscription: named in the origin of rows; decoder: makes what decodes a block, once in each worker; front: as Decode has
    it. A batch is formed of `most` messages or `most_bytes` of their data, or when the watermark has passed `wait` after the
    first one's publishing. WATERMARK is the shard's greatest event time stored before the batch, the contract's disorder behind it, null
    before there is one. shards: may not change while a job lives or is updated: an id's copies would not meet.
    """

    def __init__(self, contract: Contract, subscription: str, decoder: Callable[[], DecodeBlock], front: Front = Front(), shards: int = SHARDS,
                 most: int = 2000, most_bytes: int = 16 << 20, wait: timedelta = timedelta(seconds=1)) -> None:
        super().__init__()
        self.contract, self.front, self.shards = contract, front, shards
        self._fn = _GatherFn(contract, subscription, decoder, most, most_bytes, wait)

    @no_annotations  # Beam reads types off the DoFn; a transform with several outputs has none
    def expand(self, messages: beam.PCollection[Message]) -> beam.pvalue.DoOutputsTuple:
        sharded = messages | "Shard" >> beam.ParDo(_ShardFn(self.contract, self.front, self.shards))
        return sharded | "Sift" >> beam.ParDo(self._fn).with_outputs("refused", "tally", main="events")


class _ShardFn(beam.DoFn):
    def __init__(self, contract: Contract, front: Front, shards: int) -> None:
        self.contract, self.front, self.shards = contract, front, shards

    def display_data(self) -> dict[str, Any]:
        return {"shards": self.shards}  # what an update may not change is shown, and held in tests/golden

    def process(self, message: Message) -> Iterator[tuple[int, Message]]:
        yield zlib.crc32(id_of(message, self.contract, self.front).encode("utf-8", "surrogatepass")) % self.shards, message


class _GatherFn(beam.DoFn):
    # Names and coders of these are what an update of a running job must find again: tests/golden.
    WAITING = BagStateSpec("waiting", MessageCoder())
    SIZE = ReadModifyWriteStateSpec("size", TupleCoder((VarIntCoder(), VarIntCoder())))  # messages and bytes that wait
    FRESH = BagStateSpec("fresh", BytesCoder())
    SETTLED = BagStateSpec("settled", BytesCoder())
    REACHED = ReadModifyWriteStateSpec("watermark", VarIntCoder())  # microseconds
    FLUSH = TimerSpec("flush", TimeDomain.WATERMARK)

    def __init__(self, contract: Contract, subscription: str, decoder: Callable[[], DecodeBlock], most: int, most_bytes: int, wait: timedelta) -> None:
        self.contract, self.subscription, self.decoder = contract, subscription, decoder
        self.most, self.most_bytes, self.wait = most, most_bytes, wait
        self.disorder = contract.disorder // timedelta(microseconds=1)

    def setup(self) -> None:
        self.decode = self.decoder()

    def process(self, element: tuple[int, Message], at: Any = beam.DoFn.TimestampParam, window: Any = beam.DoFn.WindowParam,
                waiting: Any = beam.DoFn.StateParam(WAITING), size: Any = beam.DoFn.StateParam(SIZE), fresh: Any = beam.DoFn.StateParam(FRESH),
                settled: Any = beam.DoFn.StateParam(SETTLED), reached: Any = beam.DoFn.StateParam(REACHED),
                flush: Any = beam.DoFn.TimerParam(FLUSH)) -> Iterator[Gathered]:
        message = element[1]
        messages, data = size.read() or (0, 0)
        waiting.add(message)
        messages, data = messages + 1, data + len(message.data)
        size.write((messages, data))
        if messages >= self.most or data >= self.most_bytes:
            # The timer stays set: it then finds nothing, or fewer messages than would fill a batch.
            yield from self._sifted(waiting, size, fresh, settled, reached)
        elif messages == 1:
            flush.set(min(at + Duration.of(self.wait.total_seconds()), window.max_timestamp()))

    @on_timer(FLUSH)
    @unquoted
    def waited(self, waiting: Any = beam.DoFn.StateParam(WAITING), size: Any = beam.DoFn.StateParam(SIZE), fresh: Any = beam.DoFn.StateParam(FRESH),
               settled: Any = beam.DoFn.StateParam(SETTLED), reached: Any = beam.DoFn.StateParam(REACHED)) -> Iterator[Gathered]:
        yield from self._sifted(waiting, size, fresh, settled, reached)

    def _sifted(self, waiting: Any, size: Any, fresh: Any, settled: Any, reached: Any) -> Iterator[Gathered]:
        """A batch of what waits. A runner commits what is read from state, written to it and put out here together, or none of it."""
        messages = sorted(waiting.read(), key=lambda m: (m.published, m.id))  # a bag has no order
        waiting.clear()
        size.clear()
        if not messages:
            return
        count(READ, len(messages))
        yield TaggedOutput("tally", Tally(READ, "", len(messages)))
        events, refused = self.decode(Block(self.subscription, "messages", 0, 0, len(messages), b"", messages=tuple(messages)))
        if refused.num_rows:
            count(REFUSED, refused.num_rows)
            yield TaggedOutput("refused", refused)
        if events.num_rows:
            yield from self._told(events, fresh, settled, reached)

    def _told(self, events: pa.RecordBatch, fresh: Any, settled: Any, reached: Any) -> Iterator[Gathered]:
        young, old = list(fresh.read()), list(settled.read())
        marks = marks_of(events, self.contract)
        verdicts = deduplicate(marks, self.contract.horizon, held.copies([*old, *young], marks.ids))
        positions = np.flatnonzero(verdicts)
        kept, conflicts, repeated = parted(events, positions, verdicts[positions], self.contract)
        watermark = reached.read()
        if kept.num_rows:
            new = marks_of(kept, self.contract)
            before = held.greatest([*old, *young])
            greatest = int(new.times.max()) if before is None else max(before, int(new.times.max()))
            self._hold(held.packed(new, greatest), young, old, fresh, settled)
            reached.write(greatest - self.disorder if watermark is None else max(watermark, greatest - self.disorder))
        column = pa.array([watermark], pa.timestamp("us", "UTC")).take(pa.array(np.zeros(kept.num_rows, np.int32)))
        yield from told_apart(with_column(kept, WATERMARK, column), conflicts, repeated)

    def _hold(self, new: bytes, young: list[bytes], old: list[bytes], fresh: Any, settled: Any) -> None:
        if len(young) < held.FRESH:
            fresh.add(new)
            return
        fresh.clear()
        chunks, instead = held.settled(old, [*young, new], self.contract.horizon)
        if instead:
            settled.clear()
        for chunk in chunks:
            settled.add(chunk)
