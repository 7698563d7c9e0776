"""Runs that write to a lake: which of them live, what they started from, and what dead ones left behind.

A run holds a lock on OUT/running/RUN.lock while it lives; the system lets go of it however the process ends. Files that
the catalog does not know and whose run is dead are orphans: nothing reads them, and the next run removes them.
"""

import fcntl
import json
import re
import shutil
import time
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import BinaryIO

import duckdb

from pipelines.sinks.lake_catalog import DATA, RUNNING
from schemas.errors import Fault, Misconfigured

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_FOREIGN = "ducklake-"  # what DuckLake names itself: merged files, and inserts of other programs
_FOREIGN_SECONDS = 3600.0


def enlist(folder: Path, run: str, days: Iterable[date] = ()) -> BinaryIO:
    """Marks the run as living until the file is closed; days: those that it replaces. Call it under the lock of the lake. Raises Misconfigured."""
    if not NAME.fullmatch(run):
        raise ValueError("the id of a run has letters, digits, '.', '_' and '-', a letter or digit first")
    file = open(folder / RUNNING / f"{run}.lock", "ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise Misconfigured([Fault(f"run {run}", "is running already", "start a run under an id of its own")]) from None
    file.truncate(0)
    file.write(json.dumps([day.isoformat() for day in days]).encode())
    file.flush()
    return file


def replacing(folder: Path) -> dict[str, frozenset[date]]:
    """The days that each living run replaces; none of a run that adds. Call it under the lock of the lake."""
    return {run: frozenset(map(date.fromisoformat, json.loads((folder / RUNNING / f"{run}.lock").read_bytes() or b"[]"))) for run in _living(folder)}


def refuse(folder: Path, run: str, days: Iterable[date]) -> None:
    """Raises Misconfigured where a living run replaces one of these days, unless it is the backfill that this run is a day of. Call it under
    the lock of the lake.
    """
    living = {name: theirs for name, theirs in replacing(folder).items() if f"-{name}-" not in run}  # see the name of a day in pipelines/backfill.py
    taken = {day: name for name, theirs in living.items() for day in days if day in theirs}
    if taken:
        raise Misconfigured([Fault(f"day {day}", f"is being written by run {name}", "wait for its end and call again, or end it")
                             for day, name in sorted(taken.items())])


def discharge(folder: Path, run: str, file: BinaryIO) -> None:
    """The run is over: removes what it kept beside the tables. Call it under the lock of the lake."""
    file.close()
    _forget(folder, run)


def parked(folder: Path, run: str) -> Path:
    """Where batches of this run may wait."""
    return folder / RUNNING / f"{run}.parked"


def verdict(folder: Path, run: str) -> Path:
    """Where the commit of this run says why it was refused."""
    return folder / RUNNING / f"{run}.refused"


def clean(connection: "duckdb.DuckDBPyConnection", folder: Path) -> int:
    """Removes the files of dead runs; answers how many. Call it under the lock of the lake.

    A file that DuckLake named is removed when it is an hour old: a program beside us may be about to commit it.
    """
    living = _living(folder)
    known = _known(connection)
    root, now, removed = folder / DATA, time.time(), 0
    for path in root.rglob("*"):
        if path.suffix not in (".parquet", ".part") or str(path.relative_to(root)) in known:
            continue
        if any(path.name.startswith(f"{run}-") for run in living):
            continue
        if not path.name.startswith(_FOREIGN) or path.stat().st_mtime < now - _FOREIGN_SECONDS:
            path.unlink()
            removed += 1
    return removed


def withdraw(connection: "duckdb.DuckDBPyConnection", folder: Path, run: str) -> None:
    """Removes the files of one run, but for those that the catalog knows."""
    known = _known(connection)
    for path in (folder / DATA).rglob(f"{run}-*"):
        if str(path.relative_to(folder / DATA)) not in known:
            path.unlink()


def _living(folder: Path) -> list[str]:
    """The runs whose lock is held; what the others left in OUT/running is removed."""
    living = []
    for path in (folder / RUNNING).glob("*.lock"):
        with open(path, "ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                living.append(path.stem)
                continue
        _forget(folder, path.stem)
    return living


def _forget(folder: Path, run: str) -> None:
    shutil.rmtree(parked(folder, run), ignore_errors=True)
    verdict(folder, run).unlink(missing_ok=True)
    (folder / RUNNING / f"{run}.lock").unlink(missing_ok=True)


def _known(connection: "duckdb.DuckDBPyConnection") -> set[str]:
    """Every file of any snapshot, or waiting to be deleted, by its path below OUT/data.

    https://ducklake.select/docs/stable/specification/tables/overview
    """
    return {path for (path,) in connection.execute("""
        WITH place AS (SELECT t.table_id, s.path || t.path AS folder
                       FROM __ducklake_metadata_lake.ducklake_table t JOIN __ducklake_metadata_lake.ducklake_schema s USING (schema_id))
        SELECT folder || path FROM __ducklake_metadata_lake.ducklake_data_file JOIN place USING (table_id)
        WHERE path_is_relative
        UNION ALL SELECT folder || path FROM __ducklake_metadata_lake.ducklake_delete_file JOIN place USING (table_id)
        WHERE path_is_relative
        UNION ALL SELECT path FROM __ducklake_metadata_lake.ducklake_files_scheduled_for_deletion WHERE path_is_relative""").fetchall()}
