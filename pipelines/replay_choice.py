"""Which failures a replay is asked for, and what a dry run tells of them."""

import json
import re
from collections import Counter
from datetime import datetime, timedelta, timezone

from pipelines.options import ReplayOptions
from pipelines.sinks.replays import Choice, Group
from schemas.errors import Fault, Misconfigured

_TIME = re.compile(r"(.{10})(?:.(.{8})(\.[0-9]+)?(Z|z|[+-].{5}))?")


def choice(options: ReplayOptions) -> Choice:
    """The options' choice. Raises Misconfigured with every fault."""
    faults = []
    since, until = _moment(options.since, timedelta()), _moment(options.until, timedelta(days=1))
    if since and until and since >= until:
        faults.append(Fault("--until", "is not after --since", "give a later time"))
    if not options.private_key and not options.dry_run:
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
