"""The local engine: DLP's record transformations on columns, failing closed."""

import json
import pickle
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pytest
from google.cloud.dlp_v2 import types

from schemas.errors import Fault, Misconfigured, Reason
from schemas.fields import Field
from tests.contracts import plain_contract
from transforms.engines.cells import Primitive, must_change, transform, typed
from transforms.engines.conditions import compares
from transforms.engines.free_text import transform_text
from transforms.engines.local import LocalEngine
from transforms.keys import Keys
from transforms.operators.operator import Value

KEY = {"kmsWrapped": {"cryptoKeyName": "k", "wrappedKey": "AAEC"}}
TOKEN, HASH = {"cryptoDeterministicConfig": {"cryptoKey": KEY}}, {"cryptoHashConfig": {"cryptoKey": KEY}}
REDACT: dict[str, Any] = {"redactConfig": {}}
NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=timezone.utc)
EXTRA = (Field("email", "string", True, "identifier", "E-mail."), Field("note", "string", True, "free_text", "Text."),
         Field("age", "int", True, "sensitive", "Years."), Field("born", "date", True, "sensitive", "Day."))


class Found(NamedTuple):
    info_type: str
    start: int
    end: int


class Words:
    """An inspector that knows e-mail addresses and ISO days."""

    def __init__(self) -> None:
        self.patterns = {"EMAIL_ADDRESS": re.compile(r"\S+@\w+\.\w+"), "DATE": re.compile(r"\d{4}-\d\d-\d\d")}
        self.seen: list[list[str]] = []

    def find_column(self, texts: pa.StringArray) -> list[tuple[int, list[Found]]]:
        self.seen.append(texts.to_pylist())
        found = [(row, [Found(name, m.start(), m.end()) for name, p in self.patterns.items() for m in p.finditer(text)])
                 for row, text in enumerate(texts.to_pylist())]
        return [(row, findings) for row, findings in found if findings]

    def whole(self, texts: pa.StringArray) -> pa.BooleanArray:
        return pa.array([text is not None and any(p.fullmatch(text) for p in self.patterns.values()) for text in texts.to_pylist()], pa.bool_())


def engine(folder: Path, *rules: dict[str, Any], fields: Sequence[Field] = (), **records: Any) -> LocalEngine:
    (folder / "master.key").write_bytes(b"m" * 32)
    template = {"deidentifyConfig": {"recordTransformations": {"fieldTransformations": list(rules), **records}}}
    return LocalEngine(plain_contract((*EXTRA, *fields), deidentify=json.dumps(template)), Keys(str(folder)), Words())


def run(config: LocalEngine, *rows: dict[str, Any]) -> tuple[list[dict[str, Any]], list[tuple[int, str | None]], pa.Schema]:
    types_ = {"string": pa.string(), "int": pa.int32(), "date": pa.date32(), "timestamp-micros": pa.timestamp("us", "UTC"), "boolean": pa.bool_(),
              "double": pa.float64(), "long": pa.int64()}
    schema = pa.schema([pa.field(f.name, types_[f.type]) for f in config.contract.fields])
    batch = pa.RecordBatch.from_pylist([{"id": f"r{n}", "at": NOW, **row} for n, row in enumerate(rows)], schema)
    running = config.start()
    running.setup()
    stored, refused = running.deidentify(batch)
    assert stored.schema.names == schema.names and {r.reason for r in refused} <= {Reason.NOT_DEIDENTIFIED}
    return stored.to_pylist(), [(r.position, r.field) for r in refused], stored.schema


def rule(primitive: dict[str, Any], *names: str, **more: Any) -> dict[str, Any]:
    return {"fields": [{"name": n} for n in names], "primitiveTransformation": primitive, **more}


def inside(*parts: tuple[list[str], dict[str, Any]]) -> dict[str, Any]:
    return {"fields": [{"name": "note"}], "infoTypeTransformations": {"transformations": [
        {"infoTypes": [{"name": n} for n in names], "primitiveTransformation": p} for names, p in parts]}}


def when(field: str, operator: str, **value: Any) -> dict[str, Any]:
    condition = {"field": {"name": field}, "operator": operator} | ({"value": value} if value else {})
    return {"condition": {"expressions": {"conditions": {"conditions": [condition]}}}}


