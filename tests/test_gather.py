"""Gather: which shard, when a batch is formed, what comes of it, and that what it holds is bounded."""

import io
import json
from datetime import timedelta
from functools import partial
from typing import Any

import fastavro
import pyarrow as pa
import pytest

from tests.contracts import plain_contract
from tests.gathering import SECOND, START, SUBSCRIPTION, Out, gathered, make_decoder, message, when
from transforms.formats.block import Block, Message
from transforms.formats.messages import ENCODING, Front
from transforms.gather import DecodeBlock, id_of
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


@pytest.mark.parametrize("item", [
    Message(b"", "", 0, {}), Message(b"\x00\xff", "1234", START, {"a": "b", "ü": ""}), Message(b"x" * 100_000, "1", -5, {}),
])
def test_messages_survive_state(item: Message) -> None:
    coder = MessageCoder()
    again = coder.decode(coder.encode(item))
    assert again == item and isinstance(again, Message)
