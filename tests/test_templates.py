"""The DLP templates of a contract: form, promises, and the types of what is stored."""

import json
from datetime import date, datetime, timezone
from typing import Any

import pytest
from google.cloud.dlp_v2 import types

from schemas.errors import Misconfigured
from schemas.fields import Field
from schemas.templates import Comparison, check, deidentify_template, inspect_template, requested, rules, stored_type, suppressions

FIELDS = tuple(Field(name, type_, True, "public", "A field.") for name, type_ in (
    ("id", "string"), ("email", "string"), ("note", "string"), ("age", "int"), ("income", "long"), ("rate", "double"),
    ("member", "boolean"), ("born", "date"), ("at", "timestamp-micros")))
INSPECT: dict[str, Any] = {"inspectConfig": {"infoTypes": [{"name": "EMAIL_ADDRESS"}, {"name": "DATE"}]}}
KEY = {"kmsWrapped": {"cryptoKeyName": "projects/p/locations/l/keyRings/r/cryptoKeys/k", "wrappedKey": "AAEC"}}
TOKEN = {"cryptoDeterministicConfig": {"cryptoKey": KEY}}
AT = "deidentifyConfig.recordTransformations.fieldTransformations[0]"


def rule(primitive: dict[str, Any], *names: str, **more: Any) -> dict[str, Any]:
    return {"fields": [{"name": n} for n in names or ("email",)], "primitiveTransformation": primitive, **more}


def when(*conditions: tuple[str, str, Any]) -> dict[str, Any]:
    listed = [{"field": {"name": f}, "operator": o} | ({} if v is None else {"value": v}) for f, o, v in conditions]
    return {"condition": {"expressions": {"conditions": {"conditions": listed}}}}


def template(*listed: dict[str, Any], **records: Any) -> dict[str, Any]:
    return {"deidentifyConfig": {"recordTransformations": {"fieldTransformations": list(listed), **records}}}


def faults(deidentify: Any, inspect: Any = INSPECT, **options: bool) -> list[str]:
    texts = [t if isinstance(t, str) else json.dumps(t) for t in (inspect, deidentify)]
    return [str(f) for f in check(texts[0], texts[1], FIELDS, "folder", **options)]


GOOD = [
    template(rule(TOKEN)),
    template(rule({"bucketingConfig": {"buckets": [{"min": {"integerValue": "1"}, "max": {"integerValue": 5},
                                                    "replacementValue": {"stringValue": "low"}}]}}, "age")),
    template(rule(TOKEN, **when(("age", "LESS_THAN", {"integerValue": 18}))), rule({"redactConfig": {}}, **when(("age", "EXISTS", None)))),
    template({"fields": [{"name": "note"}], "infoTypeTransformations": {"transformations": [
        {"infoTypes": [{"name": "DATE"}], "primitiveTransformation": {"redactConfig": {}}},
        {"primitiveTransformation": {"replaceWithInfoTypeConfig": {}}}]}}),
    {"name": "projects/p/deidentifyTemplates/t", "updateTime": "2026-03-04T00:00:00Z", "deidentify_config": template(rule(TOKEN))["deidentifyConfig"]},
    template(rule({"dateShiftConfig": {"lowerBoundDays": -5, "upperBoundDays": 5, "context": {"name": "id"}, "cryptoKey": KEY}}, "born")),
    {"displayName": None, **template(rule(TOKEN), recordSuppressions=None)},
    template(recordSuppressions=[when(("at", "LESS_THAN", {"timestampValue": "2020-01-01T00:00:00Z"}))]),
]


@pytest.mark.parametrize("given", GOOD)
def test_templates_as_the_rest_api_takes_them_have_no_fault(given: dict[str, Any]) -> None:
    assert faults(given) == []


