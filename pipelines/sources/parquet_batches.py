"""Parquet files as streams of Arrow batches, with limits from the footer and the page headers before anything is decoded.

Strings stay dictionary-encoded on the way: a file of a few kB may repeat one long string a million times.
"""

import io
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.sources.broken import Unreadable
from pipelines.sources.parquet_pages import Declared, declared, largest_page
from schemas.errors import Reason
from transforms.formats.block import Block

_MAGIC = b"PAR1"
_ENDING = 8  # bytes: length of the footer, magic
_ALLOWED = 64 << 20  # bytes that any file may unpack to, and any page
_RATIO = 100  # bytes declared to bytes of the file
_ROWS_A_BYTE = 1_000
_REPEATED = 1_000  # bytes of the rows written out to bytes of the file
_LONGEST_FOOTER = 16 << 20
_MOST_COLUMNS = 10_000
_MOST_ROWS = 25_000  # of a block
_UNDECODABLE = (pa.ArrowException, OSError, OverflowError, ValueError)


class _Watched(io.RawIOBase):
    """The file, remembering a failed read: Arrow makes it look like damage of the file, and it is none."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self.failure: OSError | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        try:
            return self._file.read(size)
        except OSError as failure:
            self.failure = failure
            raise

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def parquet_blocks(file: io.BufferedReader, path: str, index: int, block_bytes: int) -> Iterator[Block]:
    """Blocks of at most 25,000 rows and about block_bytes written out; Block.data is an Arrow IPC stream.

    Raises Unreadable: TRUNCATED (no footer), MALFORMED (damaged), TOO_LARGE (a bomb), after the rows before it; and the
    OSError of a file that cannot be reached.
    """
    size = file.seek(0, io.SEEK_END)
    footer = _footer(file, size)
    watched = _Watched(file)
    start = written_out = 0
    try:
        found = declared(footer)
        page = _check(found, watched, size)
        encoded = [name for name in found.columns if name not in found.deltas]
        parquet = pq.ParquetFile(pa.PythonFile(watched, mode="r"), read_dictionary=encoded, pre_buffer=False, buffer_size=1 << 20)
        # Of a column of deltas Arrow writes each string out, up to a page long: few rows at once where its pages are large.
        most = max(_ALLOWED // max(page * len(found.deltas), 1), 1) if found.deltas else _MOST_ROWS
        for batch in map(_encoded, parquet.iter_batches(min(most, _MOST_ROWS), use_threads=False)):
            batch.validate()
            sizes = np.cumsum(_row_sizes(batch))
            written_out += int(sizes[-1]) if len(sizes) else 0
            if written_out > _REPEATED * size + _ALLOWED:
                raise Unreadable(Reason.TOO_LARGE, start)
            for piece in _pieces(batch, sizes, block_bytes):
                yield Block(path, "parquet", index, start, piece.num_rows, _ipc(piece))
                start += piece.num_rows
    except _UNDECODABLE:
        if watched.failure is not None:
            raise watched.failure from None
        raise Unreadable(Reason.MALFORMED, start) from None
    if start != found.rows:
        raise Unreadable(Reason.MALFORMED, start)


def _footer(file: io.BufferedReader, size: int) -> bytes:
    """The footer of a file that begins and ends as a Parquet file does. Raises Unreadable."""
    file.seek(0)
    begin = file.read(len(_MAGIC))
    file.seek(max(size - _ENDING, 0))
    end = file.read(_ENDING)
    if not _MAGIC.startswith(begin):
        raise Unreadable(Reason.MALFORMED, 0)
    if size < len(_MAGIC) + _ENDING or end[4:] != _MAGIC:
        raise Unreadable(Reason.TRUNCATED, 0)
    length = int.from_bytes(end[:4], "little")
    if length > size - len(_MAGIC) - _ENDING:
        raise Unreadable(Reason.MALFORMED, 0)
    if length > _LONGEST_FOOTER:
        raise Unreadable(Reason.TOO_LARGE, 0)
    file.seek(size - _ENDING - length)
    return file.read(length)


def _check(found: Declared, watched: _Watched, size: int) -> int:
    """The bytes of its largest page, unpacked. Raises Unreadable where it declares too much, ValueError where it declares what cannot be."""
    if found.rows < 0 or any(end > size for _, end in found.chunks):
        raise ValueError("footer")
    if len(found.columns) > _MOST_COLUMNS or found.rows > _ROWS_A_BYTE * size or found.unpacked > _RATIO * size + _ALLOWED:
        raise Unreadable(Reason.TOO_LARGE, 0)
    page = 0
    for begin, end in found.chunks:
        page = max(page, largest_page(watched, begin, end))
        if page > _ALLOWED:
            raise Unreadable(Reason.TOO_LARGE, 0)
    return page


def _encoded(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with all its strings dictionary-encoded."""
    texts = (pa.types.is_string, pa.types.is_binary, pa.types.is_large_string, pa.types.is_large_binary)
    columns = [c.dictionary_encode() if any(kind(c.type) for kind in texts) else c for c in batch.columns]
    return pa.RecordBatch.from_arrays(columns, batch.schema.names)


def _row_sizes(batch: pa.RecordBatch) -> npt.NDArray[np.int64]:
    """About how many bytes each row has when its strings, which all are dictionary-encoded, are written out."""
    sizes = np.full(batch.num_rows, 8 * batch.num_columns, np.int64)
    for column in batch.columns:
        if pa.types.is_dictionary(column.type):
            lengths = pc.binary_length(column.dictionary)
            sizes += pc.fill_null(lengths.take(column.indices), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    return sizes


def _pieces(batch: pa.RecordBatch, sizes: npt.NDArray[np.int64], block_bytes: int) -> Iterator[pa.RecordBatch]:
    """The batch in slices of about block_bytes, one row at least. sizes: running sum of the rows' sizes."""
    begin = 0
    while begin < batch.num_rows:
        before = int(sizes[begin - 1]) if begin else 0
        end = max(begin + 1, int(np.searchsorted(sizes, before + block_bytes, side="right")))
        piece = batch.slice(begin, end - begin)
        yield piece if piece.num_rows == batch.num_rows else _without_unused(piece)
        begin = end


def _without_unused(piece: pa.RecordBatch) -> pa.RecordBatch:
    """The slice without the strings that only other slices use."""
    columns = [c.dictionary_decode().dictionary_encode() if pa.types.is_dictionary(c.type) else c for c in piece.columns]
    return pa.RecordBatch.from_arrays(columns, piece.schema.names)


def _ipc(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    data: bytes = sink.getvalue().to_pybytes()
    return data
