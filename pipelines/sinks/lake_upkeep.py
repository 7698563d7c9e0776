"""Upkeep of a lake: small files become large ones, old snapshots go, and their files after them.

Nothing that somebody may be reading is deleted: a file that is no longer needed waits for a day at least, so a query (or
a transaction) that lasts longer than that may fail and must be asked again.

DuckLake keeps times in SQLite as text and compares them with a text of another form, so that of `older_than` only the
date counts: a file that was put aside today is older than an hour at once, and one of 23:59 is a day old two minutes
later. Two days therefore mean more than one (measured with DuckDB 1.5.5).
"""

import duckdb

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