FORM = [
    ("{", "is not JSON"),
    ('{"deidentifyConfig": {}, "deidentifyConfig": {}}', "holds a key twice"),
    ('{"name": NaN}', "is not JSON"),
    ("[]", "is not a JSON object"),
    ({"deidentifyConfg": {}}, "deidentify.json: deidentifyConfg: unknown key; did you mean deidentifyConfig?"),
    (template({"fields": [{"nam": "email"}], "primitiveTransformation": TOKEN}), f"{AT}.fields[0].nam: unknown key; did you mean name?"),
    (template(rule({"redactConfig": {}, "replaceConfig": {}})), f"{AT}.primitiveTransformation: holds redactConfig and replaceConfig"),
    (template({"fields": {"name": "email"}}), f"{AT}.fields: is not a list"),
    (template({"fields": [{"name": 3}]}), f"{AT}.fields[0].name: holds a value of another type"),
    (template(rule({"characterMaskConfig": {"numberToMask": "x"}})), "characterMaskConfig.numberToMask: holds a value of another type"),
    (template(rule({"characterMaskConfig": {"reverseOrder": "yes"}})), "reverseOrder: holds a value of another type"),
    (template(rule({"fixedSizeBucketingConfig": {"bucketSize": True}})), "bucketSize: holds a value of another type"),
    (template(rule(TOKEN, **when(("age", "LESS", {"integerValue": 1})))), "operator: is no RelationalOperator; use one of EQUAL_TO"),
    (template(rule({"cryptoHashConfig": {"cryptoKey": {"kmsWrapped": {"cryptoKeyName": "k", "wrappedKey": "a$%b"}}}})), "wrappedKey: holds a value"),
    ({**template(rule(TOKEN)), "createTime": "yesterday"}, "deidentify.json: createTime: holds a value of another type"),
]


@pytest.mark.parametrize(("given", "fault"), FORM)
def test_a_fault_of_form_names_file_and_path(given: Any, fault: str) -> None:
    found = faults(given)
    assert len(found) == 1 and found[0].startswith("folder/deidentify.json") and fault in found[0]


def test_all_faults_of_form_are_told_at_once_and_none_repeats_a_value() -> None:
    wrong = template({"fields": [{"nam": "email"}], "primitiveTransformation": {"cryptoHashConfig": {"cryptoKey": {"unwrapped": {"key": "s3cret!"}}}}})
    found = faults(wrong, {"inspectConfig": {"infoTypez": []}})
    assert [f.split(": ")[1] for f in found] == [
        "inspectConfig.infoTypez", f"{AT}.fields[0].nam", f"{AT}.primitiveTransformation.cryptoHashConfig.cryptoKey.unwrapped.key"]
    assert "s3cret" not in " ".join(found)


def test_parsing_alone_raises_misconfigured() -> None:
    with pytest.raises(Misconfigured, match=r"inspect\.json: inspectConfg: unknown key"):
        inspect_template('{"inspectConfg": {}}', "inspect.json")
    with pytest.raises(Misconfigured, match=r"d\.json: is not JSON"):
        deidentify_template("no", "d.json")


