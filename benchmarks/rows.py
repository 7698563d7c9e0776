"""The job's work on one row at a time: what a per-record program calls. Same operators, same detectors, same answers.

Only FF1 is written anew for one value: a call of the vectorised one with a single value costs ten times as much.
"""

import hashlib
from collections.abc import Callable
from datetime import datetime, timezone
from operator import itemgetter
from typing import Any

import orjson
import re2
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from schemas.contract import Contract
from schemas.errors import Reason, Rejected
from schemas.rules import context_of, rules
from schemas.templates import deidentify_template, inspect_template
from transforms.detectors.inspector import Inspector
from transforms.engines.plan import key_of
from transforms.keys import Keys
from transforms.operators.build import build
from transforms.operators.fpe import Fpe
from transforms.operators.values import text_of

Row = dict[str, Any]


def decoder(contract: Contract, loads: Callable[[bytes], Any] = orjson.loads) -> Callable[[bytes], Row]:
    """A strict decoder of one line: (line) -> row with `at` (datetime) and `d`; raises Rejected."""
    known = frozenset(f.name for f in contract.fields)
    checks = [(f.name, {"string": str, "int": int, "timestamp-micros": str}[f.type], f.nullable, f.values and frozenset(f.values), f.minimum, f.maximum,
               re2.compile(f"^(?:{f.pattern})$") if f.pattern else None, f.max_length) for f in contract.fields]

    def decode(line: bytes) -> Row:
        if len(line) > contract.max_row_bytes:
            raise Rejected(Reason.TOO_LARGE)
        try:
            row = loads(line)
        except (ValueError, RecursionError):
            raise Rejected(Reason.MALFORMED) from None
        if type(row) is not dict or (line.count(b'":') != len(row) and _repeats(line)):
            raise Rejected(Reason.MALFORMED)
        if not known.issuperset(row):
            raise Rejected(Reason.UNKNOWN_FIELD)
        for name, kind, nullable, values, low, high, pattern, longest in checks:
            value = row.get(name)
            if value is None:
                if not nullable:
                    raise Rejected(Reason.MISSING_FIELD, name)
                row[name] = None
                continue
            if type(value) is not kind:
                raise Rejected(Reason.WRONG_TYPE, name)
            if kind is int and not -(1 << 31) <= value < 1 << 31:
                raise Rejected(Reason.WRONG_TYPE, name)
            if (values and value not in values) or (low is not None and value < low) or (high is not None and value > high) \
                    or (pattern and not pattern.search(value)) or (longest and len(value) > longest):
                raise Rejected(Reason.OUT_OF_RANGE, name)
        try:
            at = datetime.fromisoformat(row[contract.time].replace("Z", "+00:00"))
        except ValueError:
            raise Rejected(Reason.WRONG_TYPE, contract.time) from None
        if at.tzinfo is None:
            raise Rejected(Reason.WRONG_TYPE, contract.time)
        row[contract.time] = at.astimezone(timezone.utc)
        row["d"] = row[contract.time].date()
        return row

    return decode


def _repeats(line: bytes) -> bool:
    import json

    class Twice(Exception):
        pass

    def pairs(found: list[tuple[str, Any]]) -> Row:
        if len(dict(found)) < len(found):
            raise Twice
        return dict(found)

    try:
        json.loads(line, object_pairs_hook=pairs)
    except (Twice, ValueError, RecursionError):
        return True
    return False


def digester(contract: Contract, key: bytes) -> Callable[[Row], tuple[bytes, bytes]]:
    """(row) -> keyed digests of id and content."""
    content = hashlib.blake2b(digest_size=8, key=key, person=b"content")
    ident = hashlib.blake2b(digest_size=8, key=key, person=b"id")
    values = itemgetter(*(f.name for f in contract.fields))

    def digest(row: Row) -> tuple[bytes, bytes]:
        one, all_ = ident.copy(), content.copy()
        one.update(row[contract.id].encode())
        all_.update(repr(values(row)).encode())
        return one.digest(), all_.digest()

    return digest


