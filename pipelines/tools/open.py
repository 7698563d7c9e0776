"""penstock open OUT --private_key=FILE|projects/...: prints sealed failures in clear."""

import base64
import json
import sys
from collections.abc import Iterator
from typing import Any

from pipelines.private_key import opener
from pipelines.sinks.bigquery import dataset
from pipelines.sinks.bigquery_client import Patience, connect
from pipelines.sinks.bigquery_failures import sealed
from pipelines.sinks.bigquery_jobs import Failed, Place
from pipelines.sinks.bigquery_tables import location
from pipelines.sinks.lake import Lake
from pipelines.tools.options import OpenOptions
from schemas.errors import Fault, Misconfigured, Transient
from transforms.seal import NotOurs, unseal

COLUMNS = ("run", "stage", "reason", "field", "origin", "attempt", "sealed", "key")


def run(options: OpenOptions) -> int:
    """One JSON object a failure: run, stage, reason, field, origin, attempt and the row as it was read.

    A row that is no UTF-8 is given as row_base64. Exit code 1 where a failure is sealed with another key, or somebody stops to
    answer on the way. Raises Misconfigured.
    """
    unwrap = opener(options.private_key, options.kms_endpoint)
    others = shown = 0
    try:
        for failure in _dataset(options) if options.output.startswith("bq://") else _lake(options):
            content = failure.pop("sealed")
            failure.pop("key")
            try:
                row = None if content is None else unseal(content, failure["run"], failure["stage"], failure["reason"], failure["origin"], unwrap)
            except NotOurs:
                others += 1
                continue
            print(json.dumps(failure | _shown(row), ensure_ascii=False))
            shown += 1
    except (Failed, Transient) as error:
        if not shown:
            raise Misconfigured([Fault(options.output, str(error), "try again, and check the endpoints and that the account may read the tables")]) from None
        print(f"penstock open failed: {error}; there are more", file=sys.stderr)
        return 1
    if others:
        print(f"penstock open: {others:,} failures are sealed with another key", file=sys.stderr)
    return 1 if others else 0


def _lake(options: OpenOptions) -> list[dict[str, Any]]:
    chosen = [f"{column} = '{value}'" for column, value in (("reason", options.reason), ("run", options.run.replace("'", "''"))) if value]
    where = f" where {' and '.join(chosen)}" if chosen else ""
    found: list[dict[str, Any]] = Lake.reader(options.output).query(f"select {', '.join(COLUMNS)} from failures{where} order by run, origin").to_pylist()
    return found


def _dataset(options: OpenOptions) -> Iterator[dict[str, Any]]:
    named, patience = dataset(options.output), Patience(seconds=15.0)
    client = connect(named.project, options.bigquery_endpoint)
    return sealed(Place(client, location(client, named, patience), patience), named, COLUMNS, options.reason, options.run)


def _shown(row: bytes | None) -> dict[str, str | None]:
    if row is None:
        return {"row": None}
    try:
        return {"row": row.decode()}
    except UnicodeDecodeError:
        return {"row_base64": base64.b64encode(row).decode()}
