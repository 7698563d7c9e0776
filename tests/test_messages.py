"""Messages into rows: the three ways a body is written, attributes that fill fields, times that are not believed."""

import io
import json
from collections.abc import Callable
from datetime import date, datetime, timezone
from typing import Any

import fastavro
import pyarrow as pa
import pytest

from schemas.contract import Contract, load
from schemas.errors import Reason
from schemas.place import content
from tests.contracts import plain_contract
from transforms.columns import Typing
from transforms.decode import AHEAD, Digest, decode
from transforms.formats.avro_datum import only_datum
from transforms.formats.block import Block
from transforms.formats.messages import ENCODING, Front, Message, front, parse
from transforms.formats.ndjson import CHUNK

PATH = "projects/p/subscriptions/s"
PUBLISHED = 1_772_618_400_000_000  # 2026-03-04T10:00:00Z
AT = "2026-03-04T10:00:00Z"
SCHEMA = json.dumps({"type": "record", "name": "Event", "fields": [
    {"name": "id", "type": "string"}, {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    {"name": "text", "type": ["null", "string"]}]}).encode()
FRONT = Front(SCHEMA)


def _block(*messages: Message) -> Block:
    return Block(PATH, "messages", 7, 0, len(messages), b"", messages=messages)


def _message(data: bytes, id: str = "1", published: int = PUBLISHED, **attributes: str) -> Message:
    return Message(data, id, published, attributes)


def _datum(schema: bytes, row: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(json.loads(schema)), row)
    return out.getvalue()


def _container(schema: bytes, rows: list[dict[str, Any]], codec: str = "null") -> bytes:
    out = io.BytesIO()
    fastavro.writer(out, fastavro.parse_schema(json.loads(schema)), rows, codec=codec, sync_marker=bytes(range(16)))
    return out.getvalue()


def _decoded(block: Block, contract: Contract, front: Front = FRONT, days: frozenset[date] | None = None) -> tuple[pa.RecordBatch, list[dict[str, Any]]]:
    events, refused = decode(block, contract, Typing(contract), Digest(contract, bytes(32)), days, front)
    assert events.num_rows + refused.num_rows == block.rows
    return events, refused.to_pylist()


def _row(row: bytes, limit: int = 1000, front: Front = FRONT, **attributes: str) -> Any:
    """The row of one message, or the reason and the bytes that are sealed."""
    (rows,) = parse(_block(_message(row, **attributes)), front, limit)
    assert len(rows.rows) + len(rows.refused) == 1 and (rows.offsets or [rows.refused[0][2]]) == [0]
    return rows.rows[0] if rows.rows else (rows.refused[0][0], rows.refused[0][3])


EVENT = {"id": "a", "at": AT, "text": "t"}
BINARY = {ENCODING: "BINARY"}
STAMPED = {"id": "a", "at": datetime(2026, 3, 4, 10, tzinfo=timezone.utc), "text": "t"}


@pytest.mark.parametrize("text", [
    b'{"id":"a","at":"2026-03-04T10:00:00Z","text":"t"}', b' {"id" : "a",\n\t"at"\n:\n"2026-03-04T10:00:00Z",\r\n"text":"t"}\n\n',
    b'{"i\\u0064":"a","at":"2026-03-04T10:00:00Z","text":"t"}'])
def test_a_json_message(text: bytes) -> None:
    assert _row(text) == EVENT
    assert _row(text, **{ENCODING: "JSON"}) == EVENT


@pytest.mark.parametrize("text", [
    b"", b"\n", b"{", b"[]", b'"a"', b"null", b'{"id":"a"}{"id":"b"}', b'{"id":"a"}\n{"id":"b"}', b'{"id":"a","id":"b"}', b'{"id":"a",\n"id"\n:"b"}',
    b'{"id":"a\nb"}', b'{"id":NaN}', b'{"id":"\xff"}', b'\xef\xbb\xbf{"id":"a"}', b'{"x":' * 2000, b'{"i\\u0064":1,"id":2}', b'{"id":"\\ud800"}'])
def test_json_messages_that_are_no_row(text: bytes) -> None:
    assert _row(text, 20_000) == (Reason.MALFORMED, text)


def test_a_message_may_be_as_long_as_the_contract_says() -> None:
    text = json.dumps(EVENT).encode()
    assert _row(text, len(text)) == EVENT
    assert _row(text, len(text) - 1) == (Reason.TOO_LARGE, text)


def test_a_repeated_key_is_found_whatever_its_neighbours_hold() -> None:
    """Keys are counted in the joined texts: no neighbour may make up for one."""
    texts = [b'{"a":1,"b":2}', b'{"id":1,"id":2}', b'":', b'{"a":"\\":"}', b':', b'{"id":1,"id":2}', b'"', b'{"a" :1}', b'{"a":{"b":1}}']
    (rows,) = parse(_block(*map(_message, texts)), FRONT, 1000)
    assert rows.offsets == [0, 3, 7, 8] and sorted(r[2] for r in rows.refused) == [1, 2, 4, 5, 6]
    assert [rows.raw(i) for i in range(4)] == [texts[i] for i in rows.offsets]


def test_an_avro_datum() -> None:
    datum = _datum(SCHEMA, STAMPED)
    assert _row(datum, **BINARY) == EVENT | {"at": "2026-03-04T10:00:00.000000Z"}
    (rows,) = parse(_block(_message(datum, **BINARY)), FRONT, 1000)
    assert json.loads(rows.raw(0)) == rows.rows[0]


@pytest.mark.parametrize(("data", "reason"), [
    (_datum(SCHEMA, STAMPED) + b"\x00", Reason.MALFORMED),  # bytes are left over
    (_datum(SCHEMA, STAMPED) * 2, Reason.MALFORMED),
    (_datum(SCHEMA, STAMPED)[:-1], Reason.MALFORMED),
    (b"", Reason.MALFORMED),
    (b"\x02\xff" + _datum(SCHEMA, STAMPED)[2:], Reason.MALFORMED),  # bad UTF-8
    (b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", Reason.MALFORMED),  # a string of 2**63 - 1 bytes
    (_datum(SCHEMA, STAMPED | {"text": "t" * 2000}), Reason.TOO_LARGE),
    (b"".join([b"\xd0\x0f", b"t" * 1000]), Reason.MALFORMED),
    (json.dumps(EVENT).encode(), Reason.MALFORMED),
])
def test_avro_datums_that_are_no_row(data: bytes, reason: Reason) -> None:
    assert _row(data, **BINARY) == (reason, data)


@pytest.mark.parametrize("schema", [b"", b"{}", b'{"type":"record","name":"r","fields":[{"name":"a","type":{"type":"array","items":"null"}}]}'])
def test_a_datum_is_refused_where_no_schema_that_can_be_read_is_known(schema: bytes) -> None:
    hostile = b"\x80\x8c\x8d\x9e\x02\x00"  # 300,000,000 nulls, where arrays were read
    assert _row(hostile, front=Front(schema), **BINARY) == (Reason.MALFORMED, hostile)
    assert _row(_container(b'{"type":"array","items":"null"}', [[None] * 3]))[0] is Reason.MALFORMED  # type: ignore[list-item]


@pytest.mark.parametrize("codec", ["null", "deflate"])
def test_an_avro_container_brings_its_schema(codec: str) -> None:
    other = json.dumps({"type": "record", "name": "Other", "fields": [{"name": "text", "type": "string"}, {"name": "id", "type": "string"}]}).encode()
    assert _row(_container(other, [{"text": "t", "id": "a"}], codec)) == {"text": "t", "id": "a"}
    assert _row(_container(other, [{"text": "t", "id": "a"}], codec), **BINARY) == {"text": "t", "id": "a"}


WHOLE = _container(SCHEMA, [STAMPED])


@pytest.mark.parametrize(("data", "reason"), [
    (_container(SCHEMA, []), Reason.MALFORMED), (_container(SCHEMA, [STAMPED] * 2), Reason.MALFORMED), (WHOLE + b"\x00", Reason.MALFORMED),
    (WHOLE + WHOLE[-16:], Reason.MALFORMED), (WHOLE[:-1], Reason.MALFORMED), (WHOLE[:-16] + bytes(16), Reason.MALFORMED), (b"Obj\x01", Reason.MALFORMED),
    (WHOLE.replace(b"avro.codec", b"avro.coded").replace(b"\x08null", b"\x08none"), None),  # no codec named: none used
    (WHOLE.replace(b"\x08null", b"\x08none"), Reason.MALFORMED),
    (_container(SCHEMA, [STAMPED | {"text": "t" * 1000}]), Reason.TOO_LARGE),
    (_container(SCHEMA, [STAMPED | {"text": "t" * 1000}], "deflate"), Reason.TOO_LARGE),
    (_container(SCHEMA, [STAMPED | {"text": "t" * 20_000_000}], "deflate"), Reason.TOO_LARGE),
    (b"Obj\x01" + b"\x02\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", Reason.MALFORMED),  # a name of 2**63 - 1 bytes
    (b"Obj\x01" + b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01" + bytes(900), Reason.MALFORMED),  # 2**63 - 1 entries
    (b"Obj\x01" + b"\x02\x02a\x00" * 250, Reason.MALFORMED),  # entries, one at a time
    (b"Obj\x01" + b"\xff" * 20, Reason.MALFORMED),
])
def test_avro_containers_with_other_than_one_row(data: bytes, reason: Reason | None) -> None:
    found = _row(data, 900)
    assert found == (EVENT | {"at": "2026-03-04T10:00:00.000000Z"} if reason is None else (reason, data))


def test_every_cut_and_every_changed_byte_of_a_container_is_a_row_or_refused() -> None:
    whole = _container(SCHEMA, [STAMPED], "deflate")
    broken = [whole[:n] for n in range(len(whole))] + [whole[:n] + bytes([whole[n] ^ bit]) + whole[n + 1:] for n in range(len(whole)) for bit in (1, 64, 128)]
    events, refused = _decoded(_block(*[_message(data, str(n)) for n, data in enumerate(broken)]), plain_contract())
    assert {r["origin"] for r in refused}.isdisjoint(events["origin"].to_pylist())
    assert {r["origin"] for r in refused} >= {f"{PATH}:{n}" for n in range(len(whole))}


def test_an_unpacked_datum_never_grows_past_the_limit() -> None:
    bomb = _container(SCHEMA, [STAMPED | {"text": "t" * 5_000_000}], "deflate")
    with pytest.raises(Exception, match="^$") as caught:
        only_datum(bomb, 1000)
    assert type(caught.value).__name__ == "Overfull"


def test_all_ways_of_writing_have_the_digests_of_the_same_rows_in_a_file() -> None:
    contract = load("census")
    lines = content(contract.place / "sample.ndjson", 10_000_000).splitlines()
    file = Block("f", "ndjson", 0, 0, len(lines), b"".join(line + b"\n" for line in lines))
    expected, _ = decode(file, contract, Typing(contract), Digest(contract, bytes(32)))
    schema = front(contract).schema
    sound = set(zip(*(expected[name].to_pylist() for name in (contract.id, "content_hash"))))
    assert expected.num_rows > 100
    later = 4_102_444_800_000_000  # in 2100

    def written(row: dict[str, Any], way: int) -> Message:
        id = str(row[contract.id])
        if way < 2:
            return Message(json.dumps(row, indent=way or None).encode(), id, later, {})
        given = {f.name: row.get(f.name) for f in contract.fields} | {contract.time: datetime.fromisoformat(row[contract.time].replace("Z", "+00:00"))}
        return Message(_datum(schema, given), id, later, BINARY) if way == 2 else Message(_container(schema, [given]), id, later, {})

    rows = [{f.name: expected[f.name][i].as_py() for f in contract.fields} for i in range(expected.num_rows)]
    texts = [row | {contract.time: row[contract.time].isoformat()} for row in rows]
    texts *= 2 * CHUNK // len(texts) + 1
    for ways in ((0,), (1,), (0, 1, 2, 3)):
        block = _block(*[written(row, ways[i % len(ways)]) for i, row in enumerate(texts)])
        events, refused = _decoded(block, contract, front(contract))
        assert refused == []
        assert set(zip(*(events[name].to_pylist() for name in (contract.id, "content_hash")))) == sound
        assert events["origin"].to_pylist() == [f"{PATH}:{id}" for id in events[contract.id].to_pylist()]


def _text(id: str = "a", at: str = AT, **more: str) -> bytes:
    return json.dumps({"id": id, "at": at} | more).encode()


def test_a_row_and_its_refusals_are_named_by_subscription_and_message() -> None:
    texts = [_text("a"), b"{", _text("B!"), _text("b", text="t" * 60), _text("c"), b'{"id":"d"}', _text("e", at="never"), _text("f", more="x")]
    events, refused = _decoded(_block(*[_message(text, f"m{n}") for n, text in enumerate(texts)]), plain_contract())
    assert dict(zip(events["origin"].to_pylist(), events["id"].to_pylist())) == {f"{PATH}:m0": "a", f"{PATH}:m4": "c"}
    assert {r["origin"]: (r["reason"], r["field"], r["row"]) for r in refused} == {
        f"{PATH}:m1": ("malformed", None, texts[1]), f"{PATH}:m2": ("out_of_range", "id", texts[2]), f"{PATH}:m3": ("out_of_range", "text", texts[3]),
        f"{PATH}:m5": ("missing_field", "at", texts[5]), f"{PATH}:m6": ("wrong_type", "at", texts[6]), f"{PATH}:m7": ("unknown_field", None, texts[7])}


@pytest.mark.parametrize("kind", ["messages", "ndjson"])
def test_times_ahead_of_the_message_are_not_believed(kind: str) -> None:
    """A file says nothing of when its rows were published: its times are believed."""
    assert AHEAD == 5 * 60 * 1_000_000
    ats = ["2026-03-04T10:05:00Z", "2026-03-04T10:05:00.000001Z", "1999-01-01T00:00:00Z", "9999-12-31T23:59:59Z"]
    texts = [_text(f"i{n}", at) for n, at in enumerate(ats)]
    block = _block(*[_message(text, str(n)) for n, text in enumerate(texts)])
    if kind == "ndjson":
        block = Block("f", "ndjson", 0, 0, 4, b"\n".join(texts))
    events, refused = _decoded(block, plain_contract())
    assert events["id"].to_pylist() == (["i0", "i2"] if kind == "messages" else ["i0", "i1", "i2", "i3"])
    assert [(r["reason"], r["field"], r["stage"], r["origin"], r["row"]) for r in refused] == (
        [("future", "at", "decode", f"{PATH}:{n}", texts[n]) for n in (1, 3)] if kind == "messages" else [])


def test_each_message_is_held_against_its_own_publish_time() -> None:
    later = AHEAD + 60_000_000
    rows = [_message(b"{", "x")] + [_message(_text(f"i{n}", "2026-03-04T10:06:00Z"), str(n), PUBLISHED + (later if n % 2 else 0)) for n in range(2 * CHUNK)]
    events, refused = _decoded(_block(*rows), plain_contract())
    assert events["id"].to_pylist() == [f"i{n}" for n in range(1, 2 * CHUNK, 2)]
    assert {r["reason"] for r in refused[1:]} == {"future"} and len(refused) == CHUNK + 1


ATTRIBUTES = Front(SCHEMA, (("id", "event_id"), ("at", "event_time")), "at")


@pytest.mark.parametrize("body", [b'{"text":"t"}', b'{"text":"t","id":7,"at":null}', _text("other", "1999-01-01T00:00:00Z", text="t")])
@pytest.mark.parametrize(("time", "at"), [
    ("2026-03-04T10:00:00Z", "2026-03-04T10:00:00+00:00"), ("2026-03-04T11:00:00.000001+01:00", "2026-03-04T10:00:00.000001+00:00"),
    ("1772618400123", "2026-03-04T10:00:00.123000+00:00"), ("0", "1970-01-01T00:00:00+00:00")])
def test_attributes_take_the_place_of_what_the_body_has(body: bytes, time: str, at: str) -> None:
    events, refused = _decoded(_block(_message(body, event_id="a", event_time=time)), plain_contract(), ATTRIBUTES)
    assert refused == [] and events["id"].to_pylist() == ["a"] and events["at"][0].as_py().isoformat() == at


@pytest.mark.parametrize(("attributes", "reason", "field"), [
    ({"event_id": "a"}, "missing_field", "at"), ({"event_time": AT}, "missing_field", "id"), ({}, "missing_field", "id"),
    ({"event_id": "", "event_time": AT}, "out_of_range", "id"), ({"event_id": "a", "event_time": ""}, "wrong_type", "at"),
    ({"event_id": "a", "event_time": "-1"}, "wrong_type", "at"), ({"event_id": "a", "event_time": "9" * 18}, "wrong_type", "at"),
    ({"event_id": "a", "event_time": "9" * 30}, "wrong_type", "at"), ({"event_id": "a", "event_time": "١٧٧٢"}, "wrong_type", "at"),
    ({"event_id": "a", "event_time": "1772619000000"}, "future", "at")])
def test_attributes_that_are_refused(attributes: dict[str, str], reason: str, field: str) -> None:
    others = [_message(_text(), str(n), event_id=f"i{n}", event_time=AT) for n in range(2)]
    block = _block(others[0], _message(_text(), "x", **attributes), others[1])
    events, refused = _decoded(block, plain_contract(), ATTRIBUTES)
    assert [(r["reason"], r["field"], r["origin"]) for r in refused] == [(reason, field, f"{PATH}:x")]
    assert events["id"].to_pylist() == ["i0", "i1"]
    sealed = json.loads(refused[0]["row"])
    if reason != "missing_field":  # what came in attributes is sealed too, or the row could not be read again
        assert sealed["id"] == "a" or attributes["event_id"] == ""
    assert not attributes or sealed["id"] in ("a", attributes.get("event_id"))


def test_the_front_of_a_contract() -> None:
    contract = load("census")
    avsc = content(contract.place / "event.avsc", 10_000_000)
    assert front(contract) == Front(avsc, (), contract.time)
    assert front(contract, "i", "t").filled == ((contract.id, "i"), (contract.time, "t"))
    assert front(contract, time_attribute="t").filled == ((contract.time, "t"),)


@pytest.mark.parametrize("make", [lambda: _block(), lambda: _block(_message(b"{"), _message(b"", **BINARY), _message(b"Obj\x01"))])
def test_a_block_without_a_row(make: Callable[[], Block]) -> None:
    events, refused = _decoded(make(), plain_contract())
    assert events.num_rows == 0 and events.schema.names[-1] == "content_hash" and {r["reason"] for r in refused} <= {"malformed"}
