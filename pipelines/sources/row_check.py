"""The second half of a manifest's check: what was read from each file against the rows that it must have.

The tallies of the source go through it, and no commit happens without them: where a file has more or fewer rows, the run
fails and the tables stay as they were.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import apache_beam as beam

from transforms.fates import READ
from transforms.ledger import Tally

_SHOWN = 20
_DIFFERENT: list[str] = []


class RowsDiffer(Exception):
    """Files that have not the rows that the manifest says. The message names them, and holds nothing of a row."""


class FileRows(NamedTuple):
    """What was read of a piece of a file: whole rows, and pieces without rows (cut, damaged)."""

    index: int
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
            _DIFFERENT[:] = different
            raise RowsDiffer("; ".join(different))
        yield Tally(READ, "", sum(each.rows + each.broken for each in counted))


def differences(expected: dict[int, tuple[str, int]], counted: Iterable[FileRows]) -> list[str]:
    """Which files have not the rows that they must have, in words."""
    rows: Counter[int] = Counter()
    broken: set[int] = set()
    for each in counted:
        rows[each.index] += each.rows
        broken |= {each.index} if each.broken else set()
    return [f"{path} {'is damaged after' if index in broken else 'has'} {rows[index]:,} rows, the manifest says {must:,}"
            for index, (path, must) in sorted(expected.items()) if rows[index] != must or index in broken]


def told() -> str | None:
    """Why the manifest's check failed in this process, None where it did not. Runners hand on the text of exceptions, never the
    exception itself; and texts of exceptions are not shown, since most may hold rows."""
    if not _DIFFERENT:
        return None
    more = f"; and {len(_DIFFERENT) - _SHOWN:,} more" if len(_DIFFERENT) > _SHOWN else ""
    return "; ".join(_DIFFERENT[:_SHOWN]) + more


def forget() -> None:
    """Before a run."""
    _DIFFERENT.clear()
