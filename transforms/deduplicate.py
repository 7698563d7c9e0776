"""Deduplicate: the first copy of each id within the horizon; a repeat is counted, other content is a conflict.

Copies are compared in the order of the input. A row whose id stood within the horizon (in event time) with the same
content is repeated; with other content it is refused as a conflict; otherwise it is stored. Rows that are stored
already count as copies that came before.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput
from apache_beam.typehints.decorators import no_annotations

from schemas.contract import Contract
from schemas.errors import Reason, Stage
from transforms.batch import CONTENT_HASH, DAY, ID_HASH, ORIGIN, WATERMARK, keep, refused_rows, with_column
from transforms.fates import REFUSED, REPEATED
from transforms.ledger import Tally, count
from transforms.marks import Marks
from transforms.park import Park, Parked
from transforms.rows import as_json

KEEP, REPEAT, CONFLICT = 0, 1, 2


def deduplicate(rows: Marks, horizon: timedelta, stored: Marks | None = None) -> npt.NDArray[np.int8]:
    """KEEP, REPEAT or CONFLICT for each row, in the order given. `stored` is sorted by id."""
    verdicts = np.zeros(len(rows.ids), np.int8)
    order = np.argsort(rows.ids, kind="stable")
    ids = rows.ids[order]
    twice = np.zeros(len(ids), bool)
    if len(ids):
        same = ids[1:] == ids[:-1]
        twice[1:] |= same
        twice[:-1] |= same
    micros = int(horizon / timedelta(microseconds=1))
    looked_at = twice
    if stored is not None and len(stored.ids):
        low = np.searchsorted(stored.ids, ids, "left")
        copies = np.searchsorted(stored.ids, ids, "right") - low
        # The common case of a rerun, all columns at once: one row here, one row there.
        alone = np.flatnonzero(~twice & (copies == 1))
        here, there = order[alone], low[alone]
        near = np.abs(rows.times[here] - stored.times[there]) <= micros
        verdicts[here] = np.where(near, np.where(rows.contents[here] == stored.contents[there], REPEAT, CONFLICT), KEEP)
        looked_at = twice | (copies > 1)
    positions = np.flatnonzero(looked_at)
    for group in np.split(positions, np.flatnonzero(np.diff(ids[positions])) + 1) if len(positions) else []:
        kept: list[tuple[int, int]] = []
        if stored is not None and len(stored.ids):
            first = int(low[group[0]])
            kept = [(int(stored.times[i]), int(stored.contents[i])) for i in range(first, first + int(copies[group[0]]))]
        for at in order[group].tolist():  # a stable sort: the input's order within an id
            time, content = int(rows.times[at]), int(rows.contents[at])
            near_contents = [c for t, c in kept if abs(t - time) <= micros]
            if content in near_contents:
                verdicts[at] = REPEAT
            elif near_contents:
                verdicts[at] = CONFLICT
            else:
                kept.append((time, content))
    return verdicts


@dataclass(frozen=True)
class Nothing:
    """What is stored before a run that replaces: its result depends on its input alone."""

    def __call__(self, first_day: date, last_day: date) -> Marks | None:
        return None


Copies = Callable[[Marks], Marks | None]
Stored = Callable[[date, date], Marks | None]
"""(first day, last day) -> the marks of the rows stored on these days, sorted by id."""


class Deduplicate(beam.PTransform):
    """(block key, batch) pairs to batches; outputs `refused` (REFUSED batches) and `tally` (Tally).

    stored: answers what is stored already on the days of the input, a horizon to either side. shards: how many groups the
    ids are compared in; one holds about two million rows comfortably. copies: in place of stored, is asked for the ids of a
    group. repeats: gives an output of this name, batches of the column ORIGIN of rows that repeat.
    """

    def __init__(self, contract: Contract, park: Park, stored: Stored = Nothing(), shards: int = 1, copies: "Copies | None" = None,
                 repeats: bool = False) -> None:
        super().__init__()
        self.contract, self.park, self.shards, self.repeats = contract, park, shards, repeats
        self.copies = copies or _Around(stored, contract.horizon)

    @no_annotations  # Beam reads types off the DoFn; a transform with several outputs has none
    def expand(self, blocks: beam.PCollection[tuple[str, pa.RecordBatch]]) -> beam.pvalue.DoOutputsTuple:
        parked = blocks | "Park" >> beam.ParDo(_ParkFn(self.contract, self.park, self.shards)).with_outputs("marks", main="parked")
        verdicts = (parked.marks
                    | "ByShard" >> beam.GroupByKey()
                    | "Judge" >> beam.ParDo(_JudgeFn(self.contract.horizon, self.copies)).with_output_types(tuple[str, bytes]))
        return ({"parked": parked.parked, "verdicts": verdicts}
                | "ByBlock" >> beam.CoGroupByKey()
                | "Fetch" >> beam.ParDo(_FetchFn(self.contract, self.park, self.repeats)).with_outputs(
                    "refused", "tally", *(["repeats"] if self.repeats else []), main="events"))


class Sift(beam.PTransform):
    """The form for a run whose rows are one batch, as on one machine every run of a stream's are: nothing is grouped, nothing waits.

    (block key, batch) pairs to batches with the column WATERMARK; outputs `refused` and `tally` as Deduplicate.
    copies: answers the marks of stored rows that have the ids of these, sorted by id; watermark: that of the run in hand,
    microseconds since 1970, or None before there is one.
    """

    def __init__(self, contract: Contract, copies: Copies, watermark: Callable[[], int | None]) -> None:
        super().__init__()
        self.contract, self.copies, self.watermark = contract, copies, watermark

    @no_annotations  # Beam reads types off the DoFn; a transform with several outputs has none
    def expand(self, blocks: beam.PCollection[tuple[str, pa.RecordBatch]]) -> beam.pvalue.DoOutputsTuple:
        return blocks | "Sift" >> beam.ParDo(_SiftFn(self.contract, self.copies, self.watermark)).with_outputs("refused", "tally", main="events")


class _ParkFn(beam.DoFn):
    def __init__(self, contract: Contract, park: Park, shards: int) -> None:
        self.contract, self.park, self.shards = contract, park, shards

    def process(self, element: tuple[str, pa.RecordBatch]) -> Iterator[
            tuple[str, Parked] | TaggedOutput[Literal["marks"], tuple[int, tuple[str, pa.RecordBatch]]]]:
        key, batch = element
        ids = batch[ID_HASH].to_numpy()
        marks = pa.RecordBatch.from_arrays(
            [batch[ID_HASH], batch[CONTENT_HASH], batch[self.contract.time].cast(pa.int64()), pa.array(range(len(ids)), pa.int32())],
            ["ids", "contents", "times", "positions"])
        shards = ids.view(np.uint64) % self.shards
        for shard in range(self.shards):
            part = marks if self.shards == 1 else marks.filter(pa.array(shards == shard))
            if part.num_rows:
                yield TaggedOutput("marks", (shard, (key, part)))
        yield key, self.park.leave(key, batch)


class _JudgeFn(beam.DoFn):
    def __init__(self, horizon: timedelta, copies: Copies) -> None:
        self.horizon, self.copies = horizon, copies

    def process(self, element: tuple[int, Iterable[tuple[str, pa.RecordBatch]]]) -> Iterator[tuple[str, bytes]]:
        marks = sorted(element[1], key=lambda keyed: keyed[0])
        ids, contents, times = (np.concatenate([m[name].to_numpy() for _, m in marks]) for name in ("ids", "contents", "times"))
        rows = Marks(ids, contents, times)
        verdicts = deduplicate(rows, self.horizon, self.copies(rows))
        start = 0
        for key, part in marks:
            mine = verdicts[start:start + part.num_rows]
            start += part.num_rows
            judged = np.flatnonzero(mine)
            if len(judged):
                positions = part["positions"].to_numpy()[judged]
                yield key, np.stack([positions, mine[judged].astype(np.int32)]).tobytes()


@dataclass(frozen=True)
class _Around:
    """What is stored on the days of rows, a horizon to either side, as Copies."""

    stored: Stored
    horizon: timedelta

    def __call__(self, rows: Marks) -> Marks | None:
        first, last = (date(1970, 1, 1) + timedelta(microseconds=int(t)) for t in (rows.times.min(), rows.times.max()))
        reach = self.horizon + timedelta(days=1)
        return self.stored(first - reach if first - date.min > reach else date.min, last + reach if date.max - last > reach else date.max)


class _FetchFn(beam.DoFn):
    def __init__(self, contract: Contract, park: Park, repeats: bool) -> None:
        self.contract, self.park, self.repeats = contract, park, repeats

    def process(self, element: tuple[str, dict[str, Any]]) -> Iterator[
            pa.RecordBatch | TaggedOutput[Literal["refused"], pa.RecordBatch] | TaggedOutput[Literal["repeats"], pa.RecordBatch]
            | TaggedOutput[Literal["tally"], Tally]]:
        key, grouped = element
        (parked,) = grouped["parked"]
        batch = self.park.fetch(key, parked)
        judged = [np.frombuffer(v, np.int32).reshape(2, -1) for v in grouped["verdicts"]]
        positions, verdicts = np.concatenate(judged, axis=1) if judged else np.zeros((2, 0), np.int32)
        kept, conflicts, repeated = parted(batch, positions, verdicts, self.contract)
        if repeated and self.repeats:
            yield TaggedOutput("repeats", batch.select([ORIGIN]).take(pa.array(positions[verdicts == REPEAT])))
        yield from told_apart(kept, conflicts, repeated)


class _SiftFn(beam.DoFn):
    def __init__(self, contract: Contract, copies: Copies, watermark: Callable[[], int | None]) -> None:
        self.contract, self.copies, self.watermark = contract, copies, watermark

    def process(self, element: tuple[str, pa.RecordBatch]) -> Iterator[
            pa.RecordBatch | TaggedOutput[Literal["refused"], pa.RecordBatch] | TaggedOutput[Literal["tally"], Tally]]:
        batch = element[1]
        marks = marks_of(batch, self.contract)
        verdicts = deduplicate(marks, self.contract.horizon, self.copies(marks))
        positions = np.flatnonzero(verdicts)
        kept, conflicts, repeated = parted(batch, positions, verdicts[positions], self.contract)
        watermark = pa.array([self.watermark()], pa.timestamp("us", "UTC")).take(pa.array(np.zeros(kept.num_rows, np.int32)))
        yield from told_apart(with_column(kept, WATERMARK, watermark), conflicts, repeated)


def marks_of(batch: pa.RecordBatch, contract: Contract) -> Marks:
    """The marks of a batch of events."""
    return Marks(batch[ID_HASH].to_numpy(), batch[CONTENT_HASH].to_numpy(), batch[contract.time].cast(pa.int64()).to_numpy())


def parted(batch: pa.RecordBatch, positions: npt.NDArray[Any], verdicts: npt.NDArray[Any],
           contract: Contract) -> tuple[pa.RecordBatch, pa.RecordBatch, int]:
    """What is kept of a batch, its conflicts as REFUSED rows, and how many rows repeat; verdicts[i] is on the row positions[i]."""
    conflicts = sorted(positions[verdicts == CONFLICT].tolist())
    refused = refused_rows(Stage.DEDUPLICATE, [
        (Reason.CONFLICT, contract.id, batch[ORIGIN][i].as_py(), batch[DAY][i].as_py(), row)
        for i, row in zip(conflicts, as_json(batch, [f.name for f in contract.fields], conflicts))])
    return keep(batch, positions.tolist()), refused, int((verdicts == REPEAT).sum())


def told_apart(kept: pa.RecordBatch, conflicts: pa.RecordBatch, repeated: int) -> Iterator[
        pa.RecordBatch | TaggedOutput[Literal["refused"], pa.RecordBatch] | TaggedOutput[Literal["tally"], Tally]]:
    """What `parted` answers, as outputs of a DoFn, counted."""
    if repeated:
        count(REPEATED, repeated)
        yield TaggedOutput("tally", Tally(REPEATED, "", repeated))
    if conflicts.num_rows:
        count(REFUSED, conflicts.num_rows)
        yield TaggedOutput("refused", conflicts)
    if kept.num_rows:
        yield kept
