"""Which failures a replay is asked for, and what a dry run tells of them."""

import json
import re
from collections import Counter
from datetime import datetime, timedelta, timezone

from pipelines.options import ReplayOptions
from pipelines.sinks.lake_replays import Choice, Group
from schemas.errors import Fault, Misconfigured, Reason, Stage

_TIME = re.compile(r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d:\d\d(?:\.\d{1,6})?)([Zz]|[+-]\d\d:\d\d))?")


def choice(options: ReplayOptions) -> Choice:
    """The options' choice. Raises Misconfigured with every fault."""
    faults = []
    for where, given, known in (("--stage", options.stage, list(map(str, Stage))), ("--reason", options.reason, list(map(str, Reason)))):
        if given and given not in known:
            faults.append(Fault(where, f"is not a {where[2:]}", f"give one of {', '.join(known)}"))
    since, until = _moment("--since", options.since, timedelta(), faults), _moment("--until", options.until, timedelta(days=1), faults)
    if since and until and since >= until:
        faults.append(Fault("--until", "is not after --since", "give a later time"))
    if not options.private_key and not options.dry_run:
        faults.append(Fault("--private_key", "is missing", "give failures.private.pem of the key folder, or a key version of Cloud KMS"))
    if faults:
        raise Misconfigured(faults)
    return Choice(options.stage, options.reason, options.run, since, until)


def _moment(where: str, text: str, whole_day: timedelta, faults: list[Fault]) -> datetime | None:
    """A time; a day alone is its beginning, or so much later."""
    if not text:
        return None
    found = _TIME.fullmatch(text)
    try:
        if found and found[2]:
            clock, _, fraction = found[2].partition(".")
            offset = "+00:00" if found[3] in "Zz" else found[3]
            return datetime.fromisoformat(f"{found[1]}T{clock}.{fraction:0<6}{offset}")
        if found:
            return datetime.fromisoformat(found[1]).replace(tzinfo=timezone.utc) + whole_day
    except (OverflowError, ValueError):
        pass
    faults.append(Fault(where, "is neither a day nor a time", "write 2026-03-04, or 2026-03-04T10:00:00Z"))
    return None


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
