"""The views on BigQuery, ours and bqemulator: the numbers that they give on a lake."""

import re
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone

import pytest
from google.cloud import bigquery as bigquery_client

from pipelines.sinks.bigquery_client import connect
from pipelines.sinks.bigquery_tables import wanted_tables
from schemas import bigquery, views
from schemas.contract import load
from tests.bigquery_emulator import MISSING, emulator
from tests.bigquery_query import make_view, translated
from tests.bigquery_server import BigQuery
from tests.lakes import DAY, NEXT


@pytest.fixture(scope="module", params=["ours", "bqemulator"])
def dataset(request) -> Iterator[Callable[[str], list[dict]]]:
    """p-1.ds with the tables of census; what asks it."""
    if request.param == "ours":
        with BigQuery("p-1") as service:
            yield _ours(service)
        return
    with emulator("p-1") as found:
        if found is None:
            pytest.skip(MISSING)
        client = connect("p-1", found[0])

        def ask(sql: str) -> list[dict]:
            return [dict(row) for row in client.query(sql, retry=None, job_retry=None).result(retry=None)]

        client.create_dataset("ds", retry=None)
        for name in TABLES:
            client.create_table(bigquery_client.Table(f"p-1.ds.{name}", [bigquery_client.SchemaField(f["name"], f["type"], f["mode"]) for f in fields(name)]),
                                retry=None)
        yield ask


def _ours(service: BigQuery) -> Callable[[str], list[dict]]:
    """Ours answers SELECT alone: rows are put into its store, and views made as the API makes them."""
    service.store.make_dataset("ds", {})
    for name, table in wanted_tables(load("census"), "").items():
        service.store.make_table("ds", name, table)
    client = connect("p-1", service.url)

    def ask(sql: str) -> list[dict]:
        if sql.startswith("CREATE"):
            name, query = re.fullmatch(r"CREATE OR REPLACE VIEW `p-1.ds.(\w+)`\nOPTIONS .*? AS\n(.*)", sql, re.DOTALL).groups()
            make_view(service.store, "ds", name, {"view": {"query": query, "useLegacySql": False}}, anew=True)
        elif sql.startswith("INSERT"):
            service.store.db.execute(translated(sql))
        else:
            return [dict(row) for row in client.query(sql, retry=None, job_retry=None).result(retry=None)]
        return []

    return ask


TABLES = ("events", "failures", "runs", "replays")
WORTH = {"STRING": "'[]'", "INT64": "0", "DATE": "DATE '2026-03-04'", "TIMESTAMP": "TIMESTAMP '2026-03-04 00:00:00 UTC'", "BOOL": "FALSE"}


def fields(table: str) -> list[dict]:
    return bigquery.tables(load("census"))[table]["schema"]["fields"]


def insert(table: str, rows: list[dict[str, str]]) -> str:
    """SQL that inserts rows; what a row does not say is null or, where that may not be, any value."""
    names = [f["name"] for f in fields(table)]
    values = [[row.get(f["name"], WORTH[f["type"]] if f["mode"] == "REQUIRED" else "NULL") for f in fields(table)] for row in rows]
    return f"INSERT INTO `p-1.ds.{table}` ({', '.join(f'`{n}`' for n in names)}) VALUES {', '.join('(' + ', '.join(v) + ')' for v in values)}"


def test_bigquery_gives_the_same_numbers(dataset) -> None:
    first, second = "DATE '2026-03-04'", "DATE '2026-03-05'"
    for statement in 2 * views.bigquery_ddl(load("census"), "p-1.ds"):
        dataset(statement)
    assert [dataset(f"SELECT * FROM `p-1.ds.{name}`") for name in views.NAMES if name != "freshness"] == [[]] * 4, "no rows yet"
    stored = [{"id_hash": str(i), "content_hash": str(i), "d": second if i > 5 else first} for i in range(21)]
    dataset(insert("events", [*stored, stored[1] | {"origin": "'again'", "watermark": "TIMESTAMP '2026-03-04 10:00:00 UTC'"}]))
    refused = [("a", "malformed", "NULL", 2), ("a", "unscorable", "NULL", 2), ("b", "conflict", second, 5), ("b", "late", second, 3), ("r1", "wrong_type", first, 4), ("r2", "wrong_type", first, 1)]
    dataset(insert("failures", [{"run": f"'{run}'", "reason": f"'{reason}'", "d": day, "stage": "'window'" if reason == "late" else "'decode'",
                                 "origin": f"'file:{n}'"} for run, reason, day, rows in refused for n in range(rows)]))
    dataset(insert("replays", [{"run": "'a'", "stage": "'decode'", "reason": "'unscorable'", "origin": f"'file:{n}'", "outcome": "'stored'"} for n in range(2)]))
    books = [("a", 10, "[]", 5, 5), ("b", 11, "[]", 5, 5), ("r1", 12, '["2026-03-04"]', 5, 5), ("r2", 13, '["2026-03-04"]', 5, 5),
             ("odd", 14, "[]", 10, 4), ("odd", 15, "[]", 0, 5), ("even", 14, "[]", 10, 4), ("even", 15, "[]", 0, 6)]
    dataset(insert("runs", [{"run": f"'{run}'", "ended": f"TIMESTAMP '2026-03-06 {hour}:00:00 UTC'", "partitions": f"'{days}'", "read": str(read),
                             "stored": str(kept), "balanced": str(read == kept).upper()} for run, hour, days, read, kept in books]))
    assert {tuple(r.values()) for r in dataset("SELECT d, fate, reason, n, seen, rate FROM `p-1.ds.refused_rates`")} == {
        (None, "refused", "malformed", 2, 2, 1.0), (DAY, "refused", "wrong_type", 1, 8, 0.125), (NEXT, "refused", "conflict", 5, 20, 0.25),
        (NEXT, "late", "late", 3, 20, 0.15)}
    assert [tuple(r.values()) for r in dataset("SELECT d, stored, median_before, days_before, drift FROM `p-1.ds.volume_drift` ORDER BY d")] == [
        (DAY, 7, None, 0, None), (NEXT, 15, 7.0, 1, pytest.approx(8 / 7))]
    assert [(r["run"], r["read"], r["stored"], r["missing"]) for r in dataset("SELECT * FROM `p-1.ds.unbalanced_runs`")] == [("odd", 10, 9, 1)]
    once = dataset("SELECT * FROM `p-1.ds.events_once`")
    assert sorted(r["id_hash"] for r in once) == list(range(21)) and {r["origin"] for r in once} == {"[]"}
    asked = time.time()
    (fresh,) = dataset("SELECT * FROM `p-1.ds.freshness`")
    assert fresh["last_run"] == datetime(2026, 3, 6, 15, tzinfo=timezone.utc) and fresh["newest_day"] == NEXT
    assert asked - 60 < fresh["last_run_age_seconds"] + fresh["last_run"].timestamp() < time.time() + 60
