"""Upkeep of a lake: small files become large ones, old snapshots go, and their files after them.

Nothing that somebody may be reading is deleted: a file that is no longer needed waits for a day at least, so a query (or
a transaction) that lasts longer than that may fail and must be asked again.

DuckLake keeps times in SQLite as text and compares them with a text of another form, so that of `older_than` only the
date counts: a file that was put aside today is older than an hour at once, and one of 23:59 is a day old two minutes
later. Two days therefore mean more than one (measured with DuckDB 1.5.5).
"""

import time
from pathlib import Path

import duckdb

from pipelines.sinks import lake_runs
from pipelines.sinks.lake_catalog import DATA

SMALL_BYTES = 16 << 20
MOST_SMALL = 64  # small files in one partition of one table
KEPT = "INTERVAL 8 DAY"  # how far time travel (SELECT ... AT (TIMESTAMP => ...)) reaches back
GRACE = "INTERVAL 2 DAY"


def keep_up(connection: "duckdb.DuckDBPyConnection", most_small: int = MOST_SMALL, kept: str = KEPT, grace: str = GRACE) -> bool:
    """Merges where a partition has more small files than that; True where it did. Call it under the lock of the lake.

    Raises duckdb.Error, and then the tables are as they were.
    """
    (crowded,) = connection.execute(f"""
        SELECT count(*) FROM (SELECT 1 FROM __ducklake_metadata_lake.ducklake_data_file
                              WHERE end_snapshot IS NULL AND file_size_bytes < {SMALL_BYTES}
                              GROUP BY table_id, regexp_extract(path, '^d=[^/]*') HAVING count(*) > {most_small})""").fetchone()
    if crowded:
        connection.execute(f"CALL ducklake_merge_adjacent_files('lake', max_file_size => {SMALL_BYTES})")
    connection.execute(f"CALL ducklake_expire_snapshots('lake', older_than => now() - {kept})")
    connection.execute(f"CALL ducklake_cleanup_old_files('lake', older_than => now() - {grace})")
    return bool(crowded)


class Tidy:
    """Upkeep of a lake that a stream writes to, run after run. Call it under the lock of the lake.

    Every `often` calls small files are merged. Every `grace` seconds old snapshots go, and so do the files that were put
    aside before the last time: a query that lasts longer than that must be asked again. A stream makes a snapshot a run, so
    time travel reaches back `kept` seconds only. DuckLake's own clean-up counts in days (see above), and a day of runs is
    a hundred thousand files.
    """

    def __init__(self, connection: "duckdb.DuckDBPyConnection", folder: Path, often: int = 100, grace: float = 600.0, kept: float = 3_600.0) -> None:
        self.connection, self.folder, self.often, self.grace, self.kept = connection, folder, often, grace, kept
        self.runs, self._last, self._aside = 0, time.monotonic(), frozenset[int]()

    def due(self) -> bool:
        """Counts a run; whether there is anything to do after it."""
        self.runs += 1
        return self.runs % self.often == 0 or time.monotonic() - self._last >= self.grace

    def __call__(self, idle: bool = False) -> None:
        if self.runs % self.often == 0:
            self.connection.execute(f"CALL ducklake_merge_adjacent_files('lake', max_file_size => {SMALL_BYTES})")
        if time.monotonic() - self._last >= self.grace:
            self._last = time.monotonic()
            self.remove()
            if idle:
                lake_runs.clean(self.connection, self.folder)

    def remove(self) -> None:
        """Lets old snapshots go, and removes the files that were aside already when it was called before."""
        old = [version for (version,) in self.connection.execute(
            """SELECT snapshot_id FROM ducklake_snapshots('lake')
            WHERE snapshot_time < now() - to_seconds(?) AND snapshot_id < (FROM ducklake_current_snapshot('lake'))""", [self.kept]).fetchall()]
        if old:
            self.connection.execute(f"CALL ducklake_expire_snapshots('lake', versions => {old})")
        aside = dict(self.connection.execute("""SELECT data_file_id, path FROM __ducklake_metadata_lake.ducklake_files_scheduled_for_deletion
                                                WHERE path_is_relative""").fetchall())
        gone = sorted(self._aside & aside.keys())
        for file in gone:
            (self.folder / DATA / aside[file]).unlink(missing_ok=True)
        if gone:
            self.connection.execute(f"""DELETE FROM __ducklake_metadata_lake.ducklake_files_scheduled_for_deletion
                                        WHERE data_file_id IN ({', '.join(map(str, gone))})""")
        self._aside = frozenset(aside.keys() - set(gone))
