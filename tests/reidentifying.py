"""A dataset of census events on this machine's BigQuery, and one beside it for values, to turn tokens back in."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.__main__ import main
from pipelines.tools.generate import write
from tests.bigquery_server import BigQuery
from tests.bigquery_write_server import BigQueryWrite

SQL = "select application_id, email, ssn, age, submitted_at, d from events order by application_id desc"


class World(NamedTuple):
    """A dataset of events, ds, and one for values, clear; first: by id the first event that was read; input: the events' files."""

    bigquery: BigQuery
    write: BigQueryWrite
    first: dict[str, dict[str, Any]]
    keys: str
    input: str

    def job(self, table: str, *more: str, sql: str = SQL, columns: str = "email,ssn", purpose: str = "fraud case 4711", contract: str = "census",
            keys: object = "") -> list[str]:
        return ["reidentify", "bq://project.ds", sql, f"--contract={contract}", f"--columns={columns}", f"--purpose={purpose}",
                f"--destination={table if '/' in table else f'bq://project.clear.{table}'}", f"--keys={keys or self.keys}",
                f"--bigquery_endpoint={self.bigquery.url}", f"--bigquery_storage_endpoint={self.write.host}", *more]

    def as_read(self, rows: list[dict[str, Any]]) -> bool:
        """Whether the rows hold what was read."""
        return [{n: r[n] for n in ("email", "ssn")} for r in rows] == [{n: self.first[r["application_id"]].get(n) for n in ("email", "ssn")} for r in rows]

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Of a table of values; none where there is no table."""
        there = ("clear", table) in self.bigquery.store.tables
        return self.bigquery.ask(f"select * from clear.{table} order by all") if there else []

    def audit(self) -> list[dict[str, Any]]:
        there = ("ds", "reidentifications") in self.bigquery.store.tables
        return self.bigquery.ask("select * from ds.reidentifications order by started, run") if there else []


def first_read(folder: Path) -> dict[str, dict[str, Any]]:
    """By id the first event of the file of census events in a folder."""
    first: dict[str, dict[str, Any]] = {}
    for line in next(folder.glob("*.ndjson")).read_bytes().splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        first.setdefault(row.get("application_id"), row)
    return first


@contextmanager
def world_of(key_folder: Path, folder: Path) -> Iterator[World]:
    """The events, stored by these keys; folder: for their files."""
    write("census", 300, 3, folder / "in")
    first = first_read(folder / "in")
    with BigQuery("project") as bigquery, BigQueryWrite(bigquery.store) as write_server:
        for name in ("ds", "clear"):
            bigquery.store.make_dataset(name, {})
        bigquery.store.make_dataset("public", {"access": [{"role": "READER", "specialGroup": "allAuthenticatedUsers"}]})
        there = ["--contract=census", "--output=bq://project.ds", f"--bigquery_endpoint={bigquery.url}"]
        assert main(["tables", *there, "--apply"]) == 0
        assert main(["batch", *there, f"--input={folder}/in/*.ndjson", f"--keys={key_folder}", "--partition=2026-03-03,2026-03-04,2026-03-05"]) == 0
        yield World(bigquery, write_server, first, str(key_folder), f"{folder}/in/*.ndjson")
