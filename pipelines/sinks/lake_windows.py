"""The windows table of a lake: what its windows are read off, and how rows of it go and come, in the transaction that is open."""

from collections.abc import Collection, Iterator
from datetime import date

import duckdb
import pyarrow as pa

from pipelines import window_rows
from pipelines.window_rows import completed, scorer
from schemas.contract import Contract
from transforms.panes import Changes
from transforms.rebuild import rebuild

_ROWS = 1 << 17


def measured(connection: "duckdb.DuckDBPyConnection", contract: Contract, since: int | None = None,
             days: tuple[date, date] | None = None) -> Iterator[pa.RecordBatch]:
    """The columns of the stored events that windows are made of: of event times from `since` (microseconds) on, or of the days
    from the first to the last, both included; all where both are None."""
    where: str = ""
    values: list[object] = []
    if since is not None:
        where, values = f'WHERE d >= make_timestamp(?)::DATE AND epoch_us("{contract.time}") >= ?', [since, since]  # the day prunes partitions
    elif days is not None:
        where, values = "WHERE d BETWEEN ? AND ?", list(days)
    columns = ", ".join(f'"{name}"' for name in window_rows.measured(contract))
    yield from connection.execute(f"SELECT {columns} FROM lake.events {where}", values).to_arrow_reader(_ROWS)


def rewindow(connection: "duckdb.DuckDBPyConnection", contract: Contract, days: Collection[date]) -> Changes:
    """Makes the windows right after the events of these days changed, in the transaction that is open; answers what went and came.

    All windows count as closed, and belong to no run: a rerun gives the same rows.
    """
    assert contract.windows is not None
    found = rebuild(lambda first, last: measured(connection, contract, days=(first, last)), days, lambda low, high: _between(connection, low, high),
                    contract.windows, contract.time)
    changes = Changes(completed(found.rows, contract, scorer(contract.windows), None), found.gone)
    change(connection, changes)
    return changes


def _between(connection: "duckdb.DuckDBPyConnection", low: int, high: int) -> pa.RecordBatch:
    return _batch(connection.execute("""SELECT key, window_start, window_end FROM lake.windows
                                        WHERE epoch_us(window_end) > ? AND epoch_us(window_start) < ?""", [low, high]).to_arrow_table())


def change(connection: "duckdb.DuckDBPyConnection", changes: Changes) -> None:
    """Deletes the rows that go, then inserts those that come, which have all the table's columns."""
    if changes.gone.num_rows:
        connection.register("gone", _stream(changes.gone))
        connection.execute("""DELETE FROM lake.windows AS there USING gone WHERE there.key IS NOT DISTINCT FROM gone.key
                              AND there.window_start = gone.window_start""")
        connection.unregister("gone")
    if changes.rows.num_rows:
        connection.register("come", _stream(changes.rows))
        connection.execute("INSERT INTO lake.windows BY NAME SELECT * FROM come")
        connection.unregister("come")


def _stream(rows: pa.RecordBatch) -> object:
    """The rows for one statement of DuckDB, which reads a table of Arrow's by Arrow's scanner: a thread a core, kept for as long as the process lives."""
    return pa.table(rows).__arrow_c_stream__()


def written(connection: "duckdb.DuckDBPyConnection", since: int | None) -> pa.RecordBatch:
    """key, window_start, window_end and pane of the windows that end after this time; of all where it is None."""
    where, values = ("", []) if since is None else ("WHERE epoch_us(window_end) > ?", [since])
    return _batch(connection.execute(f"SELECT key, window_start, window_end, pane FROM lake.windows {where}", values).to_arrow_table())


def _batch(table: pa.Table) -> pa.RecordBatch:
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], table.schema)