def deidentifier(contract: Contract, keys: Keys) -> Callable[[Row], Row]:
    """(row) -> the row as stored; raises Rejected where a transformation has no answer."""
    steps: list[Callable[[Row], None]] = []
    inspector = Inspector.from_config(inspect_template(contract.inspect, "inspect.json").inspect_config)
    for rule in rules(deidentify_template(contract.deidentify, "deidentify.json")):
        for field in rule.fields:
            if rule.primitive is not None:
                operator = _one(build(rule.primitive, key_of(keys), rule.path))
                steps.append(_whole(field, operator))
            else:
                by_type = {name: (_one(build(part.primitive, key_of(keys), part.path)), context_of(part.primitive))
                           for part in rule.by_info_type for name in part.info_types}
                steps.append(_inside(field, by_type, inspector))

    def deidentify(row: Row) -> Row:
        for step in steps:
            step(row)
        return row

    return deidentify


def _one(operator: Any) -> Callable[[Any, Any, str], Any]:
    if isinstance(operator, Fpe):
        return _ff1(operator)
    return lambda value, context, info_type: operator([value], None if context is None else [context], info_type)[0]


def _whole(field: str, operator: Callable[[Any, Any, str], Any]) -> Callable[[Row], None]:
    def step(row: Row) -> None:
        if row[field] is not None:
            row[field] = operator(row[field], None, "")
            if row[field] is None:
                raise Rejected(Reason.NOT_DEIDENTIFIED, field)

    return step


def _inside(field: str, by_type: dict[str, tuple[Any, str]], inspector: Inspector) -> Callable[[Row], None]:
    def step(row: Row) -> None:
        text = row[field]
        if text is None:
            return
        for info_type, start, end, _ in reversed(inspector.find(text)):
            operator, context = by_type[info_type]
            new = operator(text[start:end], row[context] if context else None, info_type)
            if new is None:
                raise Rejected(Reason.NOT_DEIDENTIFIED, field)
            text = text[:start] + text_of(new) + text[end:]
        row[field] = text

    return step


def _ff1(fpe: Fpe) -> Callable[[str, Any, str], str | None]:
    """FF1 (NIST SP 800-38G) for one short value without a tweak, in plain integers."""
    radix, index = len(fpe.alphabet), {c: i for i, c in enumerate(fpe.alphabet)}
    aes = Cipher(algorithms.AES(fpe.key), modes.ECB()).encryptor()  # noqa: S305: FF1 is made of single AES blocks

    def encrypt(text: str, context: Any, info_type: str) -> str | None:
        n = len(text)
        if n < 2 or any(c not in index for c in text):
            return None if text else ""
        u, v = n // 2, n - n // 2
        b = ((radix**v - 1).bit_length() + 7) // 8
        size = 4 * ((b + 3) // 4) + 4
        head = aes.update(bytes([1, 2, 1]) + radix.to_bytes(3, "big") + bytes([10, u % 256]) + n.to_bytes(4, "big") + bytes(4))
        p = int.from_bytes(head, "big")
        left = right = 0
        for c in text[:u]:
            left = left * radix + index[c]
        for c in text[u:]:
            right = right * radix + index[c]
        for i in range(10):
            block = bytes(15 - b) + bytes([i]) + right.to_bytes(b, "big")
            y = int.from_bytes(aes.update((int.from_bytes(block, "big") ^ p).to_bytes(16, "big"))[:size], "big")
            left, right = right, (left + y) % radix ** (u if i % 2 == 0 else v)
        out = []
        for value, length in ((left, u), (right, v)):
            digits = []
            for _ in range(length):
                value, digit = divmod(value, radix)
                digits.append(fpe.alphabet[digit])
            out += digits[::-1]
        return "".join(out)

    return encrypt
