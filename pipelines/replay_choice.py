"""What a replay is asked for: which failures, by which contract and keys; and what a dry run tells of them."""

import json
import re
from collections import Counter
from datetime import datetime, timedelta, timezone
from typing import Protocol

from pipelines.contracts import load
from pipelines.options import ReplayOptions
from pipelines.sinks.bigquery_jobs import Failed
from pipelines.sinks.replays import Choice, Group
from schemas.contract import Contract, shipped
from schemas.errors import Fault, Misconfigured, Transient

_TIME = re.compile(r"(.{10})(?:.(.{8})(\.[0-9]+)?(Z|z|[+-].{5}))?")


class Asked(Protocol):
    """Failures that are chosen and pending."""

    def groups(self) -> list[Group]: ...


def choice(options: ReplayOptions, opens: bool = True) -> Choice:
    """The options' choice. Raises Misconfigured with every fault; opens: whether a private key is looked for too."""
    faults = []
    since, until = _moment(options.since, timedelta()), _moment(options.until, timedelta(days=1))
    if since and until and since >= until:
        faults.append(Fault("--until", "is not after --since", "give a later time"))
    if opens and not options.private_key and not options.dry_run:
        faults.append(Fault("--private_key", "is missing", "give failures.private.pem of the key folder, or a key version of Cloud KMS"))
    if faults:
        raise Misconfigured(faults)
    return Choice(options.stage, options.reason, options.run, since, until)


def _moment(text: str, whole_day: timedelta) -> datetime | None:
    """The time that a text in the form of forms.MOMENT says; a day alone is its beginning, or so much later. None where there is none."""
    found = _TIME.fullmatch(text)
    if not found:
        return None
    day, clock, fraction, offset = found.groups()
    if not clock:
        return datetime.fromisoformat(day).replace(tzinfo=timezone.utc) + whole_day
    return datetime.fromisoformat(f"{day}T{clock}{(fraction or '.0'):0<7}{'+00:00' if offset in 'Zz' else offset}")


def left_alone(groups: list[Group]) -> dict[str, int]:
    """How many failures are not tried, by why."""
    left: Counter[str] = Counter()
    for group in groups:
        if group.left:
            left[group.left] += group.rows
    return dict(left)


def told(groups: list[Group], as_json: bool) -> str:
    """What would be replayed, and what would be left alone and why; as one JSON object where asked."""
    tried = [g for g in groups if not g.left]
    if as_json:
        return json.dumps({"rows": sum(g.rows for g in tried), "groups": [{"stage": g.stage, "reason": g.reason, "rows": g.rows} for g in tried],
                           "left": left_alone(groups)})
    lines = [f"{g.rows:>12,}  {g.stage}  {g.reason}{f'  left alone: {g.left}' if g.left else ''}" for g in groups]
    return "\n".join([*lines, f"{sum(g.rows for g in tried):>12,}  would be replayed"])


def groups_of(pending: Asked) -> list[Group]:
    """What a dry run tells of. Raises Misconfigured where it cannot be asked for."""
    try:
        return pending.groups()
    except (Failed, Transient) as error:
        raise Misconfigured([Fault("--failures", str(error), "check that the account may run queries and read the tables")]) from None


def contract_for(options: ReplayOptions, name: str) -> Contract:
    """The contract of a replay; name: of that whose events the tables hold, "" where they do not say. Raises Misconfigured."""
    if options.contract or name in shipped():
        contract = load(options.contract or name, options.allow_unwrapped_keys, options.storage_endpoint)
        if name in ("", contract.name):
            return contract
        raise Misconfigured([Fault("--contract", f"is {contract.name}, and the tables hold the events of {name}", "give a version of that one")])
    raise Misconfigured([Fault("--contract", "is missing, and the tables are those of no shipped contract", "give the contract's folder, here or in a bucket")])