def test_equal_values_share_a_token_and_nulls_and_empty_strings_pass(tmp_path: Path) -> None:
    rows, refused, _ = run(engine(tmp_path, rule(TOKEN, "email")), {"email": "a@b.cd"}, {"email": None}, {"email": ""}, {"email": "x@y.zw"}, {"email": "a@b.cd"})
    tokens = [r["email"] for r in rows]
    assert tokens[1:3] == [None, ""] and tokens[0] == tokens[4] != tokens[3] and refused == []
    assert "a@b.cd" not in tokens and all(len(t) > 20 for t in (tokens[0], tokens[3]))


def test_the_same_keys_and_template_give_the_same_tokens_and_other_keys_others(tmp_path: Path) -> None:
    first = engine(tmp_path, rule(HASH, "email"))
    again = run(pickle.loads(pickle.dumps(first)), {"email": "a@b.cd"})[0]
    assert run(first, {"email": "a@b.cd"})[0] == again
    (tmp_path / "master.key").write_bytes(b"n" * 32)
    assert run(first, {"email": "a@b.cd"})[0] != again


def test_a_context_makes_another_token_of_the_same_value(tmp_path: Path) -> None:
    keyed = {"cryptoDeterministicConfig": {"cryptoKey": KEY, "context": {"name": "age"}}}
    rows, _, _ = run(engine(tmp_path, rule(keyed, "email")), *({"email": e, "age": a} for e, a in (("a", 1), ("a", 2), ("b", 1), ("a", 1), ("a", None), (None, 1), ("", 2))))
    a1, a2, b1, a1_again, a_null, null, empty = (r["email"] for r in rows)
    assert a1 == a1_again and len({a1, a2, b1, a_null}) == 4 and (null, empty) == (None, "")


def test_dlps_public_fpe_value_comes_out(tmp_path: Path) -> None:
    fpe = {"cryptoReplaceFfxFpeConfig": {"cryptoKey": {"unwrapped": {"key": "YWJjZGVmZ2hpamtsbW5vcA=="}}, "commonAlphabet": "NUMERIC"}}
    rows, refused, _ = run(engine(tmp_path, rule(fpe, "email")), {"email": "4359916732"}, {"email": "12-34"})
    assert [r["email"] for r in rows] == ["9617256398"] and refused == [(1, "email")]


BUCKETS = {"bucketingConfig": {"buckets": [{"min": {"integerValue": n}, "max": {"integerValue": n + 20}, "replacementValue": {"integerValue": n}}
                                           for n in (0, 20)]}}


def test_bucketed_integers_stay_integers_and_a_value_in_no_bucket_is_refused(tmp_path: Path) -> None:
    rows, refused, schema = run(engine(tmp_path, rule(BUCKETS, "age")), {"age": 20}, {"age": 19}, {"age": None}, {"age": 40})
    assert [r["age"] for r in rows] == [20, 0, None] and refused == [(3, "age")] and schema.field("age").type == pa.int32()


def test_a_shifted_date_stays_a_date_and_follows_its_context(tmp_path: Path) -> None:
    shift = {"dateShiftConfig": {"lowerBoundDays": 1, "upperBoundDays": 90, "context": {"name": "id"}, "cryptoKey": KEY}}
    days = [date(2000, 1, 1), date(2000, 1, 11), None, date(9999, 12, 31)]
    rows, refused, schema = run(engine(tmp_path, rule(shift, "born")), *({"id": "x", "born": d} for d in days))
    first, second, third = (r["born"] for r in rows)
    assert schema.field("born").type == pa.date32() and third is None and refused == [(3, "born")]
    assert second - first == timedelta(days=10) and 1 <= (first - days[0]).days <= 90


def test_a_rule_holds_for_several_fields_and_the_first_that_fails_is_named(tmp_path: Path) -> None:
    short = {"cryptoReplaceFfxFpeConfig": {"cryptoKey": KEY, "commonAlphabet": "NUMERIC"}}
    rows, refused, _ = run(engine(tmp_path, rule(short, "note", "email")), {"email": "x", "note": "y"}, {"email": "123456", "note": "?"}, {"email": "123456", "note": "654321"})
    assert refused == [(0, "email"), (1, "note")] and len(rows) == 1 and rows[0]["email"] != "123456"


# conditions

