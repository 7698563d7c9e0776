"""The second half of a manifest's check: what was read from each file against the rows that it must have.

The tallies of the source go through it, and no commit happens without them: where a file has more or fewer rows, the run
fails and the tables stay as they were.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import apache_beam as beam

from pipelines.sources.verdict import VERDICT
from transforms.fates import READ
from transforms.ledger import Tally


class RowsDiffer(Exception):
    """Files that have not the rows that the manifest says. The message names them, and holds nothing of a row."""


class FileRows(NamedTuple):
    """What was read of a piece of a file. file: its index; rows: whole ones; broken: pieces without rows (cut, damaged)."""

    file: int
    rows: int
    broken: int


class CheckRows(beam.PTransform):
    """FileRows to Tallies, once all of them are there and right. expected: (path, rows) by the file's index."""

    def __init__(self, expected: dict[int, tuple[str, int]]) -> None:
        super().__init__()
        self.expected = expected

    def expand(self, counted: beam.PCollection[FileRows]) -> beam.PCollection[Tally]:
        return (counted.pipeline | "Once" >> beam.Impulse()
                | "Compare" >> beam.ParDo(_CheckFn(self.expected), beam.pvalue.AsList(counted)).with_output_types(Tally))


class _CheckFn(beam.DoFn):
    def __init__(self, expected: dict[int, tuple[str, int]]) -> None:
        self.expected = expected

    def process(self, _: bytes, counted: list[FileRows]) -> Iterator[Tally]:
        different = differences(self.expected, counted)
        if different:
            VERDICT.tell(*different)
            raise RowsDiffer("; ".join(different))
        yield Tally(READ, "", sum(each.rows + each.broken for each in counted))


def differences(expected: dict[int, tuple[str, int]], counted: Iterable[FileRows]) -> list[str]:
    """Which files have not the rows that they must have, in words."""
    rows: Counter[int] = Counter()
    broken: set[int] = set()
    for each in counted:
        rows[each.file] += each.rows
        broken |= {each.file} if each.broken else set()
    return [f"{path} {'is damaged after' if index in broken else 'has'} {rows[index]:,} rows, the manifest says {must:,}"
            for index, (path, must) in sorted(expected.items()) if rows[index] != must or index in broken]
