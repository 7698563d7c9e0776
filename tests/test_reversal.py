"""Tokens back to values, by either engine: what opens, what does not, and what is refused by name."""

import json
from dataclasses import replace
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from schemas.errors import Misconfigured, Transient
from schemas.fields import Field
from tests.contracts import plain_contract
from tests.dlp_contract import OVER_90, Addresses, batch, key, rule
from tests.dlp_faults import FaultPlan
from tests.dlp_world import PATIENT, World
from tests.key_folders import settled
from transforms.engines.local import LocalEngine
from transforms.engines.reversal import needs, reversals
from transforms.engines.reversal_dlp import DlpReverser, Reversing
from transforms.engines.reversal_local import LocalReverser
from transforms.keys import Keys
from transforms.reidentify import Reidentify, Turned, reidentify

QUICK = replace(PATIENT, attempt=0.1, total=0.3)
FIELDS = (
    Field("email", "string", True, "identifier", "Token."), Field("card", "string", True, "identifier", "Token of its id, marked."),
    Field("ssn", "string", True, "identifier", "FPE.", pattern="[0-9]{3}-[0-9]{2}-[0-9]{4}"),
    Field("code", "string", True, "identifier", "FPE of its branch, marked."), Field("branch", "int", True, "public", "A number."),
    Field("account", "int", True, "identifier", "FPE of a number."), Field("born", "date", True, "identifier", "Token of a date."),
    Field("seen", "timestamp-micros", True, "identifier", "Token of a time."), Field("rate", "double", True, "identifier", "Token of a number."),
    Field("member", "boolean", True, "identifier", "Token."), Field("name", "string", True, "identifier", "Hash."),
    Field("phone", "string", True, "identifier", "Mask."), Field("grade", "string", True, "sensitive", "Token where branch is over 90."),
    Field("linked", "string", True, "identifier", "Token of its name."), Field("note", "string", True, "free_text", "Searched."),
    Field("day", "date", True, "identifier", "Shifted."))


def token(field: str, **more: Any) -> dict[str, Any]:
    return rule(field, cryptoDeterministicConfig={"cryptoKey": key("token"), **more})


def fpe(field: str, alphabet: str, **more: Any) -> dict[str, Any]:
    return rule(field, cryptoReplaceFfxFpeConfig={"cryptoKey": key("fpe"), "customAlphabet": alphabet, **more})


RULES = [
    token("email"), token("card", context={"name": "id"}, surrogateInfoType={"name": "CARD"}), fpe("ssn", "0123456789-"),
    fpe("code", "ABCDEFGH", context={"name": "branch"}, surrogateInfoType={"name": "CODE"}), fpe("account", "0123456789"), token("born"), token("seen"),
    token("rate"), token("member"), rule("name", cryptoHashConfig={"cryptoKey": key("hash")}), rule("phone", characterMaskConfig={"numberToMask": -2}),
    token("grade") | {"condition": OVER_90 | {"expressions": {"conditions": {"conditions": [
        {"field": {"name": "branch"}, "operator": "GREATER_THAN", "value": {"integerValue": 90}}]}}}},
    token("linked", context={"name": "name"}),
    {"fields": [{"name": "note"}], "infoTypeTransformations": {"transformations": [{"primitiveTransformation": {
        "cryptoDeterministicConfig": {"cryptoKey": key("token"), "surrogateInfoType": {"name": "NOTE"}}}}]}},
    rule("day", dateShiftConfig={"lowerBoundDays": 1, "upperBoundDays": 30, "context": {"name": "id"}, "cryptoKey": key("date")}),
]
CONTRACT = plain_contract(FIELDS, deidentify=json.dumps({"deidentifyConfig": {"recordTransformations": {"fieldTransformations": RULES}}}))
COLUMNS = ("email", "card", "ssn", "code", "account", "born", "seen", "rate", "member")
ROWS = [{"email": f"p{i % 40}@example.com" if i % 7 else None, "card": f"41{i % 9:014}", "ssn": f"{100 + i:03}-45-{i:04}" if i % 5 else "",
         "code": "ABCD" if i % 2 else "HGFEDC", "branch": i % 3 if i % 11 else None, "account": 10_000 + i, "born": date(1970, 1, 1 + i % 28),
         "seen": datetime(2026, 3, 4, 5, 6, 7, i, timezone.utc), "rate": i / 8, "member": i % 3 == 0} for i in range(150)]


