"""What a source hands to Decode, and what a format makes of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from schemas.errors import Reason


class Message(NamedTuple):
    """One Pub/Sub message. id: the service's, one for each time it was published; published: by the service's clock, in
    microseconds since 1970."""

    data: bytes
    id: str
    published: int
    attributes: dict[str, str]


@dataclass(frozen=True)
class Block:
    """A piece of one file that holds whole rows, or the messages of one run.

    path and index: the file and its place in the sorted list of inputs; start: byte offset (ndjson, csv) or row number
    (avro, parquet) of the first row; rows: how many the source counted; data: the bytes (for parquet: one Arrow IPC stream);
    head: what the format needs beside them (csv: the header line; avro: the writer's schema as JSON).
    Of messages, path is the subscription, index the number of the run, start 0 and data empty; of opened failures likewise, without a path.
    """

    path: str
    format: str
    index: int
    start: int
    rows: int
    data: bytes
    head: bytes = b""
    messages: tuple[Message, ...] = ()

    @property
    def key(self) -> str:
        """Names the block, and files written from it: the same in every try. Sorts as the input does."""
        return f"{self.index:06d}-{self.start:014d}"


class Rows(NamedTuple):
    """A chunk of rows, as JSON would have them: timestamps and dates are strings, all else str, int, float, bool or None.

    rows[i] stands at offsets[i] (see Block.start; of messages: which one of the block's it is); raw(i) is row i as it was read,
    for sealing; refused holds what is no row at all: (reason, field, offset, as read).
    """

    rows: list[dict[str, Any]]
    offsets: list[int]
    raw: Callable[[int], bytes]
    refused: list[tuple[Reason, str | None, int, bytes]]
