"""A process in which Beam's insertAll leads to a BigQuery of this machine, for tests: python -m tests.inserting URL, a table's name a line.

Beam takes neither an endpoint nor credentials for it: BIGQUERY_EMULATOR_HOST and the line below stand in, in this process alone.
"""

import json
import sys
from typing import Any

import apache_beam as beam
import google.auth
from apache_beam.io.gcp.internal.clients import bigquery
from google.auth.credentials import AnonymousCredentials

TOLD: dict[str, list[Any]] = {}


def keep(element: Any, name: str) -> None:
    TOLD.setdefault(name, []).append(element)


def one(table: str) -> dict[str, Any]:
    """Inserts ten rows: the rows that the books hold, and the origins of refused ones; or the type of what ended it."""
    from pipelines.sinks.bigquery import InsertRows
    from tests.test_append_rows import COLUMNS, batch
    TOLD.clear()
    try:
        with beam.Pipeline("FnApiRunner") as pipeline:
            loaded = pipeline | beam.Create([batch(*range(6)), batch(*range(6, 10))]) | InsertRows(f"test-project:tables.{table}", COLUMNS, "run-1")
            loaded.tally | "Tallies" >> beam.Map(keep, "tallies")
            loaded.refused | "Refused" >> beam.Map(keep, "refused")
    except Exception as error:  # whatever it is, the test that asked shows it: nothing reads this process' stderr
        return {"ended": type(error).__name__, "said": str(error)[:300]}
    return {"books": sum(t.rows for t in TOLD["tallies"]), "refused": sorted(row["origin"] for found in TOLD.get("refused", []) for row in found.to_pylist())}


if __name__ == "__main__":
    google.auth.default = lambda *_, **__: (AnonymousCredentials(), "test-project")
    bigquery.BigqueryV2.BASE_URL = f"{sys.argv[1]}/bigquery/v2/"
    from tests.inserting import one  # what is born in __main__ is pickled by value: its TOLD would be another one
    for line in sys.stdin:
        print(json.dumps(one(line.strip())), flush=True)
