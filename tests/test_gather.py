"""Gather: which shard, when a batch is formed, what comes of it, and that what it holds is bounded."""

import io
import json
from datetime import timedelta
from functools import partial
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MAX_TIMESTAMP, Timestamp
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.contracts import plain_contract
from tests.gathering import SECOND, START, SUBSCRIPTION, Out, gathered, make_decoder, message, when
from transforms import held
from transforms.deduplicate import Marks
from transforms.formats.block import Block, Message
from transforms.formats.messages import ENCODING, Front
from transforms.gather import DecodeBlock, _GatherFn, id_of
from transforms.message_coder import MessageCoder

CONTRACT = plain_contract()
SCHEMA = json.dumps({"type": "record", "name": "Event", "fields": [
    {"name": "id", "type": "string"}, {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    {"name": "text", "type": ["null", "string"]}]}).encode()
HOUR = 3600 * SECOND


def as_avro(number: int, ident: str, time: int, text: str = "") -> Message:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(json.loads(SCHEMA)), {"id": ident, "at": time, "text": text})
    return Message(out.getvalue(), f"{number:09d}", time, {ENCODING: "BINARY"})


@pytest.mark.parametrize(("data", "attributes", "filled", "expected", "remark"), [
    (b'{"id": "a-1", "text": null}', {}, (), "a-1", "JSON: the contract's id field"),
    (b'{"text": "\\u0061", "id": "\\u0061-1"}', {}, (), "a-1", "however it is written"),
    (as_avro(7, "a-1", START).data, {ENCODING: "BINARY"}, (), "a-1", "Avro"),
    (b'{"id": "a-1"}', {"key": "b-2"}, (("id", "key"),), "b-2", "an attribute takes the field's place"),
    (b'{"id": "a-1"}', {}, (("id", "key"),), "m7", "the attribute is absent"),
    (b'{"id": "a-1"}', {"when": "5"}, (("at", "when"),), "a-1", "another field's attribute"),
    (b'{"id": ', {}, (), "m7", "broken JSON"),
    (b'[{"id": "a-1"}]', {}, (), "m7", "not an object"),
    (b'{"id": 5}', {}, (), "m7", "not a string"),
    (b'{"id": "a-1"}' + b" " * 1000, {}, (), "m7", "too large to look into"),
    (b"", {}, (), "m7", "nothing"),
    (b"\xff\xfe", {ENCODING: "BINARY"}, (), "m7", "broken Avro"),
])
def test_which_id(data: bytes, attributes: dict[str, str], filled: tuple[tuple[str, str], ...], expected: str, remark: str) -> None:
    assert id_of(Message(data, "m7", START, attributes), CONTRACT, Front(SCHEMA, filled, "at")) == expected, remark


def rows_of_batches(out: Out) -> list[int]:
    return [batch.num_rows for batch in out.events]


def a_second_apart(n: int) -> list[Message]:
    return [message(i, f"r{i}", START + i * SECOND) for i in range(n)]


@pytest.mark.parametrize(("steps", "options", "expected", "remark"), [
    ([a_second_apart(7)], {"most": 3}, [3, 3, 1], "by count, the rest at the drain"),
    ([a_second_apart(4)], {"most_bytes": 120}, [2, 2], "by bytes"),
    ([a_second_apart(3), START + SECOND - 1000, a_second_apart(5)[3:]], {}, [5], "not before the wait is over"),
    ([a_second_apart(3), START + SECOND, a_second_apart(5)[3:]], {}, [3, 2], "when the watermark is a second past the first one"),
    ([a_second_apart(1), START + 600 * SECOND, a_second_apart(2)[1:], START + 601 * SECOND], {}, [1, 1], "behind the watermark: at once"),
    ([a_second_apart(2), START + SECOND, a_second_apart(4)[2:], START + 3 * SECOND], {"most": 2}, [2, 2], "a timer that finds nothing"),
    ([a_second_apart(5)], {"wait": timedelta(days=400_000)}, [5], "a wait beyond the end of time ends at the drain"),
    ([], {}, [], "no message at all"),
])
def test_when_a_batch_is_formed(steps: list[Any], options: dict[str, Any], expected: list[int], remark: str) -> None:
    out = gathered(CONTRACT, steps, shards=1, **options)
    assert rows_of_batches(out) == expected, remark
    assert out.sum("read") == sum(len(s) for s in steps if isinstance(s, list))


