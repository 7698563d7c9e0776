"""Failures that are to be replayed, and the table `replays` that says which of them were: failures themselves only grow."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import starmap
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from pipelines.sinks.lake_catalog import Reader, locked, write_connection
from pipelines.sinks.lake_tables import declare_replays
from pipelines.sinks.replays import KEY, NEVER, Choice, Failure, Group, left
from schemas.errors import Stage
from transforms.marks import Marks

_FETCHED = 256  # rows


class Pending:
    """The failures of a lake that were not replayed yet, as they were when it was made."""

    def __init__(self, reader: Reader, choice: Choice) -> None:
        """reader: the lake's, for this alone as long as it is used."""
        self._connection, self._choice = reader.connection, choice
        tables = {name for (name,) in self._connection.execute("SELECT table_name FROM duckdb_tables() WHERE database_name = 'lake'").fetchall()}
        wanted = {"f.stage = ?": choice.stage, "f.reason = ?": choice.reason, "f.run = ?": choice.run,
                  "r.started >= ?": choice.since, "r.started < ?": choice.until}
        chosen = {clause: value for clause, value in wanted.items() if value}
        self._values = list(chosen.values())
        clauses = [*chosen, *(["NOT EXISTS (FROM replays p WHERE p.run = f.run AND p.stage = f.stage AND p.reason = f.reason "
                               "AND p.origin = f.origin AND p.attempt = f.attempt)"] if "replays" in tables else [])]
        self._from = f"failures f LEFT JOIN runs r ON r.run = f.run WHERE {' AND '.join(clauses) or 'true'}"
        self._settled = "coalesce(r.job = 'replay' AND r.contract = ?, false)"
        listed = ", ".join(f"'{stage}'" for stage in NEVER)
        self._rows = f"f.stage NOT IN ({listed}) AND f.sealed IS NOT NULL AND NOT {self._settled}"

    def groups(self) -> list[Group]:
        """Their numbers, by stage, reason and whether they are replayed."""
        found = self._connection.execute(f"""SELECT f.stage, f.reason, f.sealed IS NULL AS empty, {self._settled} AS settled, count(*)
                                             FROM {self._from} GROUP BY ALL ORDER BY ALL""", [self._choice.settled, *self._values]).fetchall()
        return [Group(stage, reason, rows, left(self._choice, stage, reason, empty, settled)) for stage, reason, empty, settled, rows in found]

    def rows(self) -> Iterator[Failure]:
        """Those that hold a row, sealed: run after run as they began, in each as the input had them."""
        found = self._connection.execute(f"""
            SELECT f.run, f.stage, f.reason, f.origin, f.attempt, f.sealed FROM {self._from} AND {self._rows}
            ORDER BY r.started, f.run, regexp_replace(f.origin, '[0-9]*$', ''), try_cast(regexp_extract(f.origin, '[0-9]*$') AS HUGEINT),
                     f.origin, f.stage, f.reason, f.attempt""", [*self._values, self._choice.settled])
        for batch in found.to_arrow_reader(_FETCHED):
            yield from starmap(Failure, zip(*(column.to_pylist() for column in batch.columns)))

    def late(self) -> list[Failure]:
        """Late rows whose event is stored, where they are asked for; others are sealed as stored, and cannot come again."""
        if not self._choice.late:
            return []
        found = self._connection.execute(f"""SELECT f.run, f.stage, f.reason, f.origin, f.attempt FROM {self._from} AND f.stage = '{Stage.WINDOW}'
                                            AND f.origin IN (SELECT origin FROM events)""", self._values).fetchall()
        return [Failure(*row) for row in found]


@dataclass(frozen=True)
class Copies:
    """Answers the marks of stored rows that have the ids of these, sorted by id, and no others: few, whatever is stored."""

    folder: str
    time: str
    horizon: timedelta

    def copies(self, rows: Marks) -> Marks | None:
        if not len(rows.ids):
            return None
        low, high = rows.around(self.horizon)
        connection = write_connection(Path(self.folder))
        try:
            connection.register("asked", pa.table({"id": np.unique(rows.ids)}))
            found = connection.execute(f"""
                SELECT id_hash, content_hash, epoch_us("{self.time}") AS time FROM lake.events SEMI JOIN asked ON id_hash = asked.id
                WHERE d BETWEEN make_timestamp(?)::DATE AND make_timestamp(?)::DATE""", [low, high]).to_arrow_table()
            connection.unregister("asked")
        finally:
            connection.close()
        return Marks(*(column.to_numpy() for column in found.columns)).by_id()


def prepare(connection: "duckdb.DuckDBPyConnection", folder: Path) -> None:
    """Makes the table where it is missing. Raises Misconfigured."""
    with locked(folder):
        declare_replays(connection, folder)


def rival(connection: "duckdb.DuckDBPyConnection", replayed: pa.Table) -> str | None:
    """Why these may not be marked, or None: a run that replayed one of them has committed. In the transaction that is open."""
    connection.register("replayed", replayed)
    same = " AND ".join(f"p.{name} = m.{name}" for name in KEY)
    found = connection.execute(f"SELECT p.replayed_by FROM lake.replays p JOIN replayed m ON {same} LIMIT 1").fetchone()
    connection.unregister("replayed")
    return f"run {found[0]} replayed the same rows while this run was working; run it again" if found else None


def mark(connection: "duckdb.DuckDBPyConnection", replayed: pa.Table) -> None:
    """Adds them to `replays`, in the transaction that is open."""
    connection.register("replayed", replayed)
    connection.execute("INSERT INTO lake.replays BY NAME SELECT * FROM replayed")
    connection.unregister("replayed")
