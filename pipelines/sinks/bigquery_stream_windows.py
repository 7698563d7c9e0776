"""The windows of a stream on BigQuery, where rows are only ever added: of those with one key and window_start the greatest pane is the last word.

A session that a late row joined to another, or opened again, is no window any more: its last word is a row that ends where it starts.
`windows_latest` (schemas.views) shows what stands.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
from google.cloud.bigquery import ScalarQueryParameter

from pipelines.sinks.bigquery import Dataset
from pipelines.sinks.bigquery_jobs import Place
from pipelines.sinks.bigquery_ledger import named
from pipelines.sinks.bigquery_read import batches
from pipelines.sinks.bigquery_windows import WINDOWS_TABLE, events
from pipelines.sinks.streamed import micros
from schemas.contract import Contract
from transforms.batch import with_column
from transforms.panes import Changes
from transforms.partials import micros as length

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
EDGES = pa.schema([("key", pa.string()), ("window_start", pa.timestamp("us", "UTC")), ("window_end", pa.timestamp("us", "UTC")), ("pane", pa.int32())])
_MOST = 200_000  # windows whose panes are known, before those that change no more are forgotten
Of = tuple[str | None, datetime]  # key and window_start


def measured(place: Place, dataset: Dataset, contract: Contract, since: int | None) -> Iterator[pa.RecordBatch]:
    """The columns that windows are made of, of the stored events from this time (us) on. Raises Failed or Transient."""
    return events(place, dataset, contract, *_from(f"`{contract.time}`", since))


class Told:
    """What the table says of the windows that may still change. Raises Failed or Transient where it reads."""

    def __init__(self, place: Place, dataset: Dataset, contract: Contract) -> None:
        assert contract.windows is not None
        self._place, self._dataset, self._contract, self._windowing = place, dataset, contract, contract.windows
        self._longest = length(max(contract.windows.size, contract.windows.max_length + contract.windows.gap))
        self._panes: dict[Of, int] = {}
        self._next: dict[Of, int] = {}

    def read(self, since: int | None) -> pa.RecordBatch:
        """key, window_start, window_end and pane of the windows that stand and end after this time (us); notes the panes of all."""
        where, given = _from("window_start", self.low(since))
        sql = f"SELECT {', '.join(EDGES.names)} FROM {named(self._dataset, WINDOWS_TABLE)} WHERE {where}"
        return self.noted(batches(self._place, sql, EDGES, given), since)

    def low(self, since: int | None) -> int | None:
        """No window that ends after this time starts before that one."""
        return None if since is None else since - self._longest

    def noted(self, rows: Iterable[pa.RecordBatch], since: int | None) -> pa.RecordBatch:
        """The same of rows as the table has them, from `low` on."""
        last: dict[Of, tuple[datetime, int]] = {}
        for batch in rows:
            for key, start, end, pane in zip(*(column.to_pylist() for column in batch.columns)):
                if (key, start) not in last or pane > last[key, start][1]:
                    last[key, start] = end, pane
        self._panes, self._next = {of: pane for of, (_, pane) in last.items()}, {}
        standing = [(*of, end, pane) for of, (end, pane) in last.items() if end > of[1] and (since is None or (micros(end) or 0) > since)]
        columns = zip(*standing) if standing else [()] * 4
        return pa.RecordBatch.from_arrays([pa.array(column, field.type) for column, field in zip(columns, EDGES)], schema=EDGES)

    def rows(self, changes: Changes) -> pa.RecordBatch:
        """The rows to append: those that come, each with a pane beyond what it had, and the last word on those that go for good."""
        come = changes.rows
        places = list(zip(come["key"].to_pylist(), come["window_start"].to_pylist()))
        panes = [max(pane, self._panes.get(of, -1) + 1) for of, pane in zip(places, come["pane"].to_pylist())]
        self._next = dict(zip(places, panes))
        rows = with_column(come, "pane", pa.array(panes, pa.int32()))
        over = [of for of in zip(changes.gone["key"].to_pylist(), changes.gone["window_start"].to_pylist()) if of not in self._next]
        if not over:
            return rows
        ends = {of: self._panes.get(of, 0) + 1 for of in over}
        self._next |= ends
        return pa.Table.from_batches([rows, self._ended(rows.schema, ends)]).combine_chunks().to_batches()[0]

    def _ended(self, schema: pa.Schema, ends: dict[Of, int]) -> pa.RecordBatch:
        """Rows that end where they start, for which nothing is measured."""
        starts = pa.array([start for _, start in ends], pa.timestamp("us", "UTC"))
        told = {"key": pa.array([key for key, _ in ends], pa.string()), "window_start": starts, "window_end": starts, "d": starts.cast(pa.date32()),
                "pane": pa.array(list(ends.values()), pa.int32()), "is_late": pa.array([True] * len(ends))}
        told["contract_version"] = pa.array([self._contract.version] * len(ends), pa.string())
        told |= {m.name: pa.array(np.zeros(len(ends), np.int64)).cast(schema.field(m.name).type)
                 for m in self._windowing.measures if m.kind in ("count", "distinct")}
        return pa.RecordBatch.from_arrays([told[f.name] if f.name in told else pa.nulls(len(ends), f.type) for f in schema], schema=schema)

    def settle(self, watermark: int | None) -> None:
        """What the last `rows` answered is in the table."""
        self._panes |= self._next
        self._next = {}
        if len(self._panes) > _MOST and watermark is not None:
            low = watermark - 3 * self._longest - length(self._windowing.lateness)
            self._panes = {of: pane for of, pane in self._panes.items() if (micros(of[1]) or 0) >= low}


def _from(column: str, since: int | None) -> tuple[str, list[ScalarQueryParameter]]:
    """A condition on a time and its day, which prunes partitions."""
    if since is None:
        return "TRUE", []
    at = _EPOCH + timedelta(microseconds=max(since, -62_135_596_800_000_000))
    return f"d >= @day AND {column} >= @since", [ScalarQueryParameter("day", "DATE", at.date()), ScalarQueryParameter("since", "TIMESTAMP", at)]
