"""The windows of a stream on one machine: read off the partials of each run, brought back from the stored events after a start."""

from collections.abc import Iterable

import pyarrow as pa

from pipelines.sinks.streamed import State, StreamTables
from pipelines.window_rows import completed, scorer
from schemas.contract import Contract
from transforms.panes import Changes, Panes, since
from transforms.partials import partials

_BEFORE = -(1 << 60)  # microseconds: before any event


class StreamWindows:
    """What a run changes in the windows table. A run goes changes, and then settle where it was committed, else drop."""

    def __init__(self, contract: Contract, tables: StreamTables, state: State) -> None:
        """Reads the events whose windows may still change."""
        assert contract.windows is not None
        self.contract, self.windowing = contract, contract.windows
        self._scorer = scorer(contract.windows)
        self._panes = Panes(contract.windows)
        watermark = _BEFORE if state.watermark is None else state.watermark
        low = None if state.watermark is None else since(contract.windows, state.watermark)
        parts = [partials(batch, self.windowing, contract.time)[0] for batch in tables.measured(low)]
        self._panes.restore(_BEFORE if low is None else low, watermark, [part for part in parts if part.num_rows], tables.windowed(low))

    def changes(self, parts: Iterable[pa.RecordBatch], watermark: int | None, run: str) -> Changes:
        """The rows that go and come when these partials are added and the watermark stands there."""
        for part in parts:
            self._panes.add(part)
        changes = self._panes.due(_BEFORE if watermark is None else watermark)
        return Changes(completed(changes.rows, self.contract, self._scorer, run), changes.gone)

    def settle(self) -> None:
        self._panes.settle()

    def drop(self) -> None:
        self._panes.drop()
