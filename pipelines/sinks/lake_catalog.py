"""A lake's folder and its catalog: DuckLake (https://ducklake.select) with the catalog in SQLite, read by DuckDB.

    OUT/catalog.sqlite   which Parquet files are which table, in which snapshot
    OUT/data             the Parquet files
    OUT/running          one lock file for each run that lives; stream.trying: what a stream has in hand
    OUT/commit.lock      held by whoever changes the catalog
    OUT/stream.lock      held by a stream as long as it runs; says who it is

A folder may be moved: the catalog keeps paths below OUT/data, and every connection of ours says where that is now.
"""

import fcntl
import hashlib
import importlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from schemas.errors import Fault, Misconfigured

CATALOG, DATA, RUNNING, LOCK, HOLDER = "catalog.sqlite", "data", "running", "commit.lock", "stream.lock"
_OURS = {CATALOG, f"{CATALOG}-wal", f"{CATALOG}-shm", f"{CATALOG}-journal", DATA, RUNNING, LOCK, HOLDER}
_EXTENSIONS = ("ducklake", "sqlite_scanner", "httpfs")  # the last one encrypts what is spilled to disk; nothing is fetched with it
_WRITER_MEMORY, _WRITER_THREADS = "400MB", 2  # it lives in the process of the pipeline; a reader has a process of its own
_BUSY_MS = 20_000
FULL = "look whether the disk is full; then run it again"


def make(folder: Path) -> None:
    """Makes the folder of a lake, or checks that it is one already. Raises Misconfigured."""
    if any(part.endswith(":") for part in folder.parts):  # gs://bucket/tables, or BQ://project.dataset: rows would wait here and nobody know
        raise Misconfigured([_fault(folder, "is a URL and no folder", "give a folder of this machine, or bq://PROJECT.DATASET")])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / CATALOG).exists() and {p.name for p in folder.iterdir()} - _OURS:
            raise Misconfigured([_fault(folder, "holds other files and no tables",
                                        "give a folder that is new, empty or the output of a run")])
        (folder / DATA).mkdir(exist_ok=True)
        (folder / RUNNING).mkdir(exist_ok=True)
        with locked(folder):
            pass
    except (FileExistsError, NotADirectoryError):
        raise Misconfigured([_fault(folder, "is not a folder", "give another path")]) from None
    except OSError as error:
        raise Misconfigured([_fault(folder, f"cannot be written ({os.strerror(error.errno or 0)})",
                                    "give a folder that you may write")]) from None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Alone among all processes that change this lake, on this machine, while it lasts."""
    with open(folder / LOCK, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def engine(folder: Path) -> "duckdb.DuckDBPyConnection":
    """A connection that has all it takes but the tables: it needs no lock. Raises Misconfigured.

    All of a process share one DuckDB for a folder (loading the extensions takes 0.4 s), each with its own transactions.
    """
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    connection = duckdb.connect(f":memory:lake_{name}", config={
        "threads": _WRITER_THREADS, "memory_limit": _WRITER_MEMORY, "preserve_insertion_order": False,
        "enable_external_file_cache": False,  # a stream reads each file that it wrote once: the cache grew 10 MB a minute
        **_spill()})
    load_extensions(connection)
    connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")  # DuckLake writes times as text
    return connection


def write_connection(folder: Path) -> "duckdb.DuckDBPyConnection":
    """A connection that reads and writes the tables as lake.NAME; whoever may be the first to do so is alone (locked). Raises Misconfigured."""
    connection, first = engine(folder), not (folder / CATALOG).exists()
    try:
        _attach(connection, folder, f", DATA_INLINING_ROW_LIMIT 0, META_JOURNAL_MODE 'WAL', META_BUSY_TIMEOUT {_BUSY_MS}")
    except Misconfigured:
        if not first:
            raise
        for half in folder.glob(f"{CATALOG}*"):  # it could not be opened ever after
            half.unlink()
        raise Misconfigured([_fault(folder, f"{CATALOG} cannot be made", FULL)]) from None
    return connection


class Reader:
    """The tables, read only, by their plain names. Sees nothing else of the machine: no other file, no network."""

    def __init__(self, folder: Path) -> None:
        """Raises Misconfigured where the folder is not a lake."""
        if not (folder / CATALOG).is_file():
            raise Misconfigured([_fault(folder, "holds no tables", "give the --output of a run")])
        self.connection = duckdb.connect(":memory:", config=_spill())
        load_extensions(self.connection)
        self.connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
        _attach(self.connection, folder, f", READ_ONLY, META_BUSY_TIMEOUT {_BUSY_MS}")
        self.connection.execute("USE lake")
        self.connection.execute(f"SET allowed_directories = [{quoted(str(folder.resolve()))}]")
        self.connection.execute("SET enable_external_access = false")
        self.connection.execute("SET lock_configuration = true")

    def query(self, sql: str) -> pa.Table:
        """The answer of one SELECT. Raises duckdb.Error."""
        answer: pa.Table = self.connection.execute(sql).to_arrow_table()
        return answer

    def close(self) -> None:
        self.connection.close()


def load_extensions(connection: "duckdb.DuckDBPyConnection") -> None:
    """Loads ducklake, sqlite_scanner and httpfs: from the wheel that carries them, from ~/.duckdb, or from DuckDB's own server.

    DuckDB checks its signature on each. Raises Misconfigured where none of the three has them.
    """
    for name in _EXTENSIONS:
        if not any(_load(connection, statement) for statement in _ways(name)):
            wheel = f"duckdb-extension-{name.replace('_', '-')}=={duckdb.__version__}"
            raise Misconfigured([Fault(f"DuckDB extension {name}", "is not installed and could not be fetched",
                                       f"pip install {wheel}, or run INSTALL {name} in DuckDB where there is a network")])


def _ways(name: str) -> Iterator[str]:
    try:
        module = importlib.import_module(f"duckdb_extension_{name}")
        folder = Path(str(module.__file__)).parent if module.__file__ else Path(next(iter(module.__path__)))
        yield f"LOAD {quoted(str(folder / 'extensions' / f'v{duckdb.__version__}' / f'{name}.duckdb_extension'))}"
    except ImportError:
        pass
    yield f"LOAD {name}"
    yield f"INSTALL {name}; LOAD {name}"


def _load(connection: "duckdb.DuckDBPyConnection", statement: str) -> bool:
    try:
        connection.execute(statement)
    except duckdb.Error:
        return False
    return True


def _attach(connection: "duckdb.DuckDBPyConnection", folder: Path, options: str) -> None:
    place = folder.resolve()
    try:
        connection.execute(f"ATTACH IF NOT EXISTS {quoted(f'ducklake:sqlite:{place / CATALOG}')} AS lake "
                           f"(DATA_PATH {quoted(f'{place / DATA}/')}, OVERRIDE_DATA_PATH true{options})")
    except duckdb.Error:
        raise Misconfigured([_fault(folder, f"{CATALOG} cannot be opened as a catalog of DuckLake",
                                    "give the --output of a run, in a folder that you may write")]) from None


def _spill() -> dict[str, str | bool]:
    """Where a large sort may spill to, encrypted: not into the working directory, DuckDB's default."""
    return {"temp_directory": str(Path(tempfile.gettempdir()) / f"penstock-{os.getuid()}"), "temp_file_encryption": True}


def _fault(folder: Path, problem: str, remedy: str) -> Fault:
    return Fault(str(folder), problem, remedy)


def quoted(text: str) -> str:
    """A string literal of SQL."""
    return "'" + text.replace("'", "''") + "'"
