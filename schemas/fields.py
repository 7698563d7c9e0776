"""The fields of an event, read from event.avsc: an Avro record whose fields carry `doc`, `privacy` and a domain.

Beside Avro's own attributes a field may say which values it may hold: `values` (a closed list), `minimum` and `maximum`
(inclusive), `pattern` (RE2, matched whole), `max_length` (Unicode code points). A row outside the domain is refused
(out_of_range), so a public column cannot carry what it was not made for.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

import re2

from schemas.errors import Fault

PRIVACY = {
    "identifier": "names a person: must be transformed",
    "free_text": "may hold identifiers: must be inspected or dropped",
    "sensitive": "says something about a person: stored behind a policy tag",
    "public": "stored as it is",
}
TYPES = ("string", "int", "long", "float", "double", "boolean", "timestamp-micros", "date")
_LOGICAL = {("long", "timestamp-micros"): "timestamp-micros", ("int", "date"): "date"}
_NUMBERS = ("int", "long", "float", "double")
_KNOWN = {"name", "type", "doc", "default", "privacy", "values", "minimum", "maximum", "pattern", "max_length"}


@dataclass(frozen=True)
class Field:
    """One field. `type` is one of TYPES; `privacy` one of PRIVACY; the rest is its domain."""

    name: str
    type: str
    nullable: bool
    privacy: str
    doc: str
    values: tuple[str, ...] | None = None
    minimum: float | None = None
    maximum: float | None = None
    pattern: str | None = None
    max_length: int | None = None


def read_fields(text: str, where: str) -> tuple[tuple[Field, ...], list[Fault]]:
    """Reads event.avsc. Answers the fields that could be read and every fault that was found."""
    try:
        schema = json.loads(text)
    except ValueError:
        return (), [Fault(where, "is not JSON", "write an Avro record schema")]
    if not isinstance(schema, dict) or schema.get("type") != "record" or not isinstance(schema.get("fields"), list):
        return (), [Fault(where, "is not an Avro record", 'give {"type": "record", "name": ..., "fields": [...]}')]
    faults: list[Fault] = []
    fields: list[Field] = []
    for number, raw in enumerate(schema["fields"]):
        name = raw.get("name") if isinstance(raw, dict) else None
        at = f"{where}: fields[{number}]" + (f" ({name})" if isinstance(name, str) else "")
        if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_]{0,127}", name):
            faults.append(Fault(at, "has no usable name", "use lower case letters, digits and _, a letter first"))
            continue
        field = _field(name, raw, at, faults)
        if field is not None:
            fields.append(field)
    names = [f.name for f in fields]
    faults += [Fault(f"{where}: fields", f"{n} stands twice", "remove one") for n in sorted({n for n in names if names.count(n) > 1})]
    return tuple(fields), faults


def _type(raw: Any) -> tuple[str, bool] | None:
    """('string', nullable) from an Avro type, or None where it is not a type that an event may have."""
    nullable = False
    if isinstance(raw, list):
        rest = [t for t in raw if t != "null"]
        nullable = len(rest) < len(raw)
        if len(rest) != 1:
            return None
        raw = rest[0]
    if isinstance(raw, dict):
        logical = raw.get("logicalType")
        if not isinstance(raw.get("type"), str):
            return None
        raw = _LOGICAL.get((raw["type"], str(logical))) if logical else raw["type"]
    return (raw, nullable) if raw in TYPES else None


def _field(name: str, raw: dict[str, Any], at: str, faults: list[Fault]) -> Field | None:
    found = len(faults)
    for key in sorted(raw.keys() - _KNOWN):
        faults.append(Fault(at, f"unknown attribute {key}", f"use one of {', '.join(sorted(_KNOWN))}"))
    typed = _type(raw.get("type"))
    if typed is None:
        faults.append(Fault(f"{at}.type", "is not a type of an event", f'use one of {", ".join(TYPES)}, or ["null", TYPE]'))
    if raw.get("privacy") not in tuple(PRIVACY):  # whatever it is: a list has no hash
        faults.append(Fault(f"{at}.privacy", "is missing or unknown", f"say one of {', '.join(PRIVACY)}"))
    if not isinstance(raw.get("doc"), str) or not raw["doc"].strip():
        faults.append(Fault(f"{at}.doc", "is missing", "say in a sentence what the field holds"))
    kind = typed[0] if typed else "string"
    values = raw.get("values")
    if values is not None and not (kind == "string" and isinstance(values, list) and values and all(isinstance(v, str) for v in values)):
        faults.append(Fault(f"{at}.values", "is not a list of strings on a string field", "list the strings that the field may hold"))
    for bound in ("minimum", "maximum"):
        if bound in raw and not (kind in _NUMBERS and isinstance(raw[bound], (int, float)) and not isinstance(raw[bound], bool)):
            faults.append(Fault(f"{at}.{bound}", "is not a number on a numeric field", "give a number, or leave it out"))
    if "pattern" in raw and not (kind == "string" and _compiles(raw["pattern"])):
        faults.append(Fault(f"{at}.pattern", "is not a regular expression on a string field", "write it as RE2 takes it (no look-around, no back-references)"))
    if "max_length" in raw and not (kind == "string" and type(raw["max_length"]) is int and raw["max_length"] > 0):
        faults.append(Fault(f"{at}.max_length", "is not a positive number on a string field", "give the longest length in code points"))
    if len(faults) > found or typed is None:
        return None
    return Field(name, kind, typed[1], raw["privacy"], raw["doc"].strip(), tuple(values) if values else None, raw.get("minimum"),
                 raw.get("maximum"), raw.get("pattern"), raw.get("max_length"))


def _compiles(pattern: Any) -> bool:
    if not isinstance(pattern, str):
        return False
    quiet = re2.Options()
    quiet.log_errors = False
    try:
        re2.compile(pattern, quiet)
    except re2.error:
        return False
    return True