COMPARED = [
    ("a", "EQUAL_TO", "a", True), ("a", "NOT_EQUAL_TO", "b", True), ("a", "LESS_THAN", "b", True), ("a", "GREATER_THAN", "b", False),
    (5, "EQUAL_TO", 5, True), (5, "GREATER_THAN_OR_EQUALS", 5, True), (5, "LESS_THAN_OR_EQUALS", 4, False), (5, "LESS_THAN", 5.5, True),
    (5.5, "GREATER_THAN", 5, True), ("5", "EQUAL_TO", 5, True), ("5", "GREATER_THAN", 4, True), ("five", "GREATER_THAN", 4, False),
    ("five", "NOT_EQUAL_TO", 4, False), ("5.5", "EQUAL_TO", 5.5, True), ("5.5", "EQUAL_TO", 5, False), ("nan", "NOT_EQUAL_TO", 1.0, False),
    (5, "EQUAL_TO", "5", True), (5, "LESS_THAN", "10", True), (5, "LESS_THAN", "ten", False),
    (True, "EQUAL_TO", True, True), (True, "NOT_EQUAL_TO", False, True), (True, "GREATER_THAN", False, False), (True, "EQUAL_TO", "true", True),
    (True, "EQUAL_TO", 1, False), (1, "EQUAL_TO", True, False), ("true", "EQUAL_TO", True, False),
    (NOW, "EQUAL_TO", NOW, True), ("2026-03-04T06:06:07+01:00", "EQUAL_TO", NOW, True), ("2026-03-04T05:06:07.0000001Z", "EQUAL_TO", NOW, True),
    (NOW, "GREATER_THAN", "2026-03-04T00:00:00Z", True), ("2026-03-04", "LESS_THAN", NOW, False), (NOW, "LESS_THAN", "later", False),
    ("2026-02-30T00:00:00Z", "LESS_THAN", NOW, False), (NOW, "GREATER_THAN", time(5), True), ("04:59:59", "LESS_THAN", time(5), True),
    ("24:00:00", "GREATER_THAN", time(5), False), (date(2020, 1, 1), "LESS_THAN", date(2020, 1, 2), True), ("2020-01-01", "LESS_THAN", date(2020, 1, 2), True),
    (NOW, "EQUAL_TO", date(2026, 3, 4), True), (date(2020, 1, 1), "EQUAL_TO", "2020-01-01", True), (date(2020, 1, 1), "LESS_THAN", NOW, False),
    (5, "LESS_THAN", NOW, False), (5, "LESS_THAN", date(2020, 1, 1), False), (5, "LESS_THAN", time(5), False),
]


@pytest.mark.parametrize(("value", "operator", "wanted", "expected"), COMPARED)
def test_what_can_be_compared_is_compared_and_the_rest_is_false(value: Value, operator: str, wanted: Any, expected: bool) -> None:
    assert compares(value, operator, wanted) is expected


def test_a_condition_reads_the_row_as_it_came_and_null_meets_none_but_exists(tmp_path: Path) -> None:
    # age is redacted by an earlier rule; the condition still sees the number.
    config = engine(tmp_path, rule(REDACT, "age"), rule(REDACT, "note", **when("age", "LESS_THAN", integerValue=18)),
                    rule(REDACT, "email", **when("age", "EXISTS")))
    rows, refused, schema = run(config, *({"age": a, "note": "n", "email": "e"} for a in (17, 18, None)))
    assert [(r["age"], r["note"], r["email"]) for r in rows] == [("", "", ""), ("", "n", ""), (None, "n", "e")] and refused == []
    assert schema.field("age").type == pa.string()


def test_all_conditions_of_a_rule_must_hold(tmp_path: Path) -> None:
    both = [{"field": {"name": "age"}, "operator": o, "value": {"integerValue": v}} for o, v in (("GREATER_THAN", 10), ("LESS_THAN", 20))]
    config = engine(tmp_path, rule(REDACT, "note", condition={"expressions": {"logicalOperator": "AND", "conditions": {"conditions": both}}}))
    assert [r["note"] for r in run(config, *({"age": a, "note": "n"} for a in (10, 15, 20)))[0]] == ["n", "", "n"]


def test_of_two_rules_the_first_that_holds_transforms_the_value_as_it_came(tmp_path: Path) -> None:
    def word(text: str) -> dict[str, Any]:
        return {"replaceConfig": {"newValue": {"stringValue": text}}}
    config = engine(tmp_path, rule(word("minor"), "age", **when("age", "LESS_THAN", integerValue=18)), rule(word("young"), "age", **when("age", "LESS_THAN", integerValue=30)))
    assert [r["age"] for r in run(config, {"age": 5}, {"age": 20}, {"age": 40}, {"age": None})[0]] == ["minor", "young", "40", None]