PROMISES = [
    (template(rule(TOKEN, "emial")), f"{AT}.fields[0]: names a field that event.avsc does not have"),
    (template(rule(TOKEN, "email", "email")), f"{AT}.fields[1]: email is transformed twice"),
    (template(rule(TOKEN), rule({"redactConfig": {}}, **when(("age", "EXISTS", None)))), "fieldTransformations[1].fields[0]: email is transformed twice"),
    (template(rule(TOKEN, **when(("age", "EXISTS", None))), rule(TOKEN)), "fieldTransformations[1].fields[0]: email is transformed twice"),
    (template(*[rule(TOKEN, **when(("age", "EQUAL_TO", {"integerValue": n}))) for n in range(101)]), "holds 101 transformations, and DLP takes 100"),
    ({"deidentifyConfig": template(rule(TOKEN))["deidentifyConfig"] | {"transformationErrorHandling": {"leaveUntransformed": {}}}}, "in clear where"),
    ({"deidentifyConfig": {"infoTypeTransformations": {"transformations": []}}}, "write recordTransformations whose fieldTransformations"),
    ({"deidentifyConfig": {"imageTransformations": {"transforms": []}}}, "is for images"),
    ({}, "recordTransformations: is missing"),
    (template(rule({"cryptoHashConfig": {"cryptoKey": {"transient": {"name": "n"}}}})), "cryptoHashConfig.cryptoKey.transient: is another key in every request"),
    (template(rule({"cryptoReplaceFfxFpeConfig": {"cryptoKey": {"transient": {"name": "n"}}, "radix": 10}})), "cryptoKey.transient"),
    (template(rule({"dateShiftConfig": {"context": {"name": "id"}, "cryptoKey": {"transient": {"name": "n"}}}}, "born")), "cryptoKey.transient"),
    (template(rule({"cryptoDeterministicConfig": {"cryptoKey": {"unwrapped": {"key": "AAEC"}}}})), "cryptoKey.unwrapped: holds a key in clear"),
    (template(rule({"cryptoDeterministicConfig": {}})), "cryptoDeterministicConfig.cryptoKey: is missing"),
    (template(rule({"cryptoDeterministicConfig": {"cryptoKey": {}}})), "cryptoKey: names no key"),
    (template(rule({"cryptoHashConfig": {"cryptoKey": {"kmsWrapped": {"cryptoKeyName": "k"}}}})), "kmsWrapped: lacks"),
    (template(rule({"cryptoDeterministicConfig": {"cryptoKey": KEY, "context": {"name": "who"}}})), "context: names a field that event.avsc does not have"),
    (template(rule({"dateShiftConfig": {"cryptoKey": KEY}}, "born")), "dateShiftConfig: has one of context and cryptoKey"),
    (template({"fields": [{"name": "age"}], "infoTypeTransformations": {"transformations": [{"primitiveTransformation": {"redactConfig": {}}}]}}),
     "looks for text inside age, which is int"),
    (template({"fields": [{"name": "note"}], "infoTypeTransformations": {"transformations": [
        {"infoTypes": [{"name": n}], "primitiveTransformation": {"redactConfig": {}}} for n in ("DATE", "DATE")]}}), "transforms DATE twice"),
    (template({"fields": [{"name": "note"}], "infoTypeTransformations": {"transformations": [
        {"infoTypes": [{"name": "EMAIL"}], "primitiveTransformation": {"redactConfig": {}}}]}}), "transforms EMAIL, which inspect.json does not look for"),
    (template(rule({"replaceWithInfoTypeConfig": {}})), "replaces a finding, and a whole field is none"),
    (template(rule({})), "primitiveTransformation: says no transformation"),
    (template({"fields": [{"name": "email"}]}), f"{AT}: says no transformation"),
    (template({"primitiveTransformation": TOKEN}), f"{AT}.fields: names no field"),
    (template(rule(TOKEN, **when(("agee", "EXISTS", None)))), "conditions[0].field: names a field that event.avsc does not have"),
    (template(rule(TOKEN, condition={})), f"{AT}.condition: compares nothing"),
    (template(rule(TOKEN, **when(("age", "EQUAL_TO", None)))), "conditions[0].value: is missing"),
    (template(rule(TOKEN, **when(("at", "EQUAL_TO", {"dayOfWeekValue": "MONDAY"})))), "conditions[0].value: is missing or nothing"),
    (template(rule(TOKEN, condition={"expressions": {"conditions": {"conditions": [{"field": {"name": "age"}}]}}})), "operator: is missing"),
    (template(recordSuppressions=[{}]), "recordSuppressions[0].condition: compares nothing"),
]


@pytest.mark.parametrize(("given", "fault"), PROMISES)
def test_what_would_break_a_promise_is_refused(given: dict[str, Any], fault: str) -> None:
    found = faults(given)
    assert len(found) == 1 and fault in found[0]


def test_every_rule_beside_an_unconditional_one_is_a_fault() -> None:
    condition = when(("age", "EXISTS", None))
    found = faults(template(rule(TOKEN, **condition), rule(TOKEN), rule(TOKEN, **condition)))
    assert [f.split(": ")[1].partition(".fields")[0][-3:] for f in found] == ["[1]", "[2]"]


def test_unwrapped_keys_pass_where_they_are_allowed() -> None:
    given = template(rule({"cryptoDeterministicConfig": {"cryptoKey": {"unwrapped": {"key": "AAEC"}}}}))
    assert faults(given, allow_unwrapped_keys=True) == []


@pytest.mark.parametrize("inspect", [{}, {"inspectConfig": {}}, {"inspectConfig": {"infoTypes": [], "minLikelihood": "LIKELY"}},
                                     {"inspectConfig": {"customInfoTypes": [{"infoType": {"name": "X"}, "exclusionType": "EXCLUSION_TYPE_EXCLUDE"}]}}])
def test_an_inspection_names_its_info_types(inspect: dict[str, Any]) -> None:
    found = faults(template(rule(TOKEN)), inspect)
    assert len(found) == 1 and "inspect.json: inspectConfig.infoTypes: names no infoType" in found[0]


def test_custom_info_types_are_requested_too() -> None:
    config = {"infoTypes": [{"name": "DATE"}], "customInfoTypes": [{"infoType": {"name": "CASE"}, "regex": {"pattern": "C-[0-9]+"}}]}
    assert requested(inspect_template(json.dumps({"inspectConfig": config}), "i")) == ("DATE", "CASE")


def parsed(*listed: dict[str, Any], **records: Any) -> types.DeidentifyTemplate:
    return deidentify_template(json.dumps(template(*listed, **records)), "d")


