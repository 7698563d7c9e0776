"""Rows in groups: sorted once, so that whatever is told of a group is a reduction over neighbours."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Ints = npt.NDArray[np.int64]
_WIDE = 1 << 20


class Groups(NamedTuple):
    """order: the rows, group after group, in the order given within each; starts: where each group begins in it;
    of: the group of each element of it. Groups come in the order of their codes."""

    order: Ints
    starts: Ints
    of: Ints

    def rows(self) -> Ints:
        """One row of each group, to tell what its rows have in common."""
        return self.order[self.starts]

    def by_row(self) -> Ints:
        """The group of each row."""
        groups = np.empty(len(self.order), np.int64)
        groups[self.order] = self.of
        return groups


def grouped(codes: Ints) -> Groups:
    """Rows with the same code are a group."""
    order = np.argsort(codes, kind="stable")
    ordered = codes[order]
    new = np.ones(len(codes), bool)
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    return Groups(order, np.flatnonzero(new), np.cumsum(new) - 1)


def dense(values: Ints) -> tuple[Ints, int]:
    """Small codes in the order of the values, and how many there may be."""
    if not len(values):
        return values, 1
    low, high = int(values.min()), int(values.max())
    if high - low < _WIDE:
        return values - low, high - low + 1
    distinct, codes = np.unique(values, return_inverse=True)
    return codes.astype(np.int64, copy=False), len(distinct)


def ranked(texts: pa.Array) -> tuple[Ints, pa.Array]:
    """Codes of strings in their order, null last, and the string (or null) of each code."""
    encoded = texts.dictionary_encode()
    sorted_ = pc.sort_indices(encoded.dictionary)
    order = encoded.dictionary.take(sorted_)
    ranks = np.empty(len(order) + 1, np.int64)
    ranks[sorted_.to_numpy()] = np.arange(len(order))
    ranks[-1] = len(order)
    codes = ranks[encoded.indices.fill_null(len(order)).to_numpy()]
    return codes, pa.concat_arrays([order, pa.nulls(1, order.type)])
