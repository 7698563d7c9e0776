"""CSV files cut into blocks of whole records, the header line beside them."""

from collections.abc import Iterable, Iterator

from pipelines.sources.broken import KEPT, Unreadable
from pipelines.sources.lines import Lines
from schemas.errors import Reason
from transforms.formats.block import Block
from transforms.formats.csv import column_names
from transforms.formats.records import record_ends

_LONGEST_HEADER = 64 << 10  # bytes; it travels with every block and is sealed with every refused row


def csv_blocks(lines: Iterable[Lines], path: str, index: int) -> Iterator[Block]:
    """Blocks of whole records. The first line is the header and no row; a file without it has no rows.

    Raises Unreadable(MALFORMED) where the header is over 64 KiB or lines end in \\r alone, and whatever `lines` raises, after what was whole.
    """
    head: bytes | None = None
    columns, begin, rest = 1, 0, b""

    def block(data: bytes, ends: list[int]) -> Block:
        return Block(path, "csv", index, begin, len(ends), data, head or b"")

    try:
        for start, data, _ in lines:
            if head is None:
                end = data.find(b"\n") + 1 or len(data)
                if end > _LONGEST_HEADER or b"\r" in data[:end].rstrip(b"\r\n"):  # lines that end in \r alone would all be the header
                    raise Unreadable(Reason.MALFORMED, start, data[:KEPT])
                head, data, start = data[:end], data[end:], start + end
                columns = len(column_names(head) or [""])
            if not rest:
                begin = start
            data = rest + data
            ends, whole = record_ends(data, columns, final=False)
            if ends:
                yield block(data[:whole], ends)
            rest, begin = data[whole:], begin + whole
    except Unreadable:
        if rest:
            yield block(rest, record_ends(rest, columns)[0])
        raise
    if rest:
        yield block(rest, record_ends(rest, columns)[0])
