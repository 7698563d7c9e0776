"""The windows job on one machine: the windows table made anew from the stored events, in one transaction.

Windows are a function of the stored events, so this changes nothing but windows that are still open: they are written as
they stand, and a stream that goes on replaces them when it closes them.
"""

import json
import secrets
from datetime import datetime, timezone
from pathlib import Path

from pipelines.options import WindowsOptions
from pipelines.sinks.lake import Lake
from pipelines.sinks.lake_catalog import CATALOG
from schemas.contract import load
from schemas.errors import Fault, Misconfigured


def run(options: WindowsOptions) -> int:
    """Runs the job; exit code 0. Raises Misconfigured where it cannot run."""
    contract = load(options.contract, options.allow_unwrapped_keys)
    if contract.windows is None:
        raise Misconfigured([Fault("--contract", f"{contract.name} declares no windows", "add `windows` to its contract.yaml")])
    if not (Path(options.output) / CATALOG).is_file():
        raise Misconfigured([Fault(options.output, "holds no tables", "give the --output of a run")])
    name = f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    with Lake.writer(options.output, contract, name) as lake:
        changes = lake.rewindow(options.partition)
    events = changes.events
    print(f"{changes.written:,} windows written from {events:,} events, {changes.deleted:,} rows replaced")
    print(f"tables: {options.output}")
    if options.json:
        print(json.dumps({"events": events, "written": changes.written, "deleted": changes.deleted, "partitions": [d.isoformat() for d in options.partition]}))
    return 0