def test_rules_are_a_plain_view_in_the_order_of_the_file() -> None:
    text = {"fields": [{"name": "note"}], "infoTypeTransformations": {"transformations": [
        {"infoTypes": [{"name": "DATE"}], "primitiveTransformation": {"redactConfig": {}}}, {"primitiveTransformation": TOKEN}]}}
    conditions = when(("age", "GREATER_THAN", {"integerValue": 3}), ("born", "EQUAL_TO", {"dateValue": {"year": 2020, "month": 2, "day": 29}}),
                      ("at", "LESS_THAN", {"timestampValue": "2026-01-02T03:04:05Z"}), ("note", "EXISTS", None))
    given = parsed(rule(TOKEN, "email", "id", **conditions), text, recordSuppressions=[when(("rate", "NOT_EQUAL_TO", {"floatValue": 0.5}))])
    first, second = rules(given)
    assert (first.fields, first.path, first.by_info_type) == (("email", "id"), AT, ())
    assert first.condition == (Comparison("age", "GREATER_THAN", 3), Comparison("born", "EQUAL_TO", date(2020, 2, 29)),
                               Comparison("at", "LESS_THAN", datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)), Comparison("note", "EXISTS", None))
    assert second.primitive is None and second.condition is None
    assert [part.info_types for part in second.by_info_type] == [("DATE",), ()]
    assert [path.rpartition("[1].")[2] for path, _ in second.primitives()] == [
        "infoTypeTransformations.transformations[0].primitiveTransformation", "primitiveTransformation"]
    assert [s.condition for s in suppressions(given)] == [(Comparison("rate", "NOT_EQUAL_TO", 0.5),)]


def buckets(*replacements: dict[str, Any]) -> dict[str, Any]:
    return {"bucketingConfig": {"buckets": [{"min": {"integerValue": n}, "max": {"integerValue": n + 1}, "replacementValue": r}
                                            for n, r in enumerate(replacements)]}}


INTEGER, LARGE, TEXT = {"integerValue": 7}, {"integerValue": 1 << 40}, {"stringValue": "low"}
STORED = [
    ("email", TOKEN, "string"), ("age", buckets(INTEGER, INTEGER), "int"), ("age", buckets(INTEGER, TEXT), "string"), ("age", buckets(LARGE), "string"),
    ("income", buckets(LARGE), "long"), ("rate", buckets(INTEGER), "double"), ("rate", buckets(TEXT), "string"),
    ("age", {"fixedSizeBucketingConfig": {"lowerBound": INTEGER, "upperBound": INTEGER, "bucketSize": 1}}, "string"),
    ("age", TOKEN, "string"), ("age", {"cryptoHashConfig": {"cryptoKey": KEY}}, "string"), ("age", {"redactConfig": {}}, "string"),
    ("age", {"characterMaskConfig": {}}, "string"), ("age", {"replaceConfig": {"newValue": INTEGER}}, "int"),
    ("age", {"replaceConfig": {"newValue": TEXT}}, "string"), ("member", {"replaceConfig": {"newValue": {"booleanValue": False}}}, "boolean"),
    ("born", {"replaceConfig": {"newValue": {"dateValue": {"year": 1970, "month": 1, "day": 1}}}}, "date"),
    ("at", {"replaceConfig": {"newValue": {"timestampValue": "2020-01-01T00:00:00Z"}}}, "timestamp-micros"),
    ("at", {"replaceConfig": {"newValue": {"dateValue": {"year": 1970, "month": 1, "day": 1}}}}, "string"),
    ("born", {"dateShiftConfig": {}}, "date"), ("at", {"dateShiftConfig": {}}, "timestamp-micros"), ("age", {"dateShiftConfig": {}}, "string"),
    ("at", {"timePartConfig": {"partToExtract": "YEAR"}}, "string"),
]


@pytest.mark.parametrize(("name", "primitive", "expected"), STORED)
def test_the_stored_type_follows_from_the_transformation(name: str, primitive: dict[str, Any], expected: str) -> None:
    field = next(f for f in FIELDS if f.name == name)
    assert stored_type(field, parsed(rule(primitive, name))) == expected


def test_an_untouched_field_keeps_its_type_and_one_rule_of_two_makes_a_string() -> None:
    age = next(f for f in FIELDS if f.name == "age")
    assert stored_type(age, parsed(rule(TOKEN, "email"))) == "int"
    condition = when(("email", "EXISTS", None))
    assert stored_type(age, parsed(rule(buckets(INTEGER), "age", **condition), rule(TOKEN, "age", **condition))) == "string"