def test_every_message_ends_in_one_fate() -> None:
    first = [message(0, "a", START, "one"), message(1, "b", START), Message(b"{", "broken", START, {}), message(2, "a", START, "one")]
    later = [message(3, "a", START, "two"), message(4, "b", START), message(5, "c", START + 600 * SECOND, published=START), message(6, "b", START + 2 * HOUR)]
    again = [message(1, "b", START)]  # the same message, redelivered
    out = gathered(CONTRACT, [first, START + HOUR, later, START + 2 * HOUR, again], shards=4)
    origins = {row["origin"].removeprefix(SUBSCRIPTION + ":") for row in out.rows()}
    assert origins == {"000000000", "000000001", "000000006"}
    assert sorted((r["stage"], r["reason"], r["origin"].removeprefix(SUBSCRIPTION + ":")) for r in out.refusals()) == [
        ("decode", "future", "000000005"), ("decode", "malformed", "broken"), ("deduplicate", "conflict", "000000003")]
    assert json.loads(next(r["row"] for r in out.refusals() if r["reason"] == "conflict"))["text"] == "two"
    assert out.sum("repeated") == 3
    assert out.sum("read") == len(out.rows()) + len(out.refusals()) + out.sum("repeated") == 9


def test_first_by_publishing_not_by_arrival() -> None:
    late, early = message(1, "a", START, "late", START + SECOND), message(2, "a", START, "early", START)
    assert [row["text"] for row in gathered(CONTRACT, [[late], [early]]).rows()] == ["early"]


def test_json_and_avro_copies_meet_in_one_shard() -> None:
    copies = [message(i, f"r{i}", START + i, "x") for i in range(40)] + [as_avro(100 + i, f"r{i}", START + i, "x") for i in range(40)]
    out = gathered(CONTRACT, [copies[:40], START + 60 * SECOND, copies[40:]], Front(SCHEMA))
    assert (len(out.rows()), out.sum("repeated"), out.refusals()) == (40, 40, [])


def test_watermark_is_of_before_the_batch_and_never_goes_back() -> None:
    times = [0, 100, 50, 40, 400]  # seconds; one batch each
    rows = [message(i, f"r{i}", START + t * SECOND, published=START + (500 + i) * SECOND) for i, t in enumerate(times)]
    rows.insert(4, message(9, "r0", START + 300 * SECOND, "other", START + 504 * SECOND - 1000))  # a conflict is not believed
    out = gathered(CONTRACT, [[row] for row in rows], shards=1, most=1)
    told = [(row["watermark"] and when(int(row["watermark"].timestamp() * 1e6))) for row in out.rows()]
    assert told == [None, *(when(START + (t - 60) * SECOND) for t in (0, 100, 100, 100))]
    assert {batch.schema.field("watermark").type for batch in out.events} == {pa.timestamp("us", "UTC")}


def test_watermark_is_each_shards_own() -> None:
    rows = [message(i, f"r{i}", START + i * SECOND) for i in range(12)]
    out = gathered(CONTRACT, [[row] for row in rows], shards=4, most=1)
    assert 1 < sum(row["watermark"] is None for row in out.rows()) <= 4


_FAILURES: list[int] = []


def failing_decoder(contract: Any) -> DecodeBlock:
    decode = make_decoder(contract)

    def sometimes(block: Block) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        if block.rows > 2 and len(_FAILURES) < 2:
            _FAILURES.append(1)
            raise OSError("something outside")
        return decode(block)
    return sometimes


def test_a_bundle_that_is_tried_again_counts_once() -> None:
    """The runner gives a bundle again that failed: nothing of the first try may be left."""
    _FAILURES.clear()
    rows = [message(i, f"r{i % 5}", START + i % 5 * SECOND) for i in range(10)]
    out = gathered(CONTRACT, [rows[:4], START + HOUR, rows[4:]], decoder=partial(failing_decoder, CONTRACT), shards=1)
    assert len(_FAILURES) == 2
    assert (len(out.rows()), out.sum("read"), out.sum("repeated")) == (5, 10, 5)


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


@pytest.mark.parametrize("item", [
    Message(b"", "", 0, {}), Message(b"\x00\xff", "1234", START, {"a": "b", "ü": ""}), Message(b"x" * 100_000, "1", -5, {}),
])
def test_messages_survive_state(item: Message) -> None:
    coder = MessageCoder()
    again = coder.decode(coder.encode(item))
    assert again == item and isinstance(again, Message)


def test_what_is_kept_is_the_same_bytes_in_the_next_version() -> None:
    """State outlives a version of this code: these bytes may never change."""
    assert MessageCoder().encode(Message(b"{}", "12", 300, {"k": "v"})).hex() == "027b7d" + "023132" + "ac02" + "00000001" + "016b" + "0176"
    assert held.packed(Marks(*np.array([[2, 1], [20, 10], [200, 100]], np.int64)), 200).hex() == "".join(
        n.to_bytes(8, "little").hex() for n in (200, 200, 1, 2, 10, 20, 100, 200))

