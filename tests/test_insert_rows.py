"""insertAll, Beam's, under faults: exact books; what it stores twice, and where it blames rows for what is not theirs."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.bigquery_server import BigQuery, Fault
from tests.test_append_rows import FIELDS

ALL, NONE = [f"m{n}" for n in range(10)], list[str]()


@pytest.fixture(scope="module")
def inserting() -> Iterator[Callable[..., tuple[dict[str, Any], list[str]]]]:
    """Inserts ten rows into a new table of these fields: what the books hold, and the rows of the table."""
    with BigQuery("test-project") as service:
        service.store.make_dataset("tables", {})
        service.store.rejects = lambda table, row: table[1] == "rejecting" and row["n"] in (3, 8)
        child = subprocess.Popen([sys.executable, "-m", "tests.inserting", service.url], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                 stderr=subprocess.DEVNULL, text=True, env={**os.environ, "BIGQUERY_EMULATOR_HOST": service.url})
        assert child.stdin and child.stdout

        def insert(table: str, fields: list[dict[str, Any]], *faults: Fault) -> tuple[dict[str, Any], list[str]]:
            if fields:
                service.store.make_table("tables", table, {"schema": {"fields": fields}})
            service.faults = [Fault(**vars(f)) for f in faults]
            print(table, file=child.stdin, flush=True)
            told = json.loads(child.stdout.readline())
            return told, [r["origin"] for r in service.ask(f"SELECT origin FROM tables.{table} ORDER BY origin")] if fields else []

        yield insert
        child.stdin.close()
        child.wait()


@pytest.mark.parametrize(("table", "faults", "refused"), [
    ("plain", [], NONE), ("rejecting", [], ["m3", "m8"]), ("unavailable", [Fault("insertAll", 503, times=2)], NONE),
    ("quota", [Fault("insertAll", 429, "rateLimitExceeded", times=2)], NONE), ("lost", [Fault("insertAll", "lost")], NONE),
    ("quota_of_the_day", [Fault("insertAll", 403, "quotaExceeded")], ALL)])
def test_books_and_tables_agree(table, faults, refused, inserting) -> None:
    """A lost answer is known again by insertId; a quota of the day makes refused rows, as Beam has it."""
    told, found = inserting(table, FIELDS, *faults)
    assert found == [m for m in ALL if m not in refused] and told == {"books": len(found), "refused": refused}


def test_beam_blames_rows_for_a_table_that_is_missing_or_has_changed(inserting) -> None:
    """docs/delivery.md says so: they are in failures, to be replayed."""
    assert inserting("gone", [f for f in FIELDS if f["name"] != "n"]) == ({"books": 0, "refused": ALL}, [])
    assert inserting("missing", [])[0] == {"books": 0, "refused": ALL}
