"""Windows of a contract: which kind, over which key, and what is measured in each. Declared in contract.yaml, not coded.

    windows:
      kind: fixed                # fixed, sliding or session
      size: 5m                   # of fixed and sliding ones
      period: 1m                 # of sliding ones; divides size
      gap: 30m                   # of sessions: the quiet time that ends one
      max_length: 24h            # of sessions: none spans more
      key: [machine]             # columns as they are stored; left out: one window for all rows
      lateness: 10m              # how long after the watermark passed its end a window still takes rows
      early: 1m                  # streaming graph: how often an open window is told
      accumulation: accumulating # streaming graph: or discarding
      measures: {requests: count, bytes: {sum: bytes}, p95: {quantile: millis, at: 0.95}}
      model: window_model.json   # scores a window; its inputs are measures
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from schemas import tables
from schemas.durations import duration
from schemas.errors import Fault, Misconfigured
from schemas.fields import Field
from schemas.model import Model, read_model
from schemas.place import Place
from schemas.templates import deidentify_template, stored_type

_NUMBERS = ("int", "long", "float", "double")
_ORDERED = (*_NUMBERS, "timestamp-micros", "date", "string")
_ANY = (*_ORDERED, "boolean")
MEASURED = {"sum": _NUMBERS, "mean": _NUMBERS, "min": _ORDERED, "max": _ORDERED, "distinct": _ANY, "quantile": _NUMBERS, "first": _ANY, "last": _ANY}
MOST_WINDOWS = 1000  # that one row may fall into: each costs a merge of states
_LENGTHS = {"fixed": ("size",), "sliding": ("size", "period"), "session": ("gap", "max_length")}
_KEYS = ("kind", "size", "period", "gap", "max_length", "key", "lateness", "early", "accumulation", "measures", "model")
_DURATION = "give a number and s, m, h or d, such as 5m"
_NOTHING = "{}"  # a template without transformations: measures are what they are


@dataclass(frozen=True)
class Measure:
    """One column of the windows table.

    kind: count, sum, mean, min, max, distinct, quantile, first or last; field: the column of `events` that is measured,
    None for count; at: which quantile, between 0 and 1; type: of the column, one of schemas.fields.TYPES.
    """

    name: str
    kind: str
    field: str | None
    at: float | None
    type: str


@dataclass(frozen=True)
class Windowing:
    """The windows of a contract; plain data.

    kind is fixed, sliding or session. size: length of a fixed or sliding window; period: how far sliding windows are apart
    (size, for fixed ones); gap: the quiet time that ends a session; max_length: no session spans more. lateness: how long
    after the watermark passed its end a window still takes rows. early: how often an open window is told before it closes
    (streaming graph). model: scores a window by its measures. Lengths that a kind has not are zero.
    """

    kind: str
    size: timedelta
    period: timedelta
    gap: timedelta
    max_length: timedelta
    key: tuple[str, ...]
    lateness: timedelta
    early: timedelta | None
    accumulating: bool
    measures: tuple[Measure, ...]
    model: Model | None


def read_windowing(head: Mapping[str, Any], fields: Sequence[Field], deidentify_text: str, folder: Place,
                   scored_by: Model | None = None) -> tuple[Windowing | None, list[Fault]]:
    """`windows` of contract.yaml, checked against the columns as they are stored. Answers it (None where there is none or it
    cannot be read) and every fault. scored_by: the model of the events, whose score and label can be measured."""
    where, raw = f"{folder / 'contract.yaml'}: windows", head.get("windows")
    if raw is None:
        return None, []
    if not isinstance(raw, dict):
        return None, [Fault(where, "is not a mapping", "give kind, its lengths, key and measures")]
    faults = [Fault(f"{where}.{key}", "unknown key", f"use one of {', '.join(_KEYS)}") for key in sorted(map(str, raw.keys() - set(_KEYS)))]
    kind = str(raw.get("kind"))
    if kind not in _LENGTHS:
        faults.append(Fault(f"{where}.kind", "is missing or unknown", f"say one of {', '.join(_LENGTHS)}"))
    lengths = _lengths(raw, kind, where, faults)
    columns = _columns(fields, deidentify_text, folder)
    if head.get("model"):
        columns["score"] = next(c for c in tables.LINEAGE if c.name == "score")
        label = next(c for c in tables.LINEAGE if c.name == "label")
        columns["label"] = label._replace(type="string") if scored_by and scored_by.classes else label
    key = _key(raw.get("key", []), columns, f"{where}.key", faults)
    lateness = duration(raw.get("lateness", "0s"))
    if lateness is None:
        faults.append(Fault(f"{where}.lateness", "is not a duration", _DURATION))
    early = duration(raw["early"]) if "early" in raw else None
    if "early" in raw and not early:
        faults.append(Fault(f"{where}.early", "is not a duration over zero", _DURATION))
    if raw.get("accumulation", "accumulating") not in ("accumulating", "discarding"):
        faults.append(Fault(f"{where}.accumulation", "is neither accumulating nor discarding", "say accumulating or discarding"))
    measures = _measures(raw.get("measures"), columns, f"{where}.measures", faults)
    model = _model(raw.get("model"), measures, columns, where, folder, faults)
    if faults:
        return None, faults
    return Windowing(kind, lengths["size"], lengths.get("period", lengths["size"]), lengths["gap"], lengths["max_length"], key,
                     lateness or timedelta(), early, raw.get("accumulation", "accumulating") == "accumulating", measures, model), []


def _lengths(raw: Mapping[str, Any], kind: str, where: str, faults: list[Fault]) -> dict[str, timedelta]:
    """size, gap and max_length (zero where the kind has none), period where it is given."""
    lengths = {"size": timedelta(), "gap": timedelta(), "max_length": timedelta()}
    given = {"max_length": "24h", **raw} if kind == "session" else raw
    right = set()
    for name in ("size", "period", "gap", "max_length"):
        if name not in _LENGTHS.get(kind, (name,)):
            faults += [Fault(f"{where}.{name}", f"is not a length of {kind} windows", "take it out, or say another kind")] if name in raw else []
        elif kind in _LENGTHS or name in given:
            length = duration(given.get(name))
            if length:
                lengths[name] = length
                right.add(name)
            else:
                faults.append(Fault(f"{where}.{name}", "is not a duration over zero" if name in given else "is missing", _DURATION))
    if {"size", "period"} <= right:
        if lengths["size"] % lengths["period"]:
            faults.append(Fault(f"{where}.period", "does not divide size", "give a period such as size / 10"))
        elif lengths["size"] // lengths["period"] > MOST_WINDOWS:
            faults.append(Fault(f"{where}.period", f"puts a row into more than {MOST_WINDOWS:,} windows", "give a longer period, or a shorter size"))
    if {"gap", "max_length"} <= right and lengths["max_length"] < lengths["gap"]:
        faults.append(Fault(f"{where}.max_length", "is shorter than gap (24h where it is left out)", "give at least gap"))
    return lengths


def _columns(fields: Sequence[Field], deidentify_text: str, folder: Place) -> dict[str, tables.Column]:
    """The fields as they are stored.

    Where deidentify.json cannot be read (which the contract reports by itself) the fields count as they are read.
    """
    try:
        template = deidentify_template(deidentify_text or _NOTHING, str(folder / "deidentify.json"))
    except Misconfigured:
        template = deidentify_template(_NOTHING, "")
    return {f.name: tables.Column(f.name, stored_type(f, template), f.nullable, f.doc, f.privacy) for f in fields}


def _key(raw: Any, columns: Mapping[str, tables.Column], where: str, faults: list[Fault]) -> tuple[str, ...]:
    if not isinstance(raw, list) or not all(isinstance(name, str) for name in raw):
        faults.append(Fault(where, "is not a list of columns", "give [COLUMN, ...], or leave it out: one window for all rows"))
        return ()
    if len(set(raw)) < len(raw):
        faults.append(Fault(where, "names a column twice", "remove one"))
    for name in dict.fromkeys(raw):
        faults += _usable(name, columns, _ANY, f"{where} ({name})")
    return tuple(raw)


def _usable(name: str, columns: Mapping[str, tables.Column], types: Sequence[str], where: str) -> list[Fault]:
    """A column that there is, of one of these types and not free text."""
    if name not in columns:
        return [Fault(where, "names no column of events", f"use one of {', '.join(sorted(columns))}")]
    column = columns[name]
    if column.privacy == "free_text":
        return [Fault(where, f"{name} is free text, which may hold what identifies a person", "name another column")]
    if column.type not in types:
        return [Fault(where, f"{name} is stored as {column.type}", f"name a column of {', '.join(types)}")]
    return []


def _measures(raw: Any, columns: Mapping[str, tables.Column], where: str, faults: list[Fault]) -> tuple[Measure, ...]:
    if not isinstance(raw, dict) or not raw:
        faults.append(Fault(where, "is missing or not a mapping", "give at least one NAME: count, or NAME: {KIND: COLUMN}"))
        return ()
    measures = []
    for name, said in raw.items():
        at = f"{where}.{name}"
        if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name):
            faults.append(Fault(at, "is not a usable name", "use lower case letters, digits and _, a letter first"))
        elif name in tables.WINDOW_RESERVED:
            faults.append(Fault(at, "is the name of a column of the windows table", "rename the measure"))
        if said == "count":
            measures.append(Measure(str(name), "count", None, None, "long"))
            continue
        kinds = [k for k in said if k != "at"] if isinstance(said, dict) else []
        if len(kinds) != 1 or kinds[0] not in MEASURED or not isinstance(said[kinds[0]], str):
            faults.append(Fault(at, "is no measure", f"say count, or {{KIND: COLUMN}} with KIND one of {', '.join(MEASURED)}"))
            continue
        kind, field, which = kinds[0], said[kinds[0]], said.get("at")
        if kind == "quantile" and not (isinstance(which, (int, float)) and 0 < which < 1):
            faults.append(Fault(f"{at}.at", "is missing or not between 0 and 1", "say which quantile, such as 0.95"))
        elif kind != "quantile" and "at" in said:
            faults.append(Fault(f"{at}.at", "is for quantile alone", "take it out"))
        found = _usable(field, columns, MEASURED[kind], f"{at}.{kind}")
        faults += found
        if not found:
            measures.append(Measure(str(name), kind, field, which if kind == "quantile" else None, _result(kind, columns[field].type)))
    return tuple(measures)


def _result(kind: str, type_: str) -> str:
    if kind == "sum":
        return "long" if type_ in ("int", "long") else "double"
    return {"mean": "double", "quantile": "double", "distinct": "long"}.get(kind, type_)


def _model(name: Any, measures: Sequence[Measure], columns: Mapping[str, tables.Column], where: str, folder: Place, faults: list[Fault]) -> Model | None:
    if name is None:
        return None
    if not isinstance(name, str):
        faults.append(Fault(f"{where}.model", "is not the name of a file", "name the descriptor beside contract.yaml"))
        return None
    told = ("min", "max", "first", "last")  # answer a value of the field; the others a number about many
    fields = tuple(Field(m.name, m.type, True, columns[m.field].privacy if m.field and m.kind in told else "public", "A measure.") for m in measures)
    model, found = read_model(folder, name, fields, _NOTHING)
    faults += found
    if model and model.classes:
        faults.append(Fault(f"{where}.model", "has classes: a window's label is true or false", "give a model with one probability"))
    return model
