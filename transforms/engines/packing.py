"""Table requests for DLP that keep all of its limits at once, and what comes back, aligned by row id.

What is sent are items: one combination of one group. In order, the n-th item of every group stands in row n of one long
table, and a request is a stretch of items, so a stretch can be cut, or halved, anywhere: within a row too.
Limits: https://cloud.google.com/sensitive-data-protection/limits
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from schemas.errors import Reason
from transforms.engines import wire
from transforms.engines.combinations import Combinations, Numbers
from transforms.engines.layout import Layout
from transforms.operators.operator import Value

_ROW = 12  # bytes: tag and length of a row, its id, and some to spare for the lengths of what is around
_NONE = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Limits:
    """The most that a request may hold: bytes as serialized, configuration included; findings by estimate.

    DLP's own limits are 0.5 MB, 50,000 values and 3,000 findings.
    """

    bytes: int = 480_000
    cells: int = 50_000
    findings: int = 2_400
    rows: int = 10_000


class Unproven(Exception):
    """An answer that does not show that what was sent was transformed. `what` names the rule, never a value."""

    def __init__(self, what: str, smaller: bool = False) -> None:
        self.what, self.smaller = what, smaller
        super().__init__(what)


class Judge(Protocol):
    """Says of an answer whether it shows that a transformation took place; its methods raise Unproven where it does not."""

    def cell(self, group: int, name: str, combination: int, before: Value, after: Value | None) -> None:
        """Asked where a cell came back as it was, without a value, or with one of another type."""
        ...

    def columns(self, changed: Mapping[str, int]) -> None:
        """Asked once: by transformed column, how many cells came back changed."""
        ...


@dataclass
class Answers:
    """What is known of one group's combinations: by transformed column the value of each, and why some have none."""

    values: dict[str, list[Value | None]]
    refused: dict[int, tuple[Reason, str | None]] = field(default_factory=dict)

    @classmethod
    def none(cls, combinations: Combinations) -> "Answers":
        return cls({name: [None] * len(combinations) for name in combinations.group.transformed})


