"""Privacy classes against the templates."""

import json
from typing import Any

import pytest

from schemas.fields import Field
from schemas.privacy import check

REDACT, ANY = {"redactConfig": {}}, {"expressions": {"conditions": {"conditions": [{"field": {"name": "age"}, "operator": "EXISTS"}]}}}
INSPECT = {"inspectConfig": {"infoTypes": [{"name": "EMAIL_ADDRESS"}, {"name": "DATE"}],
                             "customInfoTypes": [{"infoType": {"name": "CASE"}, "regex": {"pattern": "C[0-9]+"}}]}}


def field(name: str, privacy: str, type_: str = "string", **more: Any) -> Field:
    return Field(name, type_, True, privacy, "A field.", **more)


ID, AT = field("id", "public", pattern="[a-z0-9]+"), field("at", "public", "timestamp-micros")


def whole(name: str, **more: Any) -> dict[str, Any]:
    return {"fields": [{"name": name}], "primitiveTransformation": REDACT, **more}


def inside(name: str, *info_types: list[str], **more: Any) -> dict[str, Any]:
    parts = [{"infoTypes": [{"name": n} for n in names], "primitiveTransformation": REDACT} for names in info_types]
    return {"fields": [{"name": name}], "infoTypeTransformations": {"transformations": parts}, **more}


def faults(fields: list[Field], *rules: dict[str, Any], inspect: str = json.dumps(INSPECT)) -> list[str]:
    template = json.dumps({"deidentifyConfig": {"recordTransformations": {"fieldTransformations": list(rules)}}})
    return [str(f) for f in check(template, inspect, [ID, AT, *fields], "id", "at", "folder")]


KEPT = [
    ([], []),
    ([field("name", "identifier")], [whole("name")]),
    ([field("ssn", "identifier", "long")], [whole("ssn")]),
    ([field("note", "free_text")], [inside("note", [])]),
    ([field("note", "free_text")], [inside("note", ["DATE"], [])]),
    ([field("note", "free_text")], [inside("note", ["DATE", "CASE"], ["EMAIL_ADDRESS"])]),
    ([field("note", "free_text")], [whole("note")]),
    ([field("sex", "sensitive", values=("F", "M"))], []),
    ([field("code", "public", pattern="[A-Z]{3}")], []),
    ([field("age", "sensitive", "int")], []),
    ([field("city", "public")], [whole("city")]),
]


@pytest.mark.parametrize(("fields", "rules"), KEPT)
def test_classes_that_are_kept_have_no_fault(fields: list[Field], rules: list[dict[str, Any]]) -> None:
    assert faults(fields, *rules) == []


BROKEN = [
    ([field("name", "identifier")], [], "deidentify.json: name: is an identifier without a primitiveTransformation"),
    ([field("name", "identifier")], [inside("name", [])], "name: is an identifier without a primitiveTransformation"),
    ([field("name", "identifier")], [whole("name", condition=ANY)], "name: is identifier and transformed under conditions only"),
    ([field("note", "free_text")], [], "note: is free text and nothing looks into it"),
    ([field("note", "free_text")], [inside("note", [], condition=ANY)], "note: is free_text and transformed under conditions only"),
    ([field("note", "free_text")], [inside("note", ["DATE"])], "note: is free text whose CASE, EMAIL_ADDRESS would be stored in clear"),
    ([field("city", "public")], [], "event.avsc: city: is public and may hold any text, an identifier too; add values or pattern"),
    ([field("city", "sensitive", max_length=20)], [], "city: is sensitive and may hold any text"),
    ([field("city", "public")], [whole("city", condition=ANY)], "city: is public and may hold any text"),
    ([], [whole("id")], "fieldTransformations[0].fields: transforms id, which is the id: it ties repeats together"),
    ([], [whole("at")], "fieldTransformations[0].fields: transforms at, which is the time: the partition follows from it"),
    ([field("id", "identifier", pattern="[a-z]+")], [], "event.avsc: id: is the id, which is stored as it is, and is classed identifier"),
]


@pytest.mark.parametrize(("fields", "rules", "fault"), BROKEN)
def test_a_class_that_is_not_kept_is_a_fault(fields: list[Field], rules: list[dict[str, Any]], fault: str) -> None:
    kept = [f for f in (ID, AT) if f.name not in {g.name for g in fields}]
    template = json.dumps({"deidentifyConfig": {"recordTransformations": {"fieldTransformations": rules}}})
    found = [str(f) for f in check(template, json.dumps(INSPECT), [*kept, *fields], "id", "at", "folder")]
    assert len(found) == 1 and fault in found[0] and found[0].count("; ") >= 1


def test_all_faults_are_told_at_once() -> None:
    assert len(faults([field("name", "identifier"), field("note", "free_text"), field("city", "public")], whole("id"))) == 4


@pytest.mark.parametrize(("deidentify", "inspect"), [("{", "{}"), ('{"deidentifyConfg": {}}', json.dumps(INSPECT)), ("{}", "[")])
def test_templates_that_do_not_parse_are_left_to_their_own_check(deidentify: str, inspect: str) -> None:
    assert check(deidentify, inspect, [field("name", "identifier")], "id", "at", "folder") == []
