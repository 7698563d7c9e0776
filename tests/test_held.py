"""What a shard holds: bounded by the horizon, and no answer changed by how it is kept."""

from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MAX_TIMESTAMP, Timestamp
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.contracts import plain_contract
from tests.gathering import SECOND, SUBSCRIPTION
from transforms import held
from transforms.formats.block import Block, Message
from transforms.gather import _GatherFn
from transforms.marks import Marks
from transforms.message_coder import MessageCoder


class Bag(list):  # type: ignore[type-arg]
    add, read = list.append, list.__iter__


class Value:
    now: Any = None

    def read(self) -> Any:
        return self.now

    def write(self, value: Any) -> None:
        self.now = value

    def clear(self) -> None:
        self.now = None


class Timer:
    at: Any = None

    def set(self, at: Any) -> None:
        self.at = at


class Shard:
    """One key of the stateful step, without a runner."""

    def __init__(self, fn: _GatherFn) -> None:
        self.fn = fn
        fn.setup()
        self.waiting, self.size, self.fresh, self.settled, self.reached, self.flush = Bag(), Value(), Bag(), Bag(), Value(), Timer()

    def take(self, item: Message, at: Timestamp | None = None) -> list[Any]:
        states = (self.waiting, self.size, self.fresh, self.settled, self.reached)
        return list(self.fn.process((0, item), at or Timestamp(micros=item.published), GlobalWindow(), *states, self.flush))

    def marks(self) -> int:
        return sum(map(held.size, [*self.fresh, *self.settled]))


