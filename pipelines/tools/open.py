"""penstock open OUT --private_key=FILE: prints sealed failures in clear."""

import base64
import json
import sys
from pathlib import Path

from pipelines.sinks.lake import Lake
from pipelines.tools.options import OpenOptions
from schemas.errors import Fault, Misconfigured, Reason
from transforms.seal import NotOurs, private_key, unseal

COLUMNS = ("run", "stage", "reason", "field", "origin", "attempt", "sealed", "key")


def run(options: OpenOptions) -> int:
    """One JSON object a failure: run, stage, reason, field, origin, attempt and the row as it was read.

    A row that is no UTF-8 is given as row_base64. Exit code 1 where a failure is sealed with another key.
    """
    if options.reason and options.reason not in [str(r) for r in Reason]:
        raise Misconfigured([Fault("--reason", "is not a reason", f"give one of {', '.join(map(str, Reason))}")])
    try:
        unwrap = private_key(Path(options.private_key).read_bytes())
    except OSError:
        raise Misconfigured([Fault("--private_key", "cannot be read", "give failures.private.pem of the key folder")]) from None
    except (ValueError, TypeError):
        raise Misconfigured([Fault("--private_key", "is not an RSA private key in PEM", "give failures.private.pem of the key folder")]) from None
    chosen = [f"{column} = '{value}'" for column, value in (("reason", options.reason), ("run", options.run.replace("'", "''"))) if value]
    where = f" where {' and '.join(chosen)}" if chosen else ""
    others = 0
    for failure in Lake.reader(options.output).query(f"select {', '.join(COLUMNS)} from failures{where} order by run, origin").to_pylist():
        sealed = failure.pop("sealed")
        failure.pop("key")
        try:
            row = None if sealed is None else unseal(sealed, failure["run"], failure["stage"], failure["reason"], failure["origin"], unwrap)
        except NotOurs:
            others += 1
            continue
        print(json.dumps(failure | _shown(row), ensure_ascii=False))
    if others:
        print(f"penstock open: {others:,} failures are sealed with another key", file=sys.stderr)
    return 1 if others else 0


def _shown(row: bytes | None) -> dict[str, str | None]:
    if row is None:
        return {"row": None}
    try:
        return {"row": row.decode()}
    except UnicodeDecodeError:
        return {"row_base64": base64.b64encode(row).decode()}
