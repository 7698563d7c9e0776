"""The windows job on one machine: the windows table made anew from the stored events; in one transaction on a lake, day by day on BigQuery.

Windows are a function of the stored events, so this changes nothing but windows that are still open: they are written as
they stand, and a stream that goes on replaces them when it closes them.
"""

import json
import secrets
import sys
from datetime import datetime, timezone
from pathlib import Path

from pipelines.contracts import load
from pipelines.options import WindowsOptions
from pipelines.sinks.bigquery import dataset
from pipelines.sinks.bigquery_client import Patience, connect
from pipelines.sinks.bigquery_jobs import Failed, Place
from pipelines.sinks.bigquery_lease import STREAM, Lease
from pipelines.sinks.bigquery_tables import compare, faults, location, wanted_tables
from pipelines.sinks.bigquery_windows import HELD, rewindow_all
from pipelines.sinks.lake import Lake, Rewindowed
from pipelines.sinks.lake_catalog import CATALOG
from schemas.contract import Contract
from schemas.errors import Fault, Misconfigured, Transient


def run(options: WindowsOptions) -> int:
    """Runs the job; exit code 0. Raises Misconfigured where it cannot run."""
    contract = load(options.contract, options.allow_unwrapped_keys, options.storage_endpoint)
    if contract.windows is None:
        raise Misconfigured([Fault("--contract", f"{contract.name} declares no windows", "add `windows` to its contract.yaml")])
    name = f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    done = _dataset(options, contract, name) if options.output.startswith("bq://") else _lake(options, contract, name)
    if done is None:
        return 1
    print(f"{done.written:,} windows written from {done.events:,} events, {done.deleted:,} rows replaced")
    print(f"tables: {options.output}")
    if options.json:
        print(json.dumps({**done._asdict(), "partitions": [d.isoformat() for d in options.partition]}))
    return 0


def _lake(options: WindowsOptions, contract: Contract, name: str) -> Rewindowed:
    if not (Path(options.output) / CATALOG).is_file():
        raise Misconfigured([Fault(options.output, "holds no tables", "give the --output of a run")])
    with Lake.writer(options.output, contract, name) as lake:
        return lake.rewindow(options.partition)


def _dataset(options: WindowsOptions, contract: Contract, name: str) -> Rewindowed | None:
    named, patience = dataset(options.output), Patience(seconds=15.0)
    client = connect(named.project, options.bigquery_endpoint)
    try:
        place = Place(client, location(client, named, patience), Patience())
        found = faults(named, compare(client, named, wanted_tables(contract, ""), patience), loading=True)
    except Transient as error:
        raise Misconfigured([Fault("--output", str(error), "try again, or check --bigquery_endpoint")]) from None
    if found:
        raise Misconfigured(found)
    lease = Lease(place._replace(patience=patience), named, f"the windows job {name}", [*options.partition, HELD] if options.partition else [STREAM])
    lease.take()
    try:
        with lease.renewed():
            events, changed = rewindow_all(place, named, contract, options.partition, name)
    except (Failed, Transient) as error:
        print(f"penstock windows failed: {error}; some days are as they were: run it again", file=sys.stderr)
        return None
    return Rewindowed(events, changed.written, changed.deleted)
