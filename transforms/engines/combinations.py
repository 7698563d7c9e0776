"""The distinct combinations of a batch: what is asked of DLP once, for all the rows that hold it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from transforms.engines.layout import Group, Layout

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Combinations:
    """The distinct combinations of one group's columns.

    of_row: the combination that each row of the batch holds, -1 where the row has nothing to transform; cells: by
    column, the value of each combination.
    """

    group: Group
    of_row: Numbers
    cells: Mapping[str, pa.Array]

    def __len__(self) -> int:
        return len(self.cells[self.group.columns[0]])

    def batch(self) -> pa.RecordBatch:
        """One row a combination."""
        return pa.RecordBatch.from_arrays([self.cells[c] for c in self.group.columns], names=list(self.group.columns))


def combinations(batch: pa.RecordBatch, layout: Layout) -> list[Combinations]:
    """The combinations of each group of the layout, in the order in which the rows first hold them.

    A row whose cells to transform are all null or empty holds none: such cells are stored as they are. Where records may
    be suppressed every row holds one.
    """
    return [_of_group(batch, group, layout.suppresses) for group in layout.groups]


def _of_group(batch: pa.RecordBatch, group: Group, every_row: bool) -> Combinations:
    if every_row:
        rows = pa.array(np.arange(batch.num_rows, dtype=np.int64))
    else:
        rows = pc.indices_nonzero(_any([pc.invert(blank(batch[name])) for name in group.transformed])).cast(pa.int64())
    columns = {name: batch[name].take(rows) for name in group.columns}
    numbers, first = _numbered(list(columns.values())) if group.distinct else (np.arange(len(rows)), np.arange(len(rows)))
    of_row = np.full(batch.num_rows, -1, np.int64)
    of_row[rows.to_numpy()] = numbers
    return Combinations(group, of_row, {name: column.take(pa.array(first)) for name, column in columns.items()})


def blank(column: pa.Array) -> pa.BooleanArray:
    """Where a cell has nothing to transform: null, or an empty text."""
    if pa.types.is_string(column.type):
        return pc.fill_null(pc.equal(column, ""), True)
    return column.is_null()


def _any(masks: Sequence[pa.BooleanArray]) -> pa.BooleanArray:
    found = masks[0]
    for mask in masks[1:]:
        found = pc.or_(found, mask)
    return found


def _numbered(columns: Sequence[pa.Array]) -> tuple[Numbers, Numbers]:
    """(the number of each row's combination, the first row that holds each number)."""
    numbers = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        encoded = column.dictionary_encode(null_encoding="encode")
        pairs = numbers * max(1, len(encoded.dictionary)) + encoded.indices.to_numpy()
        again = pa.array(pairs).dictionary_encode()
        numbers = again.indices.to_numpy().astype(np.int64)
    _, first = np.unique(numbers, return_index=True)
    return numbers, first.astype(np.int64)