def test_a_failure_under_a_condition_refuses_only_rows_that_meet_it(tmp_path: Path) -> None:
    assert run(engine(tmp_path, rule(BUCKETS, "age", **when("email", "EQUAL_TO", stringValue="x"))), {"age": 99, "email": "x"}, {"age": 99, "email": "y"})[1] == [(0, "age")]


def test_a_suppressed_row_is_refused_without_a_field(tmp_path: Path) -> None:
    config = engine(tmp_path, rule(BUCKETS, "age"), recordSuppressions=[when("age", "GREATER_THAN", integerValue=89), when("email", "EQUAL_TO", stringValue="x")])
    rows, refused, _ = run(config, {"age": 90}, {"age": 1}, {"age": 1, "email": "x"}, {"age": 50})
    assert [r["id"] for r in rows] == ["r1"] and refused == [(0, None), (2, None), (3, "age")]


# free text

def test_findings_are_counted_in_code_points(tmp_path: Path) -> None:
    config = engine(tmp_path, inside(([], {"replaceWithInfoTypeConfig": {}})))
    rows, _, _ = run(config, {"note": "👩‍👩‍👧 é a@b.cd 𝄞 c@d.ef!"}, {"note": None}, {"note": ""}, {"note": "nothing"})
    assert [r["note"] for r in rows] == ["👩‍👩‍👧 é [EMAIL_ADDRESS] 𝄞 [EMAIL_ADDRESS]!", None, "", "nothing"]


def test_an_info_type_has_its_own_transformation_and_the_empty_list_takes_the_rest(tmp_path: Path) -> None:
    shift = {"dateShiftConfig": {"lowerBoundDays": 3, "upperBoundDays": 3, "context": {"name": "id"}, "cryptoKey": KEY}}
    rows, refused, _ = run(engine(tmp_path, inside((["DATE"], shift), ([], REDACT))), {"note": "on 2020-02-27 a@b.cd wrote"}, {"note": "on 2020-02-30"})
    assert [r["note"] for r in rows] == ["on 2020-03-01  wrote"] and refused == [(1, "note")]


def test_an_info_type_that_no_transformation_names_stays(tmp_path: Path) -> None:
    assert run(engine(tmp_path, inside((["DATE"], REDACT))), {"note": "a@b.cd 2020-01-01"})[0][0]["note"] == "a@b.cd "


def test_tokens_in_text_follow_the_context_of_their_row(tmp_path: Path) -> None:
    keyed = {"cryptoDeterministicConfig": {"cryptoKey": KEY, "context": {"name": "age"}, "surrogateInfoType": {"name": "MAIL"}}}
    rows, _, _ = run(engine(tmp_path, inside((["EMAIL_ADDRESS"], keyed))), *({"note": "to a@b.cd", "age": a} for a in (1, 2, 1)))
    one, two, three = (r["note"] for r in rows)
    assert one == three != two and all(re.fullmatch(r"to MAIL\(\d+\):\S+", n) for n in (one, two))


@pytest.mark.parametrize("note", ["2020-02-30 2020-02-01", "2020-02-01 2020-02-30", "2020-02-30"])
def test_one_finding_without_an_answer_refuses_the_row(tmp_path: Path, note: str) -> None:
    shift = {"dateShiftConfig": {"lowerBoundDays": 3, "upperBoundDays": 3, "context": {"name": "id"}, "cryptoKey": KEY}}
    assert run(engine(tmp_path, inside(([], shift))), {"note": note}, {"note": "2020-02-01"})[1] == [(0, "note")]


@pytest.mark.parametrize(("spans", "expected"), [
    ([(0, 2), (2, 4)], "<><>ef"), ([(4, 6), (0, 2)], "<>cd<>"), ([(0, 4), (3, 6)], None), ([(0, 6), (2, 3)], None), ([(1, 3), (1, 3)], None)])
