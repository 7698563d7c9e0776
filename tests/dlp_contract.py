"""A contract with every way in which the dlp engine treats a field, rows for it, and an inspector that loads nothing."""

import json
import re
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timezone
from types import SimpleNamespace
from typing import Any

import pyarrow as pa

from schemas.arrow import input_schema
from schemas.contract import Contract
from schemas.fields import Field
from tests.contracts import plain_contract
from transforms.batch import ORIGIN

FIELDS = (
    Field("name", "string", True, "identifier", "Hash."), Field("email", "string", True, "identifier", "Token, of its id."),
    Field("ssn", "string", True, "identifier", "FPE."), Field("phone", "string", True, "identifier", "Mask."),
    Field("ip", "string", True, "identifier", "Redacted."), Field("born", "date", True, "identifier", "Shifted, by its id."),
    Field("income", "int", True, "sensitive", "Buckets."), Field("age", "int", True, "identifier", "Ranges."),
    Field("grade", "double", True, "sensitive", "Replaced where age is over 90."), Field("seen", "timestamp-micros", True, "public", "Kept."),
    Field("note", "string", True, "free_text", "Searched."))
AT = datetime(2026, 3, 4, tzinfo=timezone.utc)


def key(name: str) -> dict[str, Any]:
    return {"kmsWrapped": {"wrappedKey": "a2V5IA==", "cryptoKeyName": f"projects/p/locations/l/keyRings/r/cryptoKeys/{name}"}}


def rule(name: str, **transformation: Any) -> dict[str, Any]:
    return {"fields": [{"name": name}], "primitiveTransformation": transformation}


OVER_90 = {"expressions": {"conditions": {"conditions": [{"field": {"name": "age"}, "operator": "GREATER_THAN", "value": {"integerValue": 90}}]}}}
RULES = [
    rule("name", cryptoHashConfig={"cryptoKey": key("hash")}),
    rule("email", cryptoDeterministicConfig={"cryptoKey": key("token")}),
    rule("ssn", cryptoReplaceFfxFpeConfig={"cryptoKey": key("fpe"), "customAlphabet": "0123456789-"}),
    rule("phone", characterMaskConfig={"numberToMask": -2}),
    rule("ip", redactConfig={}),
    rule("born", dateShiftConfig={"lowerBoundDays": 1, "upperBoundDays": 30, "context": {"name": "id"}, "cryptoKey": key("date")}),
    rule("income", bucketingConfig={"buckets": [{"max": {"integerValue": 1000}, "replacementValue": {"integerValue": 500}},
                                                {"min": {"integerValue": 1000}, "replacementValue": {"integerValue": 2000}}]}),
    rule("age", fixedSizeBucketingConfig={"lowerBound": {"integerValue": 10}, "upperBound": {"integerValue": 90}, "bucketSize": 10}),
    rule("grade", replaceConfig={"newValue": {"floatValue": 0.5}}) | {"condition": OVER_90},
    {"fields": [{"name": "note"}], "infoTypeTransformations": {"transformations": [
        {"infoTypes": [{"name": "EMAIL_ADDRESS"}], "primitiveTransformation": {"replaceWithInfoTypeConfig": {}}}]}},
]


def contract(rules: Sequence[Any] = RULES, suppressed: Sequence[Any] = (), **changed: Any) -> Contract:
    records: dict[str, Any] = {"fieldTransformations": list(rules)}
    if suppressed:
        records["recordSuppressions"] = [{"condition": c} for c in suppressed]
    return plain_contract(FIELDS, deidentify=json.dumps({"deidentifyConfig": {"recordTransformations": records}}), **changed)


def batch(rows: Iterable[dict[str, Any]], of: Contract) -> pa.RecordBatch:
    schema = pa.schema([*input_schema(of), pa.field(ORIGIN, pa.string())])
    listed = [{"id": f"case-{i}", "at": AT, **row, ORIGIN: f"f:{i}"} for i, row in enumerate(rows)]
    return pa.RecordBatch.from_pylist([{name: row.get(name) for name in schema.names} for row in listed], schema=schema)


def person(i: int) -> dict[str, Any]:
    """Row i: some values repeat, some are missing, some are empty."""
    return {"text": "plain", "name": f"Person {i % 40}", "email": f"p{i % 60}@example.com" if i % 7 else None, "ssn": f"{100 + i:03}-45-{i:04}",
            "phone": f"+1 212 555 {i:04}", "ip": f"10.0.0.{i % 250}", "born": date(1970, 1, 1 + i % 28), "income": i * 10, "age": 20 + i % 80,
            "grade": i / 8, "seen": AT, "note": (f"write to n{i}@example.org, or not", "", None, "nothing here")[i % 4]}


def secrets(rows: Iterable[dict[str, Any]]) -> set[str]:
    """The texts of these rows that may not be stored."""
    found = {row[name] for row in rows for name in ("name", "email", "ssn", "phone", "ip") if row.get(name)}
    return found | {address for row in rows for address in re.findall(r"\S+@example.org", row.get("note") or "")}


class Addresses:
    """Finds addresses at example.com and example.org, and nothing else."""

    def find_column(self, texts: pa.StringArray) -> Iterable[tuple[int, Sequence[Any]]]:
        for row, text in enumerate(texts.to_pylist()):
            hits = list(re.finditer(r"[a-z0-9]{1,40}@example\.(com|org)", text or ""))
            if hits:
                yield row, [SimpleNamespace(start=h.start(), end=h.end(), info_type="EMAIL_ADDRESS", likelihood=5) for h in hits]

    def whole(self, texts: pa.StringArray) -> pa.BooleanArray:
        return pa.array([bool(re.fullmatch(r"[a-z0-9]{1,40}@example\.(com|org)", t or "")) for t in texts.to_pylist()], pa.bool_())
