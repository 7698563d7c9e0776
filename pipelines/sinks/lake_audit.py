"""The table `reidentifications`: one row for each time that tokens were turned back. It is made when it is first needed."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb

from pipelines.sinks.lake_catalog import locked, write_connection
from pipelines.sinks.lake_tables import declare_audit
from schemas.errors import Fault, Misconfigured
from schemas.tables import REIDENTIFICATIONS

_NAMES = tuple(column.name for column in REIDENTIFICATIONS)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Reidentification:
    """One row; see schemas.tables.REIDENTIFICATIONS. Times are UTC."""

    run: str
    who: str
    account: str
    purpose: str
    columns: tuple[str, ...]
    contract: str
    engine: str
    query: str
    destination: str
    started: datetime
    ended: datetime
    rows: int = 0
    turned_back: int = 0
    no_token: int = 0

    def sentence(self) -> str:
        """What was turned back in one line, as a person reads it."""
        return f"{self.rows:,} rows   {self.turned_back:,} values turned back   {self.no_token:,} were no token of these keys"

    def to_json(self) -> str:
        """The row as one JSON object; times as RFC 3339."""
        row = asdict(self) | {"started": self.started.isoformat(), "ended": self.ended.isoformat()}
        return json.dumps({name: row[name] for name in _NAMES})


def prepare(folder: str) -> None:
    """Makes the table where it is missing. Raises Misconfigured where this lake cannot be written to."""
    try:
        with _connected(folder) as connection:
            declare_audit(connection, Path(folder))
    except (OSError, duckdb.Error):
        raise Misconfigured([Fault(folder, f"cannot be written to{'' if os.access(folder, os.W_OK) else ' by this user'}, and nothing is turned "
                                   "back without an audit row", "run it as a user who may write the tables")]) from None


def append(folder: str, row: Reidentification) -> None:
    """Commits the row; once, however often it is called for a run. Raises duckdb.Error."""
    values: dict[str, Any] = asdict(row) | {"columns": json.dumps(row.columns)}
    with _connected(folder) as connection:
        declare_audit(connection, Path(folder))
        if _find(connection, row.run) is None:
            listed = ", ".join(f'"{name}"' for name in _NAMES)
            connection.execute(f"INSERT INTO lake.reidentifications ({listed}) VALUES ({', '.join('?' * len(_NAMES))})", [values[n] for n in _NAMES])


def find(folder: str, run: str) -> Reidentification | None:
    """The row of a run; None where it has none. Raises duckdb.Error."""
    with _connected(folder) as connection:
        return _find(connection, run)


@contextmanager
def _connected(folder: str) -> Iterator["duckdb.DuckDBPyConnection"]:
    with locked(Path(folder)):
        connection = write_connection(Path(folder))
        try:
            yield connection
        finally:
            connection.close()


def _find(connection: "duckdb.DuckDBPyConnection", run: str) -> Reidentification | None:
    listed = ", ".join(f"epoch_us({name})" if name in ("started", "ended") else f'"{name}"' for name in _NAMES)
    found = connection.execute(f"SELECT {listed} FROM lake.reidentifications WHERE run = ?", [run]).fetchone()
    if found is None:
        return None
    row = dict(zip(_NAMES, found, strict=True))
    times = {name: _EPOCH + timedelta(microseconds=row[name]) for name in ("started", "ended")}
    return Reidentification(**(row | times | {"columns": tuple(json.loads(row["columns"]))}))