@pytest.fixture(scope="module")
def stored(ring) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Rows as they were read, and as they are stored."""
    plain = batch(ROWS, CONTRACT)
    engine = LocalEngine(CONTRACT, ring, Addresses()).start()
    engine.setup()
    tokens, refused = engine.deidentify(plain)
    assert not refused
    return plain, tokens


def local(ring: Keys, columns: tuple[str, ...] = COLUMNS, proven: bool = True) -> Any:
    config = LocalReverser(CONTRACT, columns, ring, proven)
    assert config.faults() == []
    reverser = config.start()
    reverser.setup()
    return reverser


def dlp(world: World, columns: tuple[str, ...] = COLUMNS, **changed: Any) -> Reversing:
    config = DlpReverser(world.config(CONTRACT, **changed), columns)
    assert config.faults() == []
    reverser = config.start()
    reverser.setup()
    return reverser


def other_ring(folder: Path) -> Keys:
    settled(folder)
    return Keys(str(folder))


@pytest.mark.parametrize("engine", ["local", "dlp"])
def test_every_type_comes_back_as_it_was_read(engine, stored, ring, world) -> None:
    plain, tokens = stored
    rows, turned = reidentify(tokens, local(ring) if engine == "local" else dlp(world))
    assert rows.schema.names == tokens.schema.names
    for name in COLUMNS:
        assert tokens[name].null_count == len(ROWS) or tokens[name].type == pa.string()
        assert rows[name].equals(plain[name]), name
    cells = {name: sum(v not in (None, "") for v in plain[name].to_pylist()) for name in COLUMNS}
    assert turned == [Turned(name, cells[name], 0) for name in COLUMNS]
    assert len(world.service.calls) == (0 if engine == "local" else 1)


@pytest.mark.parametrize("engine", ["local", "dlp"])
def test_what_is_no_token_becomes_null_and_the_others_open(engine, stored, ring, world) -> None:
    plain, tokens = stored
    foreign = ("nobody@example.com", "AAAA", tokens["email"][8].as_py()[:-5] + "AAA=", "CARD(8):AAAAAAAA")
    emails = pa.array([foreign[i // 10] if i in (0, 10, 20, 30) else v for i, v in enumerate(tokens["email"].to_pylist())])
    cards = pa.array([*tokens["card"].to_pylist()[1:], None])  # of other ids
    ssns = pa.array(["not one", *tokens["ssn"].to_pylist()[1:]])
    mixed = tokens.set_column(tokens.schema.names.index("email"), "email", emails).set_column(tokens.schema.names.index("card"), "card", cards)
    mixed = mixed.set_column(tokens.schema.names.index("ssn"), "ssn", ssns)
    rows, turned = reidentify(mixed, (local(ring, ("email", "card", "ssn")) if engine == "local" else dlp(world, ("email", "card", "ssn"))))
    assert rows["email"].to_pylist() == [None if i in (0, 10, 20, 30) else v for i, v in enumerate(plain["email"].to_pylist())]
    assert rows["card"].null_count == len(ROWS) and rows["ssn"].to_pylist() == [None, *plain["ssn"].to_pylist()[1:]]
    assert {t.column: t.no_token for t in turned} == {"email": 4, "card": len(ROWS) - 1, "ssn": 1}
    assert len(world.service.calls) <= 1


def test_another_key_opens_nothing(stored, tmp_path) -> None:
    _, tokens = stored
    other = other_ring(tmp_path / "other")
    rows, turned = reidentify(tokens, local(other, proven=False))
    assert all(rows[name].null_count + rows[name].to_pylist().count("") >= len(ROWS) for name in COLUMNS)
    assert sum(t.values for t in turned) == 0 and sum(t.no_token for t in turned) > len(ROWS) * 7
    # Where it is not known that the keys are others, FPE is believed only where the field's domain allows what it answers.
    rows, (turned, codes) = reidentify(tokens, local(other, ("ssn", "code")))
    assert turned.values <= 2 and turned.no_token >= 118 and codes.values == len(ROWS)


def test_dlp_that_refuses_a_request_for_one_value_is_asked_for_the_others(stored, world) -> None:
    plain, tokens = stored
    world.service.poison = tokens["email"][1].as_py()
    rows, turned = reidentify(tokens, dlp(world, ("email", "ssn")))
    lost = [i for i in range(len(ROWS)) if plain["email"][i].as_py() == plain["email"][1].as_py()]
    assert rows["email"].to_pylist() == [None if i in lost else v for i, v in enumerate(plain["email"].to_pylist())]
    assert rows["ssn"].equals(plain["ssn"]) and [t.no_token for t in turned] == [len(lost), 0] and 2 < len(world.service.calls) < 40


def test_requests_are_packed_retried_and_never_over_a_limit(stored, world) -> None:
    plain, tokens = stored
    many = pa.Table.from_batches([tokens] * 2).combine_chunks().to_batches()[0]
    many = many.set_column(many.schema.names.index("id"), "id", pa.array([f"case-{i % len(ROWS)}" for i in range(many.num_rows)]))
    world.service.plan = FaultPlan("429", calls=3)
    limits = replace(world.config(CONTRACT).limits, bytes=12_000)
    rows, _ = reidentify(many, dlp(world, limits=limits))
    assert rows["card"].to_pylist() == plain["card"].to_pylist() * 2 and rows["seen"].to_pylist() == plain["seen"].to_pylist() * 2
    assert {method for method, _, _ in world.service.calls} == {"reidentify"}
    assert max(size for _, size, _ in world.service.calls) <= 12_000 and 4 < len(world.service.calls) < 20


def test_an_outage_is_no_answer(stored, world) -> None:
    world.service.plan = FaultPlan("503")
    with pytest.raises(Transient) as caught:
        reidentify(stored[1], dlp(world, backoff=QUICK))
    assert "@example" not in str(caught.value)


@pytest.mark.parametrize(("column", "why"), [
    ("nope", "is no field"), ("branch", "nothing to turn back"), ("name", "cryptoHashConfig, a hash has no way back"), ("phone", "characterMaskConfig"),
    ("grade", "under a condition"), ("linked", "its context, name, is itself not stored"), ("note", "inside its text"), ("day", "dateShiftConfig")])
def test_what_cannot_be_turned_back_is_named_with_the_reason(column, why, ring, world) -> None:
    for config in (LocalReverser(CONTRACT, (column, "email"), ring), DlpReverser(world.config(CONTRACT), (column, "email"))):
        (fault,) = config.faults()
        assert fault.where == "--columns" and column in fault.problem and why in fault.problem
        with pytest.raises(Misconfigured):
            Reidentify(config)


@pytest.mark.parametrize("rules", [
    [rule("email", redactConfig={})], [rule("email", replaceConfig={"newValue": {"stringValue": "x"}})],
    [rule("email", replaceDictionaryConfig={"wordList": {"words": ["alpha"]}})], [rule("seen", timePartConfig={"partToExtract": "YEAR"})],
    [rule("rate", fixedSizeBucketingConfig={"lowerBound": {"integerValue": 1}, "upperBound": {"integerValue": 9}, "bucketSize": 2})],
    [rule("rate", bucketingConfig={"buckets": [{"max": {"integerValue": 9}}]})]])
def test_no_other_transformation_can_be_turned_back(rules) -> None:
    of = plain_contract(FIELDS, deidentify=json.dumps({"deidentifyConfig": {"recordTransformations": {"fieldTransformations": rules}}}))
    column, primitive = rules[0]["fields"][0]["name"], next(iter(rules[0]["primitiveTransformation"]))
    found, (fault,) = reversals(of, [column])
    assert not found and f"{column} cannot be turned back: {primitive}, " in fault.problem and "no way back" not in fault.problem


def test_an_answer_needs_tokens_and_contexts_as_they_are_stored() -> None:
    found, _ = reversals(CONTRACT, ["card", "code", "email"])
    whole = pa.schema([("card", pa.string()), ("id", pa.string()), ("code", pa.string()), ("branch", pa.int32()), ("email", pa.string())])
    assert needs(found, CONTRACT, whole) == []
    assert [f.problem for f in needs(found, CONTRACT, pa.schema([("card", pa.string()), ("code", pa.binary()), ("branch", pa.int64())]))] == [
        "does not answer the column id, which is the context of card", "answers code as binary, and what holds its tokens is string",
        "answers branch as int64, and what is the context of code is int32", "does not answer the column email, which holds its tokens"]
