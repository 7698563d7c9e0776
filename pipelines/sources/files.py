"""Reads files into blocks of whole rows and counts the rows, before anyone has looked into one.

What cannot be taken apart into rows (a cut archive, a bomb, damaged framing) is one row read and one refused, and the rows
before it and the other files are read all the same.
"""

import io
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput
from apache_beam.typehints.decorators import no_annotations

from pipelines.sources.avro_blocks import avro_blocks
from pipelines.sources.broken import KEPT, SEALED, Broken, Unreadable
from pipelines.sources.csv_blocks import csv_blocks
from pipelines.sources.gcs import Changed
from pipelines.sources.gzip import unpacked_chunks
from pipelines.sources.lines import REST, first_line, range_chunks, whole_lines
from pipelines.sources.listing import InputFile, Range, groups, listed, ranges
from pipelines.sources.opening import open_file
from pipelines.sources.parquet_batches import parquet_blocks
from pipelines.sources.row_check import CheckRows, FileRows
from pipelines.sources.verdict import VERDICT
from schemas.errors import Stage
from transforms.batch import refused_rows
from transforms.fates import READ, REFUSED
from transforms.formats.block import Block
from transforms.ledger import Tally, count

__all__ = ["Broken", "InputFile", "Range", "ReadFiles", "groups", "listed", "opened", "ranges", "read"]

BLOCK = 8 << 20  # bytes
OPEN = 4  # files opened beyond the one that is read


def opened(pieces: Iterable[Range], endpoint: str = "") -> Iterator[tuple[Range, io.BufferedReader]]:
    """The pieces with their files, some of which are opened ahead: their first bytes are under way. Raises OSError."""
    ahead: deque[tuple[Range, io.BufferedReader]] = deque()
    try:
        for piece in pieces:
            ahead.append((piece, _open(piece, endpoint)))
            if len(ahead) > OPEN:
                yield ahead.popleft()
        while ahead:
            yield ahead.popleft()
    finally:
        for _, file in ahead:
            file.close()


def _open(piece: Range, endpoint: str) -> io.BufferedReader:
    until = None if piece.format == "parquet" else piece.stop + REST
    return open_file(piece.path, piece.size, piece.generation, max(piece.start - 1, 0), until, endpoint)


def read(piece: Range, block_bytes: int = BLOCK, endpoint: str = "", file: io.BufferedReader | None = None) -> Iterator[Block | Broken]:
    """The rows of a range, in the file's order, in bounded memory. Raises OSError where the file cannot be reached, or where it
    is an object that was replaced since it was listed: its rows are not taken for those of the one before.

    endpoint: of GCS, where it is not the usual one; file: the piece's, where it is open already. A row of over 10,000,000 bytes
    is handed on as its first 10,000,001: enough to refuse it, no contract allows it.
    """
    with file or _open(piece, endpoint) as file:
        try:
            if piece.format == "avro":
                yield from avro_blocks(file, piece.path, piece.index, block_bytes)
            elif piece.format == "parquet":
                yield from parquet_blocks(file, piece.path, piece.index, block_bytes)
            else:
                yield from _text_blocks(file, piece, block_bytes)
        except Unreadable as cut:
            yield Broken(piece.path, piece.index, cut.start, cut.reason, cut.raw[:SEALED])


def _text_blocks(file: io.BufferedReader, piece: Range, block_bytes: int) -> Iterator[Block]:
    kind, _, packing = piece.format.partition(".")
    if packing:
        begin, chunks = 0, unpacked_chunks(file)
    else:
        first = first_line(file, piece.start, piece.stop)
        if first is None:
            return
        begin, chunks = first, range_chunks(file, first, piece.stop)
    lines = whole_lines(chunks, begin, block_bytes)
    if kind == "csv":
        yield from csv_blocks(lines, piece.path, piece.index)
        return
    for start, data, rows in lines:
        yield Block(piece.path, kind, piece.index, start, rows, data)


class Blocks(NamedTuple):
    """What ReadFiles answers."""

    blocks: beam.PCollection[Block]
    refused: beam.PCollection[pa.RecordBatch]
    tally: beam.PCollection[Tally]


class ReadFiles(beam.PTransform):
    """Files to Blocks; output `refused` carries REFUSED batches, `tally` the rows that were read.

    max_row_bytes: the contract's limit; endpoint: of GCS, where it is not the usual one; expected: the (path, rows) of a
    manifest by the file's index: the run fails before its commit where a file has others.
    Raises ValueError where max_row_bytes is over KEPT, at which rows are cut: a cut row must be too large.
    """

    def __init__(self, files: Iterable[InputFile], max_row_bytes: int, endpoint: str = "", expected: dict[int, tuple[str, int]] | None = None) -> None:
        super().__init__()
        if max_row_bytes > KEPT:
            raise ValueError(f"rows are cut at {KEPT:,} bytes")
        self.groups, self.endpoint, self.expected = list(groups(ranges(files))), endpoint, expected

    @no_annotations  # Beam reads types off the DoFn; a transform with several outputs has none
    def expand(self, begin: beam.pvalue.PBegin) -> Blocks:
        found = (begin | "Ranges" >> beam.Create(self.groups).with_output_types(tuple[Range, ...]) | beam.Reshuffle()
                 | "Read" >> beam.ParDo(_ReadFn(self.endpoint)).with_outputs("refused", "counted", main="blocks"))
        tally = (found.counted | "Tally" >> beam.Map(_tally).with_output_types(Tally) if self.expected is None
                 else found.counted | "Rows" >> CheckRows(self.expected))
        return Blocks(found.blocks, found.refused, tally)


def _tally(counted: FileRows) -> Tally:
    return Tally(READ, "", counted.rows + counted.broken)


class _ReadFn(beam.DoFn):
    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint

    def process(self, group: tuple[Range, ...]) -> Iterator[Block | TaggedOutput[Literal["refused"], pa.RecordBatch]
                                                            | TaggedOutput[Literal["counted"], FileRows]]:
        at = group[0].path
        try:
            for piece, file in opened(group, self.endpoint):
                at = piece.path
                yield from _read(piece, file)
        except Changed as error:
            VERDICT.tell(str(error))
            raise
        except OSError as error:
            VERDICT.tell(f"{at} cannot be read ({type(error).__name__})")
            raise


def _read(piece: Range, file: io.BufferedReader) -> Iterator[Block | TaggedOutput[Literal["refused"], pa.RecordBatch]
                                                             | TaggedOutput[Literal["counted"], FileRows]]:
    rows = broken = 0
    for part in read(piece, file=file):
        if isinstance(part, Broken):
            broken += 1
            count(READ, 1)
            count(REFUSED, 1)
            refusal = (part.reason, None, f"{part.path}:{part.start}", None, part.raw)
            yield TaggedOutput("refused", refused_rows(Stage.READ, [refusal]))
        else:
            rows += part.rows
            count(READ, part.rows)
            yield part
    yield TaggedOutput("counted", FileRows(piece.index, rows, broken))
