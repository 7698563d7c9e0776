"""Which Avro writers' schemas are read: a flat record of scalars, as an event is."""

import json
import re
from functools import lru_cache
from typing import Any, NamedTuple

_PRIMITIVES = ("null", "boolean", "int", "long", "float", "double", "bytes", "string")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_LONGEST_FIXED = 1 << 20
_TIMES = {  # logical type -> (its Avro type, the Arrow unit, whether it is an instant)
    "timestamp-millis": ("long", "ms", True), "timestamp-micros": ("long", "us", True), "timestamp-nanos": ("long", "ns", True),
    "local-timestamp-millis": ("long", "ms", False), "local-timestamp-micros": ("long", "us", False),
    "local-timestamp-nanos": ("long", "ns", False), "date": ("int", "D", False)}


class Flat(NamedTuple):
    """A writer's schema without its logical types, and what these say: {field: (unit, is an instant)}; binary: fields with bytes."""

    schema: dict[str, Any]
    times: dict[str, tuple[str, bool]]
    binary: tuple[str, ...]


@lru_cache(maxsize=16)
def flat(text: bytes) -> Flat | None:
    """The schema of a container file, or None where it is not a flat record of scalars, enums, fixed and unions of these.

    Logical types are taken off, so that a value that they cannot express (a timestamp beyond year 9999, an invalid UUID)
    spoils its own field and not the rows behind it. Each field takes a byte at least (so none is of type null alone): no block
    can claim more rows than it has bytes for.
    """
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(schema, dict) or schema.get("type") != "record" or not isinstance(schema.get("fields"), list):
        return None
    named: dict[str, Any] = {}
    names: set[str] = set()
    fields, times, binary = [], {}, []
    for field in schema["fields"]:
        name = field.get("name") if isinstance(field, dict) else None
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name in names:
            return None
        names.add(name)
        kinds = _kinds(field.get("type"), named)
        if kinds is None or field["type"] == "null":
            return None
        for kind, logical in kinds:
            if logical in _TIMES and _TIMES[logical][0] == kind:
                times[name] = _TIMES[logical][1:]
            if kind == "bytes" or (isinstance(kind, dict) and kind["type"] == "fixed"):
                binary.append(name)
        bare = [kind for kind, _ in kinds]
        fields.append({"name": name, "type": bare if isinstance(field["type"], list) else bare[0]})
    return Flat({"type": "record", "name": "row", "fields": _defined_once(fields)}, times, tuple(binary))


def _kinds(raw: Any, named: dict[str, Any]) -> list[tuple[Any, str | None]] | None:
    """[(type without its logical type, logical type)] of a field; one for each branch of a union."""
    found = []
    for branch in raw if isinstance(raw, list) else [raw]:
        kind = _kind(branch, named)
        if kind is None:
            return None
        found.append(kind)
    return found or None


def _kind(raw: Any, named: dict[str, Any]) -> tuple[Any, str | None] | None:
    if isinstance(raw, str):
        definition = raw if raw in _PRIMITIVES else named.get(raw.rpartition(".")[2])
        return (definition, None) if definition is not None else None
    if not isinstance(raw, dict):
        return None
    kind, logical = raw.get("type"), raw.get("logicalType")
    logical = logical if isinstance(logical, str) else None
    if kind not in ("enum", "fixed"):
        inner = _kind(kind, named) if isinstance(kind, str) else None
        return (inner[0], logical) if inner else None
    definition = _definition(raw, f"named{len(named)}")
    name = str(raw.get("name")).rpartition(".")[2]
    if definition is None or name in named:
        return None
    named[name] = definition
    return definition, logical


def _definition(raw: dict[str, Any], name: str) -> dict[str, Any] | None:
    symbols, size = raw.get("symbols"), raw.get("size")
    if raw["type"] == "enum" and isinstance(symbols, list) and symbols and all(isinstance(s, str) and _NAME.fullmatch(s) for s in symbols):
        return {"type": "enum", "name": name, "symbols": symbols}
    if raw["type"] == "fixed" and type(size) is int and 0 < size <= _LONGEST_FIXED:
        return {"type": "fixed", "name": name, "size": size}
    return None


def _defined_once(fields: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A named type is defined where it first stands, and named from there on."""
    met: set[str] = set()

    def once(kind: Any) -> Any:
        if not isinstance(kind, dict) or kind["name"] not in met:
            met.update([kind["name"]] if isinstance(kind, dict) else [])
            return kind
        return kind["name"]

    return [{"name": f["name"], "type": [once(k) for k in f["type"]] if isinstance(f["type"], list) else once(f["type"])} for f in fields]