def test_findings_that_overlap_refuse_the_row(spans: list[tuple[int, int]], expected: str | None) -> None:
    class Given:
        def find_column(self, texts: pa.StringArray) -> list[tuple[int, list[Found]]]:
            return [(0, [Found("A", *span) for span in spans])]

        def whole(self, texts: pa.StringArray) -> pa.BooleanArray:
            raise NotImplementedError
    written = transform_text(pa.array(["abcdef", "x"]), {}, Given(), {"A": Primitive(Answers(lambda v: "<>"), "", None)})
    assert written.to_pylist() == [expected, "x"]


# fails closed

class Answers:
    """An operator that answers by a function and remembers what it was asked."""

    reversible = False

    def __init__(self, answer: Any, deterministic: bool = True) -> None:
        self.answer, self.deterministic = answer, deterministic
        self.asked: list[tuple[list[Value], Any]] = []

    def __call__(self, values: Sequence[Value], contexts: Any = None, info_type: str = "") -> list[Value | None]:
        self.asked.append((list(values), contexts))
        return [self.answer(v) for v in values]

    def reverse(self, tokens: Sequence[str], contexts: Any = None, info_type: str = "") -> list[str | None]:
        raise NotImplementedError


def test_each_distinct_value_is_asked_once_and_a_random_operator_for_each_row() -> None:
    column = pa.array(["a", "b", None, "a", "", "b"])
    for deterministic, expected in ((True, ["a", "b"]), (False, ["a", "b", "a", "b"])):
        operator = Answers(lambda v: f"<{v}>", deterministic)
        answer = transform(column, None, Primitive(operator, "", None), pa.string())
        assert answer.to_pylist() == ["<a>", "<b>", None, "<a>", "", "<b>"] and operator.asked == [(expected, None)]


def test_each_distinct_text_is_inspected_once_and_written_once_for_each_context() -> None:
    texts = pa.array(["x a@b.cd", "plain", None, "x a@b.cd", "x a@b.cd", ""])
    for context, deterministic, asked in ((False, True, 1), (True, True, 3), (False, False, 3)):
        operator, inspector = Answers(lambda v: "<>", deterministic), Words()
        given = {"c": pa.array([1, 1, 1, 2, None, 1], pa.int64())} if context else {}
        answer = transform_text(texts, given, inspector, {"": Primitive(operator, "c" if context else "", None)})
        assert answer.to_pylist() == ["x <>", "plain", None, "x <>", "x <>", ""]
        assert inspector.seen == [["x a@b.cd", "plain", ""]]
        assert operator.asked == [(["a@b.cd"] * asked, [1, 2, None] if context else None)]


def test_each_pair_of_value_and_context_is_asked_once() -> None:
    operator = Answers(lambda v: f"<{v}>")
    transform(pa.array(["a", "a", "b", "a", None]), pa.array([1, 2, None, 1, 2], pa.int64()), Primitive(operator, "c", None), pa.string())
    assert operator.asked == [(["a", "a", "b"], [1, 2, None])]


def test_nothing_at_all_is_transformed_to_nothing() -> None:
    for column in (pa.array([], pa.string()), pa.array([None, None], pa.string()), pa.array(["", None])):
        assert transform(column, None, Primitive(Answers(str), "", None), pa.string()).to_pylist() == column.to_pylist()


def primitive(config: dict[str, Any]) -> types.PrimitiveTransformation:
    return types.PrimitiveTransformation.from_json(json.dumps(config))


MASK = {"characterMaskConfig": {"charactersToIgnore": [{"charactersToSkip": "-"}, {"commonCharactersToIgnore": "WHITESPACE"}]}}
UNCHANGED = [(TOKEN, "a", True), (HASH, "a", True), (REDACT, "a", True), (MASK, "1", True), (MASK, "- *", False),
             ({"cryptoReplaceFfxFpeConfig": {"radix": 10}}, "1234", True), ({"cryptoReplaceFfxFpeConfig": {"radix": 10}}, "123", False),
             (BUCKETS, "20", False), ({"replaceDictionaryConfig": {"wordList": {"words": ["ab"]}}}, "ab", False)]


@pytest.mark.parametrize(("config", "value", "refused"), UNCHANGED)
def test_a_value_that_must_change_and_did_not_is_refused(config: dict[str, Any], value: str, refused: bool) -> None:
    unchanged = Primitive(Answers(lambda v: v), "", must_change(primitive(config)))
    assert transform(pa.array([value, None]), None, unchanged, pa.string()).to_pylist() == [None if refused else value, None]
    text = pa.array([f"{value} a@b.cd"])
    assert transform_text(text, {}, Words(), {"": unchanged}).to_pylist() == [text[0].as_py() if must_change(primitive(config)) is None else None]


