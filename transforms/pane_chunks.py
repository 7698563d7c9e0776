"""Partials of many keys, of which each run replaces a few: chunks that are never changed, and where in them a key's rows are."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa

from transforms.partials import KEY

_MANY = 24  # chunks; then the smallest are put together, so that a row is copied some times only
_SMALL = 4096
K = TypeVar("K")


class Held(NamedTuple):
    """The rows of one key: from `first` up to before `stop` of a batch."""

    first: int
    stop: int


class Chunks(Generic[K]):
    """The rows of a key lie side by side in one chunk."""

    def __init__(self) -> None:
        self._chunks: dict[int, pa.RecordBatch] = {}
        self._alive: dict[int, int] = {}  # rows of a chunk that are a key's
        self._places: dict[K, tuple[int, Held]] = {}
        self._made = 0

    def of(self, keys: Iterable[K]) -> Iterator[pa.RecordBatch]:
        """The rows of these keys, those that are held."""
        found: dict[int, list[Held]] = {}
        for key in keys:
            if key in self._places:
                chunk, held = self._places[key]
                found.setdefault(chunk, []).append(held)
        for chunk, listed in found.items():
            yield _taken(self._chunks[chunk], listed)

    def put(self, part: pa.RecordBatch, held: Mapping[K, Held]) -> None:
        """From now on these rows of the batch are the keys' rows."""
        for key in held:
            self.drop(key)
        self._made += 1
        rows = sum(h.stop - h.first for h in held.values())
        if rows:
            self._chunks[self._made], self._alive[self._made] = part, rows
            for key, h in held.items():
                self._places[key] = self._made, h
        wasted = [n for n, chunk in self._chunks.items() if chunk.num_rows > max(_SMALL, 2 * self._alive[n])]
        if len(self._chunks) > _MANY:
            wasted = sorted(self._chunks, key=lambda n: self._chunks[n].num_rows)[:_MANY * 2 // 3]
        if wasted:
            self._repack(wasted)

    def drop(self, key: K) -> None:
        """The key has no rows any more."""
        if key in self._places:
            chunk, held = self._places.pop(key)
            self._alive[chunk] -= held.stop - held.first
            if not self._alive[chunk]:
                del self._chunks[chunk], self._alive[chunk]

    def _repack(self, numbers: list[int]) -> None:
        """Puts what is alive in these chunks into one."""
        self._made += 1
        parts, rows = [], 0
        for number in numbers:
            chunk = self._chunks.pop(number)
            del self._alive[number]
            listed = []
            for key in chunk[KEY].unique().to_pylist():
                where, held = self._places.get(key, (0, Held(0, 0)))
                if where == number:
                    listed.append(held)
                    self._places[key] = self._made, Held(rows, rows + held.stop - held.first)
                    rows += held.stop - held.first
            parts.append(_taken(chunk, listed))
        self._chunks[self._made], self._alive[self._made] = pa.concat_batches(parts), rows


def _taken(chunk: pa.RecordBatch, listed: list[Held]) -> pa.RecordBatch:
    return chunk.take(pa.array(np.concatenate([np.arange(held.first, held.stop) for held in listed])))
