"""Messages of Pub/Sub: one row each, as a JSON object, an Avro datum by the contract's event.avsc, or an Avro container file.

Which it is, the message says: the attribute that a topic with a schema sets, or a container's first bytes. One bad message
refuses one message.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from schemas.contract import Contract
from schemas.errors import Reason
from transforms.formats import avro, ndjson
from transforms.formats.avro import FRAME
from transforms.formats.avro_datum import MAGIC, Overfull, only_datum
from transforms.formats.block import Block, Message, Rows
from transforms.formats.written import json_row, times

__all__ = ["Front", "Message", "front", "parse"]

ENCODING = "googclient_schemaencoding"  # cloud.google.com/pubsub/docs/schemas: BINARY or JSON, on messages of a topic with a schema
_MILLISECONDS = re.compile(r"[0-9]{1,18}")
_SEALED = 10_000_000  # bytes

Refused = tuple[Reason, str | None, int, bytes]


class Front(NamedTuple):
    """What is known of messages beside their bodies.

    schema: event.avsc, by which Avro datums were written; filled: (field, attribute) pairs, where the attribute's value takes
    the place of what the body has; time: the field whose attribute may be milliseconds since 1970 too.
    """

    schema: bytes = b""
    filled: tuple[tuple[str, str], ...] = ()
    time: str = ""


def front(contract: Contract, id_attribute: str = "", time_attribute: str = "") -> Front:
    """The front of a contract; attributes: "" where the body alone counts."""
    pairs = ((contract.id, id_attribute), (contract.time, time_attribute))
    return Front(contract.avsc.encode(), tuple(pair for pair in pairs if pair[1]), contract.time)


def parse(block: Block, front: Front, max_row_bytes: int) -> Iterator[Rows]:
    """Yields the block's messages in chunks, each as a row or refused (malformed, too_large, missing_field).

    raw(i) is a JSON message as it came, else the row as JSON; so it is too where attributes fill fields, which would be lost.
    """
    for first in range(0, len(block.messages), ndjson.CHUNK):
        chunk = block.messages[first:first + ndjson.CHUNK]
        binary = [i for i, m in enumerate(chunk) if m.data.startswith(MAGIC) or (m.attributes and m.attributes.get(ENCODING) == "BINARY")]
        for rows in _mixed(chunk, binary, first, front, max_row_bytes) if binary else (objects(chunk, range(first, first + len(chunk)), max_row_bytes),):
            yield _filled(rows, block.messages, front) if front.filled else rows


def objects(messages: Sequence[Message], offsets: Sequence[int], limit: int) -> Rows:
    """Bodies as JSON objects."""
    texts = [m.data for m in messages]
    ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)) + 1)
    keys = ndjson.key_counts(np.frombuffer(b"\n".join(texts), np.uint8), ends)
    return ndjson.objects(texts, list(offsets), keys, limit)


def _mixed(messages: Sequence[Message], binary: list[int], first: int, front: Front, limit: int) -> Iterator[Rows]:
    """A chunk with Avro messages in it. Those of one schema are one block of frames, one datum a frame."""
    apart = set(binary)
    rest = [i for i in range(len(messages)) if i not in apart]
    if rest:
        yield objects([messages[i] for i in rest], [first + i for i in rest], limit)
    refused: list[Refused] = []
    datums: dict[bytes, list[tuple[int, bytes]]] = {}
    for i in binary:
        schema, datum = front.schema, messages[i].data
        try:
            if datum.startswith(MAGIC):
                schema, datum = only_datum(datum, limit)
            datums.setdefault(schema, []).append((first + i, datum))
        except (Overfull, ValueError) as wrong:
            reason = Reason.TOO_LARGE if isinstance(wrong, Overfull) else Reason.MALFORMED
            refused.append((reason, None, first + i, messages[i].data[:_SEALED]))
    for schema, found in datums.items():
        frames = b"".join(FRAME.pack(1, len(datum)) + datum for _, datum in found)
        for rows in avro.parse(Block("", "avro", 0, 0, len(found), frames, schema), (), limit):
            yield Rows(rows.rows, [found[o][0] for o in rows.offsets], rows.raw,
                       [(reason, field, found[o][0], raw) for reason, field, o, raw in rows.refused])
    if refused:
        yield Rows([], [], lambda _: b"", refused)


def _filled(rows: Rows, messages: Sequence[Message], front: Front) -> Rows:
    """The rows with attributes in their fields. A message without one of them is refused."""
    refused = list(rows.refused)
    kept: list[int] = []
    for i, offset in enumerate(rows.offsets):
        absent = next((field for field, attribute in front.filled if attribute not in messages[offset].attributes), None)
        if absent is None:
            kept.append(i)
        else:
            refused.append((Reason.MISSING_FIELD, absent, offset, rows.raw(i)))
    found, offsets = [rows.rows[i] for i in kept], [rows.offsets[i] for i in kept]
    for field, attribute in front.filled:
        values: list[Any] = [messages[offset].attributes[attribute] for offset in offsets]
        for row, value in zip(found, _instants(values) if field == front.time else values):
            row[field] = value
    return Rows(found, offsets, lambda i: json_row(found[i]), refused)


def _instants(values: list[Any]) -> list[Any]:
    """Milliseconds since 1970 as RFC 3339; all else stays for the typing step to judge."""
    digits = [i for i, value in enumerate(values) if _MILLISECONDS.fullmatch(value)]
    for i, text in zip(digits, times(pa.array([int(values[i]) for i in digits], pa.timestamp("ms", "UTC")))):
        values[i] = text
    return values
