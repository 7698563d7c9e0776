"""What the variants stored of the same messages: their books, and one digest for all of them."""

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import duckdb
import orjson
import pyarrow as pa

from pipelines.sinks.lake import Lake
from schemas.contract import Contract

_LEFT_OUT = {"id_hash", "content_hash", "origin", "run", "watermark", "score"}


class Stored(NamedTuple):
    """Rows by fate, and an order-free digest of the events with an undisputed id."""

    stored: int
    repeated: int
    refused: int
    digest: str


def disputed(contract: Contract, bodies: Iterable[bytes]) -> list[str]:
    """The ids that stand before more than one content: which of them comes first is up to the broker."""
    contents: dict[str, bytes] = {}
    found = set()
    for body in bodies:
        try:
            row = orjson.loads(body)
        except orjson.JSONDecodeError:
            continue
        if isinstance(row, dict) and isinstance(row.get(contract.id), str) and contents.setdefault(row[contract.id], body) != body:
            found.add(row[contract.id])
    return sorted(found)


def stored(output: Path, contract: Contract, apart: list[str]) -> Stored:
    """Read from the tables, as whoever asks them sees them."""
    with closing(Lake.reader(str(output))) as reader:
        connection: duckdb.DuckDBPyConnection = reader.connection
        books = connection.execute("SELECT sum(stored)::BIGINT, sum(repeated)::BIGINT, sum(refused)::BIGINT FROM lake.runs").fetchone()
        names = [name for name, *_ in connection.execute("DESCRIBE lake.events").fetchall() if name not in _LEFT_OUT]
        connection.register("apart", pa.table({"id": pa.array(apart, pa.string())}))
        (digest,) = connection.execute(f"""SELECT sum(hash(round(score::DOUBLE, 4), {', '.join(sorted(names))})::HUGEINT) FROM lake.events
                                           WHERE {contract.id} NOT IN (SELECT id FROM apart)""").fetchone()
    return Stored(*books, f"{digest:x}")
