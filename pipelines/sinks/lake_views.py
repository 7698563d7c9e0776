"""The views of a lake: made when missing, made anew where what is shipped has changed."""

import hashlib

import duckdb

from pipelines.sinks.lake_catalog import quoted
from schemas import views
from schemas.contract import Contract


def statements(connection: "duckdb.DuckDBPyConnection", contract: Contract) -> list[str]:
    """SQL that brings the views up to date, for one transaction; empty where they are. Call it under the lock of the lake.

    DuckDB keeps a view's SQL in other words than it was given in, so each view's comment ends with a digest of it. A table that somebody
    made under a view's name stays as it is.
    """
    there = dict(connection.execute("SELECT view_name, comment FROM duckdb_views() WHERE database_name = 'lake' AND NOT internal").fetchall())
    taken = {name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables() WHERE database_name = 'lake'").fetchall()}
    found: list[str] = []
    for name, view in views.duckdb(contract).items():
        comment = f"{view.doc} [{hashlib.sha256(view.sql.encode()).hexdigest()[:12]}]"
        if name not in taken and there.get(name) != comment:
            found += [f"CREATE OR REPLACE VIEW lake.{name} AS {view.sql}", f"COMMENT ON VIEW lake.{name} IS {quoted(comment)}"]
    if not found:
        return []
    (home,) = connection.execute("SELECT current_database()").fetchone()
    # Without the name of the catalog in it, a view works wherever a user attaches the lake.
    return ["USE lake", *found, f'USE "{home}"']
