"""Window, unbounded: the form for the streaming graph, with state and one event-time timer for each shard of the keys.

A batch is summed up before it travels: one RecordBatch of partials (transforms.partials) for each shard of the key. What
arrives is laid aside; the work is done when the timer fires (transforms.window_shard). The timer is one of event time: one
of processing time would hold Beam's watermark back.

Which rows count is said by their column `watermark`: late rows are told at once, as in transforms.lateness. In rare cases
a row that counts by its column comes when its windows are forgotten (a replay that some workers are ahead in; a stream
that stood still and goes on where it was). It is late too, counted and refused: so rows whose windows closed, by the time of
their publication, more than disorder + lateness ago travel whole, and the shard says row by row which ones it takes. What
does not travel whole cannot come too late while Beam's watermark keeps its word (nothing comes that is older). Where it
does not, as when a subscription is sought back in a running job, the rows are counted and refused as well, one by one, but
with the key and the time of their cell in the place of the row, which stands in `events`. A row that comes when only some
of its sliding windows are forgotten counts in the others. So, always: windowed = in panes + late.

Drain: Beam's watermark goes to the end of time, every timer fires, and all open windows are told as they stand: panes on
time (is_late false) of windows to which rows might have come. Cancel: what was not told is lost with the state; `penstock
windows` tells it from the stored events. Update: state is kept. What is held is of the windows of the old contract, so
where windows, their measures or shards change, drain the job and start another.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any, Literal, NamedTuple

import apache_beam as beam
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.coders import TupleCoder, VarIntCoder
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import BagStateSpec, ReadModifyWriteStateSpec, TimerSpec, on_timer
from apache_beam.typehints.decorators import no_annotations
from apache_beam.utils.timestamp import Timestamp

from schemas.contract import Contract
from schemas.errors import Reason, Stage
from schemas.windows import Measure, Windowing
from transforms.batch import WATERMARK, ArrowCoder, refused_rows, with_column
from transforms.fates import LATE
from transforms.lateness import late_rows
from transforms.ledger import count
from transforms.partials import GREATEST, KEY, LEAST, by_shard, keys_of, micros, partials
from transforms.unquoted import unquoted
from transforms.window import SHARDS
from transforms.window_clock import FOR_EVER, IDLE, LONG_AGO, Clock
from transforms.window_firing import fire, soonest, still_open
from transforms.window_shard import Mask, Shard, time_of

_EPOCH, _TIME = datetime(1970, 1, 1, tzinfo=timezone.utc), pa.timestamp("us", "UTC")
Piece = tuple[int, tuple[bool, int, pa.RecordBatch]]
"""(shard, (whether they are whole rows, how far event time had come as they were read, rows or partials))."""
_ROWS = Measure("", "count", None, None, "long")  # in every partial: what comes too late is counted by it


class Windowed(NamedTuple):
    """windows: panes (transforms.window.window_schema); refused: late rows (transforms.batch.REFUSED); gone: sessions that
    were told and are no more, with the last pane that held them (transforms.window_shard.GONE): outputs have no order."""

    windows: beam.PCollection[pa.RecordBatch]
    refused: beam.PCollection[pa.RecordBatch]
    gone: beam.PCollection[pa.RecordBatch]


class WindowStream(beam.PTransform):
    """Batches of stored events, in the global window and stamped with their time of publication, to Windowed.

    shards: how many groups the keys are held in; idle: how long nothing comes to a shard before its watermark walks
    (transforms.window_clock).
    """

    def __init__(self, contract: Contract, shards: int = SHARDS, idle: timedelta = IDLE) -> None:
        super().__init__()
        if contract.windows is None:
            raise ValueError("a contract without windows")
        self.contract, self.windowing, self.shards, self.idle = contract, contract.windows, shards, idle

    @no_annotations  # Beam reads types off the DoFns; a transform with several outputs has none
    def expand(self, stored: beam.PCollection[pa.RecordBatch]) -> Windowed:
        pieces = stored | "Measure" >> beam.ParDo(_MeasureFn(self.contract, self.windowing, self.shards)).with_outputs("refused", main="pieces")
        held = pieces.pieces | "Hold" >> beam.ParDo(_HoldFn(self.contract, self.windowing, micros(self.idle))).with_outputs("refused", "gone", main="windows")
        return Windowed(held.windows, (pieces.refused, held.refused) | "Late" >> beam.Flatten(), held.gone)


class _MeasureFn(beam.DoFn):
    """Batches to pieces for the shards."""

    def __init__(self, contract: Contract, windowing: Windowing, shards: int) -> None:
        self.contract, self.windowing, self.shards = contract, windowing, shards
        self.counted = replace(windowing, measures=(*windowing.measures, _ROWS))

    def process(self, batch: pa.RecordBatch, at: Timestamp = beam.DoFn.TimestampParam) -> Iterator[Piece | TaggedOutput[Literal["refused"], pa.RecordBatch]]:
        part, late = partials(batch, self.counted, self.contract.time)
        if late.any():
            yield TaggedOutput("refused", late_rows(batch, late, self.contract))
        watermark = self._come_to(batch)
        old = self._closed_long_ago(batch, max(at.micros, LONG_AGO)) & ~late
        if old.any():
            part, _ = partials(batch.filter(pa.array(~old)), self.counted, self.contract.time)
            rows = batch.filter(pa.array(old))
            codes, texts = keys_of(rows, self.windowing.key)
            for shard, whole in by_shard(rows, texts.take(pa.array(codes)), self.shards):
                yield shard, (True, watermark, whole)
        for shard, piece in by_shard(part, part[KEY], self.shards):
            yield shard, (False, watermark, piece)

    def _come_to(self, batch: pa.RecordBatch) -> int:
        """The greatest watermark that rows carry; where none carries one, what their event times say."""
        found = pc.max(batch[WATERMARK].cast(_TIME).cast(pa.int64())).as_py() if WATERMARK in batch.schema.names else None
        return int(time_of(batch, self.contract.time).max(initial=LONG_AGO)) - micros(self.contract.disorder) if found is None else int(found)

    def _closed_long_ago(self, batch: pa.RecordBatch, at: int) -> Mask:
        """The rows of which a window may be forgotten at this time of Beam's watermark."""
        times, windowing = time_of(batch, self.contract.time), self.windowing
        period = micros(windowing.period)
        ends = times + micros(windowing.gap) if windowing.kind == "session" else (times // period + 1) * period
        old: Mask = ends <= at - micros(self.contract.disorder) - micros(windowing.lateness)
        return old


class _HoldFn(beam.DoFn):
    """Pieces of a shard to its panes."""

    NEW = BagStateSpec("new", ArrowCoder())
    HELD, FRESH, TOLD = (ReadModifyWriteStateSpec(name, ArrowCoder()) for name in ("held", "fresh", "told"))
    CLOCK = ReadModifyWriteStateSpec("clock", TupleCoder([VarIntCoder()] * len(Clock())))
    DUE = TimerSpec("due", TimeDomain.WATERMARK)

    def __init__(self, contract: Contract, windowing: Windowing, idle: int) -> None:
        self.contract, self.windowing, self.idle = contract, windowing, idle
        self.disorder = micros(contract.disorder)
        self.counted = replace(windowing, measures=(*windowing.measures, _ROWS))

    def process(self, element: Piece, at: Timestamp = beam.DoFn.TimestampParam, new: Any = beam.DoFn.StateParam(NEW),
                clock: Any = beam.DoFn.StateParam(CLOCK), due: Any = beam.DoFn.TimerParam(DUE)) -> Iterator[
                    pa.RecordBatch | TaggedOutput[Literal["refused"], pa.RecordBatch] | TaggedOutput[Literal["gone"], pa.RecordBatch]]:
        whole, watermark, piece = element[1]
        now, published = Clock(*(clock.read() or ())), max(at.micros, LONG_AGO)
        if whole:
            piece = _at_least(piece, now.watermark)
            part, late = partials(piece, self.counted, self.contract.time)
            if late.any():
                yield TaggedOutput("refused", late_rows(piece, late, self.contract))
        else:
            part, over = still_open(piece, now.watermark, self.windowing)
            if over.num_rows:
                yield TaggedOutput("refused", _late_cells(over, self.contract))
        soon = FOR_EVER
        if part.num_rows:
            new.add(part)
            soon = soonest(part, watermark if now.watermark == LONG_AGO else now.watermark, self.windowing)
        self._set(now.heard(published, watermark, soon), clock, due)

    @on_timer(DUE)
    @unquoted
    def tell(self, at: Timestamp = beam.DoFn.TimestampParam, new: Any = beam.DoFn.StateParam(NEW), held: Any = beam.DoFn.StateParam(HELD),
             fresh: Any = beam.DoFn.StateParam(FRESH), told: Any = beam.DoFn.StateParam(TOLD), clock: Any = beam.DoFn.StateParam(CLOCK),
             due: Any = beam.DoFn.TimerParam(DUE)) -> Iterator[pa.RecordBatch | TaggedOutput[Literal["gone"], pa.RecordBatch]]:
        now = Clock(*(clock.read() or ()))
        watermark = now.at(at.micros, self.disorder, self.idle)
        firing = fire(Shard(*(state.read() for state in (held, fresh, told))), list(new.read()), now.watermark, watermark, self.windowing)
        new.clear()
        for state, batch in zip((held, fresh, told), firing.shard):
            if batch is None:
                state.clear()
            else:
                state.write(batch)
        if firing.gone.num_rows:
            yield TaggedOutput("gone", firing.gone)
        if firing.rows.num_rows:
            yield firing.rows
        self._set(now.settled(at.micros, watermark, firing.due), clock, due)

    def _set(self, now: Clock, clock: Any, due: Any) -> None:
        clock.write(tuple(now))
        at = now.next(self.disorder, self.idle)
        if at is not None:
            due.set(Timestamp(micros=at))


def _at_least(rows: pa.RecordBatch, watermark: int) -> pa.RecordBatch:
    """Rows that carry at least this watermark."""
    if watermark == LONG_AGO:
        return rows
    own = rows[WATERMARK].cast(_TIME).cast(pa.int64()) if WATERMARK in rows.schema.names else pa.nulls(rows.num_rows, pa.int64())
    return with_column(rows, WATERMARK, pc.max_element_wise(own, pa.scalar(watermark)).cast(_TIME))


def _late_cells(part: pa.RecordBatch, contract: Contract) -> pa.RecordBatch:
    """The rows of partials, of which the key and the time of their cell are known."""
    count(LATE, pc.sum(part["rows"]).as_py())
    listed = []
    for key, least, greatest, rows in zip(*(part[name].to_pylist() for name in (KEY, LEAST, GREATEST, "rows"))):
        first, last = (_EPOCH + timedelta(microseconds=time) for time in (least, greatest))
        row = orjson.dumps({"key": key, "least": first, "greatest": last})
        listed += [(Reason.LATE, contract.time, f"window:{first.isoformat()}", first.date(), row)] * rows
    return refused_rows(Stage.WINDOW, listed)
