"""What a query spills to disk is encrypted there, and the query is answered."""

import tempfile
from pathlib import Path

from pipelines.sinks.lake_catalog import Reader, make, write_connection
from pipelines.sinks.lake_tables import declare
from schemas.contract import load

SPILLS = "SELECT 'a row of a person ' || md5(i::VARCHAR) AS x FROM range(2_000_000) AS t(i) ORDER BY x"


def test_a_query_larger_than_memory_is_answered_and_what_it_spills_is_encrypted(tmp_path: Path) -> None:
    make(tmp_path)
    connection = write_connection(tmp_path)
    try:
        connection.execute("SET memory_limit = '60MB'; SET threads = 1; SET temp_directory = ?", [tempfile.mkdtemp(dir=tmp_path)])
        rows = connection.execute(SPILLS).to_arrow_reader(1_000)
        found = rows.read_next_batch()["x"].to_pylist()
        spilled = connection.cursor().execute("SELECT sum(size) FROM duckdb_temporary_files()").fetchone()
        assert connection.cursor().execute("SELECT current_setting('temp_file_encryption')").fetchone() == (True,)
        assert spilled[0] > 10_000_000
        for batch in rows:
            found += batch["x"].to_pylist()
        assert len(found) == 2_000_000 and found == sorted(found)
    finally:
        connection.close()


def test_questions_to_the_tables_spill_encrypted_too(tmp_path: Path) -> None:
    make(tmp_path)
    connection = write_connection(tmp_path)
    declare(connection, tmp_path, load("census"))
    connection.close()
    reader = Reader(tmp_path)
    try:
        assert reader.query("SELECT current_setting('temp_file_encryption') AS x")["x"].to_pylist() == [True]
    finally:
        reader.close()
