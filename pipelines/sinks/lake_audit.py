"""The table `reidentifications` of a folder of tables. It is made when it is first needed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import duckdb

from pipelines.sinks.audit import NAMES, Reidentification
from pipelines.sinks.lake_catalog import locked, write_connection
from pipelines.sinks.lake_tables import declare_audit
from schemas.errors import Fault, Misconfigured

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_TIMES = ("started", "ended")


@dataclass(frozen=True)
class LakeAudit:
    """folder: of the tables."""

    folder: str

    def prepare(self) -> None:
        """Makes the table where it is missing. Raises Misconfigured where this lake cannot be written to."""
        try:
            with self._connected() as connection:
                declare_audit(connection, Path(self.folder))
        except (OSError, duckdb.Error):
            by = "" if os.access(self.folder, os.W_OK) else " by this user"
            raise Misconfigured([Fault(self.folder, f"cannot be written to{by}, and nothing is turned back without an audit row",
                                       "run it as a user who may write the tables")]) from None

    def append(self, row: Reidentification) -> None:
        """Commits the row; once, however often it is called for a run. Raises duckdb.Error."""
        values = row.values()
        with self._connected() as connection:
            declare_audit(connection, Path(self.folder))
            if _find(connection, row.run) is None:
                listed = ", ".join(f'"{name}"' for name in NAMES)
                connection.execute(f"INSERT INTO lake.reidentifications ({listed}) VALUES ({', '.join('?' * len(NAMES))})", [values[n] for n in NAMES])

    def find(self, run: str) -> Reidentification | None:
        """The row of a run; None where it has none. Raises duckdb.Error."""
        with self._connected() as connection:
            return _find(connection, run)

    @contextmanager
    def _connected(self) -> Iterator["duckdb.DuckDBPyConnection"]:
        with locked(Path(self.folder)):
            connection = write_connection(Path(self.folder))
            try:
                yield connection
            finally:
                connection.close()


def _find(connection: "duckdb.DuckDBPyConnection", run: str) -> Reidentification | None:
    listed = ", ".join(f"epoch_us({name})" if name in _TIMES else f'"{name}"' for name in NAMES)
    found = connection.execute(f"SELECT {listed} FROM lake.reidentifications WHERE run = ?", [run]).fetchone()
    if found is None:
        return None
    row = dict(zip(NAMES, found, strict=True))
    return Reidentification.of(row | {name: _EPOCH + timedelta(microseconds=row[name]) for name in _TIMES})
