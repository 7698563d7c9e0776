"""Rows of failures that were opened again: a Block of messages, each of the form in which it was sealed.

A row of a file that was read as CSV is its header line, a newline and the record; all that was read otherwise, and all that
had come through Decode, is a JSON object; what came as a message is the message's body.
"""

from collections.abc import Iterator
from itertools import groupby

from schemas.errors import Reason
from schemas.fields import Field
from transforms.formats import csv, messages, ndjson
from transforms.formats.block import Block, Message, Rows
from transforms.formats.messages import Front

OPENED = "opened"  # the Block's format
FORM = "form"  # the attribute of its messages: one of these
JSON, CSV, BODY = "json", "csv", "body"
_APART = (b'"', b"\n", b"\r")


def parse(block: Block, fields: tuple[Field, ...], front: Front, max_row_bytes: int) -> Iterator[Rows]:
    """Yields the rows in their order, in chunks, each as a row or refused; raw(i) is what the row's own format answers."""
    first = 0
    for form, group in groupby(block.messages, key=lambda m: m.attributes[FORM]):
        found = tuple(group)
        for rows in _of(form, found, fields, front, max_row_bytes):
            yield _moved(rows, [first + o for o in rows.offsets], [first + o for _, _, o, _ in rows.refused])
        first += len(found)


def _of(form: str, found: tuple[Message, ...], fields: tuple[Field, ...], front: Front, limit: int) -> Iterator[Rows]:
    if form == CSV:
        yield from _records(found, fields, limit)
    elif form == BODY:
        yield from messages.parse(Block("", "messages", 0, 0, len(found), b"", messages=found), front, limit)
    else:
        for begin in range(0, len(found), ndjson.CHUNK):
            chunk = found[begin:begin + ndjson.CHUNK]
            yield messages.objects(chunk, range(begin, begin + len(chunk)), limit)


def _records(found: tuple[Message, ...], fields: tuple[Field, ...], limit: int) -> Iterator[Rows]:
    """Records under one header are read together, but for those that could be taken for one when they stand next to each other."""
    split = [m.data.partition(b"\n") for m in found]
    keyed = enumerate((head, record) for head, _, record in split)
    for (head, lonely), group in groupby(keyed, key=lambda each: (each[1][0], each[0] if any(c in each[1][1] for c in _APART) else -1)):
        positions, data, starts = list[int](), bytearray(), dict[int, int]()
        for position, (_, record) in group:
            starts[len(data)] = position
            positions.append(position)
            data += record if record.endswith(b"\r") else record + b"\n"  # the first stood at the end of a file: no newline followed
        parsed = list(csv.parse(Block("", "csv", 0, 0, len(positions), bytes(data), head), fields, limit))
        if lonely >= 0 and sum(len(rows.offsets) + len(rows.refused) for rows in parsed) != 1:
            yield Rows([], [], lambda _: b"", [(Reason.MALFORMED, None, lonely, found[lonely].data)])
            continue
        for rows in parsed:
            yield _moved(rows, [starts[o] for o in rows.offsets], [starts[o] for _, _, o, _ in rows.refused])


def _moved(rows: Rows, offsets: list[int], refused: list[int]) -> Rows:
    return Rows(rows.rows, offsets, rows.raw, [(reason, field, at, raw) for (reason, field, _, raw), at in zip(rows.refused, refused)])