class Packer:
    """The items of one batch. Its methods may be called by several threads, each for a stretch of its own.

    asked: by group, the combinations to send; overhead: bytes of a request without its rows. abandoned: set where the batch
    has failed, so that no request for it is made any more.
    Items that are over a limit alone are refused (too_large) at once.
    """

    def __init__(self, combinations: Sequence[Combinations], asked: Sequence[Numbers], answers: Sequence[Answers],
                 layout: Layout, overhead: int, limits: Limits) -> None:
        self.layout, self.limits = layout, limits
        self.combinations, self.answers, self.abandoned = combinations, answers, False
        width = len(layout.header) - 1
        self._row = _ROW + wire.EMPTY * width
        self._room = limits.bytes - overhead
        self._most_rows = min(limits.rows, limits.cells // len(layout.header))
        self._asked: list[Numbers] = []
        sizes, texts = [_NONE], [_NONE]
        for group, (own, wanted) in enumerate(zip(combinations, asked, strict=True)):
            size = sum((wire.sizes(own.cells[c])[wanted] - wire.EMPTY for c in own.group.columns), np.zeros(len(wanted), np.int64))
            fits = size + self._row <= self._room
            for combination in wanted[~fits].tolist():
                answers[group].refused[combination] = (Reason.TOO_LARGE, _only(own))
            self._asked.append(wanted[fits])
            sizes.append(size[fits])
            texts.append(self._inspected(own)[wanted[fits]])
        slots = np.concatenate([_NONE, *(np.arange(len(wanted)) for wanted in self._asked)])
        groups = np.concatenate([_NONE, *(np.full(len(wanted), group) for group, wanted in enumerate(self._asked))])
        order = np.lexsort((groups, slots))
        self._slot, self._group = slots[order], groups[order]
        self._bytes = np.concatenate([[0], np.cumsum(np.concatenate(sizes)[order])])
        self._text = np.concatenate([[0], np.cumsum(np.concatenate(texts)[order])])
        self._lists: dict[str, list[Any]] = {}

    def __len__(self) -> int:
        return len(self._slot)

    def _inspected(self, combinations: Combinations) -> Numbers:
        columns = [combinations.cells[c] for c in combinations.group.columns if c in self.layout.inspected]
        return sum((wire.text_bytes(c) for c in columns), np.zeros(len(combinations), np.int64))

    def end(self, start: int, findings_per_byte: float) -> int:
        """Where a request that begins with item `start` ends: as many items as the limits allow, at least one."""
        slot = self._slot[start]
        spent = self._bytes[1:] + (self._slot + 1) * self._row  # grows with every item: what a request to there takes
        ends = [np.searchsorted(spent, self._room + self._bytes[start] + slot * self._row, "right"),
                np.searchsorted(self._slot, slot + self._most_rows, "left")]
        if findings_per_byte > 0:
            most = self._text[start] + self.limits.findings / findings_per_byte
            ends.append(np.searchsorted(self._text[1:], most, "right"))
        return max(start + 1, int(min(ends)))

    def inspected_bytes(self, start: int, end: int) -> int:
        """Bytes of text that DLP looks into."""
        return int(self._text[end] - self._text[start])

    def fill(self, table: Any, start: int, end: int) -> None:
        """Writes the stretch into a raw `Table`."""
        for name in self.layout.header:
            table.headers.add().name = name
        first, last = int(self._slot[start]), int(self._slot[end - 1])
        columns: dict[str, Any] = {}
        for group, low, high in self._stretches(start, end):
            for name in self.combinations[group].group.columns:
                values = self._values(group, name)[low:high]
                columns[name] = [None] * (low - first) + values + [None] * (last + 1 - high)
        unused = [None] * (last + 1 - first)
        listed = [columns.get(name, unused) for name in self.layout.header[1:]]
        writers = [wire.writer(self._type(name)) for name in self.layout.header[1:]]
        for row_id, cells in enumerate(zip(*listed, strict=True)):
            values = table.rows.add().values
            values.add().integer_value = row_id
            for cell, write in zip(cells, writers, strict=True):
                value = values.add()
                if cell is not None:
                    write(value, cell)

    def take(self, table: Any, start: int, end: int, judge: Judge) -> None:
        """Keeps what a raw `Table` answers for the stretch, all of it or, where it raises Unproven, nothing.

        Raises Unproven where the header, the row ids, or a column that is not transformed are other than was asked, and
        where the judge does.
        """
        if tuple(h.name for h in table.headers) != self.layout.header:
            raise Unproven("another header")
        first = int(self._slot[start])
        rows = self._by_id(table, int(self._slot[end - 1]) + 1 - first)
        found: list[tuple[list[Value | None], list[tuple[int, Value | None]]]] = []
        gone: list[tuple[int, int]] = []
        changed: Counter[str] = Counter()
        for group, low, high in self._stretches(start, end):
            own = self.combinations[group].group
            here = [(c, rows[at], low + n) for n, (c, at) in enumerate(self._placed(group, low, high, first)) if rows[at] is not None]
            gone += [(group, c) for c, at in self._placed(group, low, high, first) if rows[at] is None]
            for name in own.columns:
                place, sent = self.layout.header.index(name), self._values(group, name)
                pairs = [(c, sent[slot], wire.read(cells[place])) for c, cells, slot in here]
                kept = sum(after == before for _, before, after in pairs)
                if name not in own.transformed:
                    if kept < len(pairs):
                        raise Unproven("another value in a column that is not transformed")
                    continue
                for combination, before, after in pairs:
                    if before is not None and (after is None or after == before or type(after) is not type(before)):
                        judge.cell(group, name, combination, before, after)
                changed[name] += len(pairs) - kept
                found.append((self.answers[group].values[name], [(c, after) for c, _, after in pairs]))
        judge.columns(changed)
        for values, answers in found:
            for combination, answer in answers:
                values[combination] = answer
        for group, combination in gone:
            self.answers[group].refused[combination] = (Reason.NOT_DEIDENTIFIED, None)

    def _placed(self, group: int, low: int, high: int, first: int) -> list[tuple[int, int]]:
        """(combination, its row in the table) of a stretch of a group."""
        return list(zip(self._asked[group][low:high].tolist(), range(low - first, high - first), strict=True))

    def refuse(self, start: int, end: int) -> None:
        """The rows that hold an item of the stretch are not de-identified."""
        for group, low, high in self._stretches(start, end):
            reason = (Reason.NOT_DEIDENTIFIED, _only(self.combinations[group]))
            self.answers[group].refused |= dict.fromkeys(self._asked[group][low:high].tolist(), reason)

    def _by_id(self, table: Any, count: int) -> list[Any]:
        """The cells of each row id; None for a record that was suppressed."""
        rows: list[Any] = [None] * count
        for row in table.rows:
            cells = row.values
            if len(cells) != len(self.layout.header):
                raise Unproven("a row of another length")
            row_id = cells[0].integer_value
            if cells[0].WhichOneof("type") != "integer_value" or not 0 <= row_id < count or rows[row_id] is not None:
                raise Unproven("a row that was not asked, or twice")
            rows[row_id] = cells
        if not self.layout.suppresses and None in rows:
            raise Unproven("a row is missing")
        return rows

    def _stretches(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """(group, first slot, slot after the last) of the items from start to end."""
        groups, slots = self._group[start:end], self._slot[start:end]
        for group in range(len(self._asked)):
            own = slots[groups == group]
            if len(own):
                yield group, int(own[0]), int(own[-1]) + 1

    def _values(self, group: int, name: str) -> list[Any]:
        """What is sent of a column, by slot. An empty text is sent only where a condition may look at it."""
        if name not in self._lists:
            values = self.combinations[group].cells[name].take(pa.array(self._asked[group])).to_pylist()
            if name not in self.layout.compared:
                values = [None if v == "" else v for v in values]
            self._lists[name] = values
        return self._lists[name]

    def _type(self, name: str) -> pa.DataType:
        return next(c.cells[name].type for c in self.combinations if name in c.cells)


def _only(combinations: Combinations) -> str | None:
    transformed = combinations.group.transformed
    return transformed[0] if len(transformed) == 1 else None
