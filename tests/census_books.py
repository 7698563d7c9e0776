"""What must become of lines of the census contract, worked out slowly and apart from the package: json, and a dict of ids."""

import json
import re
from collections import Counter
from datetime import datetime, timedelta, timezone

from schemas.contract import SHIPPED
from schemas.fields import Field, read_fields

CENSUS = SHIPPED / "census"
FIELDS = {f.name: f for f in read_fields((CENSUS / "event.avsc").read_text(), "event.avsc")[0]}
REQUIRED = ("application_id", "submitted_at")


class Malformed(Exception):
    pass


def pairs(members):
    row = dict(members)
    if len(row) < len(members):
        raise Malformed
    return row


def never(constant):
    raise Malformed


def typed(value, field: Field):
    """The value, or None where it is not one of the field's type."""
    if field.type == "int":
        return value if type(value) is int and -2**31 <= value < 2**31 else None
    if field.type == "string":
        return value if isinstance(value, str) else None
    try:
        time = datetime.fromisoformat(re.sub(r"\.(\d+)", lambda m: f".{m[1]:0<6}", value.replace("Z", "+00:00")))
    except (ValueError, AttributeError):
        return None
    return time.astimezone(timezone.utc) if time.tzinfo else None


def inside(value, field: Field) -> bool:
    if isinstance(value, str):
        return ((field.values is None or value in field.values) and (field.pattern is None or re.fullmatch(field.pattern, value) is not None)
                and (field.max_length is None or len(value) <= field.max_length))
    return not isinstance(value, int) or field.minimum <= value <= field.maximum


def decoded(line: bytes):
    """(typed row, None) or (None, reason)."""
    if len(line) > 64_000:
        return None, "too_large"
    try:
        row = json.loads(line.decode("utf-8"), object_pairs_hook=pairs, parse_constant=never)
        json.dumps(row, ensure_ascii=False).encode("utf-8")
    except (ValueError, Malformed):
        return None, "malformed"
    if not isinstance(row, dict):
        return None, "malformed"
    if row.keys() - FIELDS.keys():
        return None, "unknown_field"
    if any(row.get(name) is None for name in REQUIRED):
        return None, "missing_field"
    values = {name: None if row.get(name) is None else typed(row[name], field) for name, field in FIELDS.items()}
    if any(values[name] is None and row.get(name) is not None for name in FIELDS):
        return None, "wrong_type"
    if not all(v is None or inside(v, FIELDS[name]) for name, v in values.items()):
        return None, "out_of_range"
    return values, None


def books(lines):
    """Counts by fate, stored rows by day, and the typed rows that are stored, in order."""
    fates, days, first = Counter(), Counter(), {}
    for line in lines:
        row, reason = decoded(line)
        if row is None:
            fates[reason] += 1
        elif row["application_id"] not in first:
            first[row["application_id"]] = row
            fates["stored"] += 1
            days[str(row["submitted_at"].date())] += 1
        else:
            assert abs(row["submitted_at"] - first[row["application_id"]]["submitted_at"]) <= timedelta(days=7)
            fates["repeated" if row == first[row["application_id"]] else "conflict"] += 1
    return fates, days, list(first.values())
