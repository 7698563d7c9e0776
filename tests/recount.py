"""The books of lines of any contract, counted apart from what made them: Decode says which are no rows, and a dict of ids the rest."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from typing import Any

from schemas.contract import Contract
from transforms.columns import Typing
from transforms.decode import Digest, decode
from transforms.formats.block import Block


def reasons(contract: Contract, lines: Sequence[bytes]) -> list[str | None]:
    """Why each line is refused by Decode, None where it is not."""
    block = Block("f", "ndjson", 0, 0, len(lines), b"".join(line + b"\n" for line in lines))
    _, refused = decode(block, contract, Typing(contract), Digest(contract, b"k"))
    found = {row["origin"]: row["reason"] for row in refused.to_pylist()}
    at, told = 0, []
    for line in lines:
        told.append(found.pop(f"f:{at}", None))
        at += len(line) + 1
    assert not found
    return told


def recount(contract: Contract, lines: Iterable[bytes]) -> tuple[Counter[str], Counter[str]]:
    """Lines by fate, and stored rows by day."""
    fates, days, first = Counter[str](), Counter[str](), dict[str, Any]()
    given = list(lines)
    for line, reason in zip(given, reasons(contract, given)):
        if reason is None:
            row = json.loads(line)
            known = first.setdefault(row[contract.id], row)
            reason = "stored" if known is row else "repeated" if known == row else "conflict"
            if reason == "stored":
                days[str(at(contract, row).date())] += 1
        fates[reason] += 1
    return fates, days


def at(contract: Contract, row: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(row[contract.time].replace("Z", "+00:00")).astimezone(timezone.utc)
