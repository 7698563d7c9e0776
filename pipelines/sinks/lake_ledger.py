"""The table `runs`: one row a run."""

import duckdb

from pipelines.sinks.streamed import moment
from schemas.tables import RUNS
from transforms.ledger import LedgerRow

_COLUMNS = tuple(column.name for column in RUNS)
_TIMES = ("started", "ended", "watermark", "greatest")


def record(connection: "duckdb.DuckDBPyConnection", row: LedgerRow, balanced: bool) -> None:
    """Inserts the row, in the transaction that is open or in one of its own."""
    values, places = row.values(balanced), ", ".join("?" * len(_COLUMNS))
    connection.execute(f"INSERT INTO lake.runs ({', '.join(_COLUMNS)}) VALUES ({places})", [values[name] for name in _COLUMNS])


def ledger(connection: "duckdb.DuckDBPyConnection", run: str) -> tuple[LedgerRow, bool] | None:
    """The run's row and whether it balanced, or None where it has none."""
    listed = ", ".join(f"epoch_us({name})" if name in _TIMES else name for name in _COLUMNS)
    found = connection.execute(f"SELECT {listed} FROM lake.runs WHERE run = ?", [run]).fetchone()
    if found is None:
        return None
    row = dict(zip(_COLUMNS, found, strict=True))
    return LedgerRow.of(row | {name: moment(row[name]) for name in _TIMES})
