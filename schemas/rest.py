"""A Google REST resource, as JSON text, into its own protobuf type: with every fault in it, not only the first.

Google's parser (protobuf's json_format) stops at the first fault and is lenient with base64. So the text is walked
along the type's descriptor before it is parsed. No message repeats a value of the file: one may be a key.
"""

import base64
import binascii
import difflib
import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, TypeVar

import proto
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor as F

from schemas.errors import Fault, Misconfigured

M = TypeVar("M", bound=proto.Message)
_Found = tuple[str, str, str]  # path, problem, remedy


def read(text: str, kind: type[M], where: str) -> M:
    """The message that the text stands for. Raises Misconfigured with all that is wrong in it."""
    try:
        tree = json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    except (ValueError, RecursionError):
        fault = Fault(where, "is not JSON, or holds a key twice", f"write a {kind.__name__} as the REST API takes it")
        raise Misconfigured([fault]) from None
    faults = [Fault(f"{where}: {path}" if path else where, problem, remedy)
              for path, problem, remedy in _walk(tree, kind.pb(kind()).DESCRIPTOR, "")]
    if faults:
        raise Misconfigured(faults)
    try:
        message: M = kind.from_json(text)
    except json_format.ParseError as error:
        at = re.search(rf"\bat {kind.__name__}\.([\w.\[\]]*\w\]?)", str(error))
        fault = Fault(f"{where}: {at[1]}" if at else where, "holds a value of another type",
                      f"write it as the REST resource {kind.__name__} does")
        raise Misconfigured([fault]) from None
    return message


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if any(n > 1 for n in Counter(key for key, _ in pairs).values()):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _walk(tree: Any, descriptor: Any, path: str) -> Iterator[_Found]:
    if not isinstance(tree, dict):
        yield path, "is not a JSON object", f"write a {descriptor.name}"
        return
    fields = {f.json_name: f for f in descriptor.fields} | {f.name: f for f in descriptor.fields}
    chosen: dict[str, list[str]] = {}
    for key, value in tree.items():
        at = f"{path}.{key}" if path else key
        field = fields.get(key)
        if field is None:
            names = sorted(f.json_name for f in descriptor.fields)
            close = difflib.get_close_matches(key, names, 1)
            yield at, "unknown key", f"did you mean {close[0]}?" if close else f"use one of {', '.join(names)}"
        elif value is not None:  # null stands for a key left out
            if field.containing_oneof is not None:
                chosen.setdefault(field.containing_oneof.name, []).append(key)
            yield from _repeated(value, field, at) if field.is_repeated else _one(value, field, at)
    for keys in chosen.values():
        if len(keys) > 1:
            yield path, f"holds {' and '.join(sorted(keys))}", "keep one of them"


def _repeated(value: Any, field: Any, path: str) -> Iterator[_Found]:
    if not isinstance(value, list):
        yield path, "is not a list", "put it into [ ]"
        return
    for number, item in enumerate(value):
        yield from _one(item, field, f"{path}[{number}]")


def _one(value: Any, field: Any, path: str) -> Iterator[_Found]:
    if field.message_type is not None:
        if not field.message_type.full_name.startswith("google.protobuf."):  # times and durations are strings
            yield from _walk(value, field.message_type, path)
    elif field.enum_type is not None:
        names = list(field.enum_type.values_by_name)
        if value not in names:
            yield path, f"is no {field.enum_type.name}", f"use one of {', '.join(names[1:])}"
    elif not _fits(value, field.cpp_type, field.type):
        yield path, "holds a value of another type", "write it as the REST resource does"


def _fits(value: Any, cpp_type: int, wire_type: int) -> bool:
    if wire_type == F.TYPE_BYTES:
        return isinstance(value, str) and _is_base64(value)
    if cpp_type == F.CPPTYPE_STRING:
        return isinstance(value, str)
    if cpp_type == F.CPPTYPE_BOOL:
        return isinstance(value, bool)
    if cpp_type in (F.CPPTYPE_DOUBLE, F.CPPTYPE_FLOAT):
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return type(value) is int or (isinstance(value, str) and re.fullmatch(r"-?\d+", value) is not None)


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return False
    return True