def test_a_number_that_comes_out_as_its_own_text_is_unchanged_too() -> None:
    unchanged = Primitive(Answers(str), "", must_change(primitive(TOKEN)))
    assert transform(pa.array([12345]), None, unchanged, pa.string()).to_pylist() == [None]


def test_an_answer_that_the_column_cannot_hold_is_no_answer() -> None:
    assert typed([1, 1 << 40, "x", None, 2], pa.int32()).to_pylist() == [1, None, None, None, 2]
    assert typed([1, date(2020, 1, 1), True, "x", None], pa.string()).to_pylist() == ["1", "2020-01-01", "true", "x", None]


def test_an_operator_that_loses_values_is_a_bug_and_not_a_refusal() -> None:
    class Short(Answers):
        def __call__(self, values: Sequence[Value], contexts: Any = None, info_type: str = "") -> list[Value | None]:
            return super().__call__(values)[1:]
    with pytest.raises(RuntimeError, match="another number"):
        transform(pa.array(["a"]), None, Primitive(Short(str), "", None), pa.string())


def test_an_open_text_that_is_an_identifier_as_a_whole_is_refused(tmp_path: Path) -> None:
    closed = Field("kind", "string", True, "public", "Kind.", values=("a@b.cd", "x"))
    config = engine(tmp_path, rule(REDACT, "text", **when("age", "EXISTS")), rule(TOKEN, "email"), fields=(closed,))
    rows, refused, _ = run(config, {"id": "a@b.cd"}, {"text": "a@b.cd"}, {"text": "a@b.cd", "age": 1}, {"kind": "a@b.cd", "email": "x@y.zw"}, {"text": None})
    assert refused == [(0, "id"), (1, "text")] and [r["text"] for r in rows] == ["", None, None]


# while the pipeline is built

def test_faults_name_file_and_path_of_all_that_cannot_be_done(tmp_path: Path) -> None:
    overlap = {"bucketingConfig": {"buckets": [{"min": {"integerValue": n}, "max": {"integerValue": 9}, "replacementValue": {"integerValue": 1}} for n in (1, 2)]}}
    found = engine(tmp_path, rule(overlap, "age"), rule({"replaceDictionaryConfig": {}}, "note")).faults()
    assert [f.where.split(": ")[0] for f in found] == ["plain/deidentify.json"] * 2
    assert "fieldTransformations[0].primitiveTransformation.bucketingConfig" in found[0].where
    assert "fieldTransformations[1].primitiveTransformation.replaceDictionaryConfig" in found[1].where
    with pytest.raises(Misconfigured):
        engine(tmp_path, rule(overlap, "age")).start().setup()


def test_missing_keys_are_a_fault_told_once(tmp_path: Path) -> None:
    config = engine(tmp_path, rule(TOKEN, "email"), rule(HASH, "note"))
    (tmp_path / "master.key").unlink()
    found = config.faults()
    assert len(found) == 1 and isinstance(found[0], Fault) and "master.key" in found[0].problem


def test_a_template_that_can_be_done_has_no_fault(tmp_path: Path) -> None:
    assert engine(tmp_path, rule(TOKEN, "email"), inside(([], REDACT))).faults() == []


def test_without_another_inspector_the_detectors_of_inspect_json_look(tmp_path: Path) -> None:
    config = replace(engine(tmp_path, inside(([], {"replaceWithInfoTypeConfig": {}}))), inspector=None)
    rows, refused, _ = run(config, {"note": "écrire à 👍 jane.roe@example.org, merci"}, {"id": "jane.roe@example.org"})
    assert [r["note"] for r in rows] == ["écrire à 👍 [EMAIL_ADDRESS], merci"] and refused == [(1, "id")]


def test_an_info_type_that_the_detectors_do_not_know_is_a_fault(tmp_path: Path) -> None:
    config = engine(tmp_path, rule(TOKEN, "email"))
    unknown = replace(config.contract, inspect=json.dumps({"inspectConfig": {"infoTypes": [{"name": "NO_SUCH_THING"}]}}))
    found = replace(config, contract=unknown, inspector=None).faults()
    assert len(found) == 1 and "NO_SUCH_THING" in str(found[0])