def rows_only(block: Block) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Decodes data that is "ID CONTENT TIME", all numbers."""
    columns = np.array([m.data.split() for m in block.messages]).astype(np.int64).T
    n = len(block.messages)
    day = pa.array([0] * n, pa.int32()).cast(pa.date32())
    events = pa.RecordBatch.from_arrays(
        [pa.array(columns[0]).cast(pa.string()), pa.array(columns[2]).cast(pa.timestamp("us", "UTC")), pa.array([""] * n), pa.array([m.id for m in block.messages]),
         day, pa.array(columns[0]), pa.array(columns[1])], ["id", "at", "text", "origin", "d", "id_hash", "content_hash"])
    return events, pa.RecordBatch.from_pylist([], pa.schema([("row", pa.binary())]))


def numbers(number: int, ident: int, content: int, time: int) -> Message:
    return Message(b"%d %d %d" % (ident, content, time), f"{number:09d}", number, {})


def numbers_shard(most: int, horizon: timedelta) -> Shard:
    contract = plain_contract(horizon=horizon)
    return Shard(_GatherFn(contract, SUBSCRIPTION, lambda: rows_only, most, 1 << 30, timedelta(seconds=1)))


def test_the_timer_lies_within_time() -> None:
    shard = numbers_shard(10, timedelta(hours=1))
    shard.take(numbers(0, 1, 1, 0), MAX_TIMESTAMP)
    assert shard.flush.at == GlobalWindow().max_timestamp()


def test_what_is_held_is_bounded_by_the_horizon() -> None:
    """Thirty horizons of a stream, 1,200 rows a horizon, every fourth a copy of one almost a horizon old: all are found, and what is held stays bounded."""
    shard = numbers_shard(20, timedelta(hours=1))
    most = repeated = 0
    for i in range(36_000):
        event = i - 1101 if i % 4 == 3 and i > 1101 else i
        outputs = shard.take(numbers(i, event, 7, event * 3 * SECOND))
        repeated += sum(o.value.rows for o in outputs if not isinstance(o, pa.RecordBatch) and o.tag == "tally" and o.value.fate == "repeated")
        most = max(most, shard.marks())
        assert len(shard.fresh) <= held.FRESH
    assert repeated == sum(i % 4 == 3 for i in range(1102, 36_000))
    assert 2 * 900 < most < 6 * 900, "rows that are held; 900 are stored a horizon"
    assert len(shard.settled) < 100


HORIZON = 48
a_step = st.tuples(st.integers(0, 2), st.sampled_from([0, 0, 1, 20, HORIZON - 2, HORIZON]), st.integers(0, 30), st.integers(0, 1))


def oracle(rows: list[tuple[int, int, int]], horizon: int) -> list[str]:
    kept: list[tuple[int, int, int]] = []
    fates = []
    for ident, content, time in rows:
        near = [c for i, c, t in kept if i == ident and abs(t - time) <= horizon]
        fates.append("repeated" if content in near else "conflict" if near else "stored")
        if not near:
            kept.append((ident, content, time))
    return fates


@settings(max_examples=12, deadline=None, derandomize=True, phases=[Phase.generate])
@given(st.lists(a_step, min_size=300, max_size=500), st.integers(1, 3))
def test_chunks_that_are_merged_and_dropped_change_no_answer(steps: list[tuple[int, int, int, int]], most: int) -> None:
    """Rows up to a horizon out of order, hundreds of batches."""
    shard, rows, now = numbers_shard(most, timedelta(microseconds=HORIZON)), [], 1000
    for ahead, behind, ident, content in steps:
        now += ahead
        rows.append((ident, content, now - behind))
    rows += [(1000 + i, 0, now) for i in range(most)]  # so that none of the rows above waits
    outputs = [o for i, row in enumerate(rows) for o in shard.take(numbers(i, *row))]
    stored = {int(o) for batch in outputs if isinstance(batch, pa.RecordBatch) for o in batch["origin"].to_pylist()}
    conflicts = {int(o) for t in outputs if not isinstance(t, pa.RecordBatch) and t.tag == "refused" for o in t.value["origin"].to_pylist()}
    n = len(rows) - most
    assert ["stored" if i in stored else "conflict" if i in conflicts else "repeated" for i in range(n)] == oracle(rows, HORIZON)[:n]


def chunk(*rows: tuple[int, int, int], reached: int) -> bytes:
    return held.packed(Marks(*np.array(rows, np.int64).T), reached)


@pytest.mark.parametrize(("ids", "expected", "remark"), [
    ([5], [(5, 50, 1), (5, 51, 90)], "in both chunks"),
    ([9, 7, 9], [(7, 70, 2), (9, 90, 91)], "sorted by id, once each"),
    ([6], None, "in none"),
    ([], None, "of nothing"),
])
def test_copies(ids: list[int], expected: list[tuple[int, int, int]] | None, remark: str) -> None:
    chunks = [chunk((7, 70, 2), (5, 50, 1), reached=2), chunk((9, 90, 91), (5, 51, 90), reached=91)]
    found = held.copies(chunks, np.array(ids, np.int64))
    assert (None if found is None else sorted(zip(*(c.tolist() for c in found)))) == expected, remark
    assert found is None or (np.diff(found.ids) >= 0).all()


def test_what_is_merged_is_dropped_when_its_newest_row_is_two_horizons_old() -> None:
    horizon = timedelta(microseconds=100)
    fresh = [chunk((i, 0, i), reached=i) for i in range(0, 200, 5)]
    chunks, instead = held.settled([], fresh, horizon)
    assert not instead and sum(map(held.size, chunks)) == 40
    assert all(held.greatest([c]) - min(held.copies([c], np.arange(200)).times) <= 25 for c in chunks), "none is longer than a quarter of the horizon"  # type: ignore[union-attr]
    later, instead = held.settled(chunks, [chunk((1, 0, 320), reached=320)], horizon)
    assert instead and min(held.copies(later, np.arange(200)).times) == 120, "half of it is gone: written anew"  # type: ignore[union-attr]
    kept, instead = held.settled(chunks, [chunk((1, 0, 210), reached=210)], horizon)
    assert not instead and sum(map(held.size, kept)) == 1, "little is gone: only the new ones are added"


def test_many_small_chunks_are_put_together() -> None:
    small = [chunk((i, 0, i), reached=0) for i in range(50)]
    chunks, instead = held.settled(small, [chunk((99, 0, 0), reached=0)], timedelta(hours=1))
    assert instead and [held.size(c) for c in chunks] == [51]


def test_what_is_kept_is_the_same_bytes_in_the_next_version() -> None:
    """State outlives a version of this code: these bytes may never change."""
    assert MessageCoder().encode(Message(b"{}", "12", 300, {"k": "v"})).hex() == "027b7d" + "023132" + "ac02" + "00000001" + "016b" + "0176"
    assert held.packed(Marks(*np.array([[2, 1], [20, 10], [200, 100]], np.int64)), 200).hex() == "".join(
        n.to_bytes(8, "little").hex() for n in (200, 200, 1, 2, 10, 20, 100, 200))

