"""From DLP's REST resource to an operator, or to every fault in it."""

import base64
import hashlib
import json
from collections.abc import Callable
from datetime import date, datetime, timezone
from typing import Any

import pytest
from google.cloud.dlp_v2 import types

from schemas.errors import Fault, Misconfigured
from transforms.operators.bucket import Bucket, Buckets, FixedBuckets
from transforms.operators.build import build
from transforms.operators.dictionary import Dictionary
from transforms.operators.fpe import COMMON, NATIVE, Fpe
from transforms.operators.hash import Hash
from transforms.operators.infotype import InfoTypeName
from transforms.operators.mask import Mask
from transforms.operators.operator import Operator
from transforms.operators.redact import Redact
from transforms.operators.replace import Replace
from transforms.operators.shift import Shift
from transforms.operators.time_part import TimePart
from transforms.operators.token import Token

KEY = bytes(range(32))
UTC = timezone.utc
ALPHA = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def key_of(key: object, size: int) -> bytes:
    """As the engine's: an unwrapped key as it is, a wrapped one as long as asked."""
    assert isinstance(key, types.CryptoKey)
    return key.unwrapped.key or hashlib.shake_256(key.kms_wrapped.wrapped_key).digest(size)


def built(resource: dict[str, Any], **more: Any) -> Operator:
    return build(types.PrimitiveTransformation.from_json(json.dumps(resource)), key_of, "file: path", **more)


WRAPPED = {"kmsWrapped": {"cryptoKeyName": "projects/p/k", "wrappedKey": base64.b64encode(b"wrapped").decode()}}


ALL: list[tuple[dict[str, Any], Operator]] = [
    ({"replaceConfig": {"newValue": {"integerValue": "7"}}}, Replace(7)),
    ({"replaceConfig": {"newValue": {"timestampValue": "2026-03-04T05:06:07.000008Z"}}}, Replace(datetime(2026, 3, 4, 5, 6, 7, 8, UTC))),
    ({"replaceConfig": {"newValue": {"dateValue": {"year": 2026, "month": 3, "day": 4}}}}, Replace(date(2026, 3, 4))),
    ({"replaceConfig": {"newValue": {"dayOfWeekValue": "SUNDAY"}}}, Replace("SUNDAY")),
    ({"replaceConfig": {"newValue": {"timeValue": {"hours": 8, "minutes": 30}}}}, Replace("08:30:00")),
    ({"replaceConfig": {"newValue": {"booleanValue": False}}}, Replace(False)),
    ({"redactConfig": {}}, Redact()),
    ({"characterMaskConfig": {}}, Mask()),
    ({"characterMaskConfig": {"maskingCharacter": "#", "numberToMask": -4, "reverseOrder": True, "charactersToIgnore": [
        {"charactersToSkip": ".-"}, {"commonCharactersToIgnore": "ALPHA_UPPER_CASE"}]}}, Mask("#", -4, True, ".-" + ALPHA)),
    ({"cryptoReplaceFfxFpeConfig": {"cryptoKey": WRAPPED, "commonAlphabet": "UPPER_CASE_ALPHA_NUMERIC"}},
     Fpe(COMMON["UPPER_CASE_ALPHA_NUMERIC"], key_of(types.CryptoKey(kms_wrapped={"wrapped_key": b"wrapped"}), 32))),
    ({"cryptoReplaceFfxFpeConfig": {"cryptoKey": {"unwrapped": {"key": "YWJjZGVmZ2hpamtsbW5vcA=="}}, "customAlphabet": "b9a0",
                                    "surrogateInfoType": {"name": "T"}}}, Fpe("09ab", b"abcdefghijklmnop", "T")),
    ({"cryptoReplaceFfxFpeConfig": {"cryptoKey": WRAPPED, "radix": 95}},
     Fpe(NATIVE, key_of(types.CryptoKey(kms_wrapped={"wrapped_key": b"wrapped"}), 32))),
    ({"fixedSizeBucketingConfig": {"lowerBound": {"integerValue": "10"}, "upperBound": {"floatValue": 89.5}, "bucketSize": 10}},
     FixedBuckets(10, 89.5, 10)),
    ({"bucketingConfig": {"buckets": [
        {"min": {"integerValue": "5"}, "replacementValue": {"stringValue": "high"}},
        {"max": {"integerValue": "0"}, "replacementValue": {"integerValue": "1"}},
        {"min": {"integerValue": "0"}, "max": {"integerValue": "5"}}]}},
     Buckets((Bucket(None, 0, 1), Bucket(0, 5), Bucket(5, None, "high")))),
    ({"replaceWithInfoTypeConfig": {}}, InfoTypeName()),
    ({"timePartConfig": {"partToExtract": "DAY_OF_WEEK"}}, TimePart("DAY_OF_WEEK")),
    ({"cryptoHashConfig": {"cryptoKey": WRAPPED}}, Hash(key_of(types.CryptoKey(kms_wrapped={"wrapped_key": b"wrapped"}), 32))),
    ({"dateShiftConfig": {"lowerBoundDays": -5, "upperBoundDays": 3}}, Shift(-5, 3)),
    ({"dateShiftConfig": {"lowerBoundDays": -5, "upperBoundDays": 3, "cryptoKey": WRAPPED, "context": {"name": "id"}}},
     Shift(-5, 3, key_of(types.CryptoKey(kms_wrapped={"wrapped_key": b"wrapped"}), 32))),
    ({"cryptoDeterministicConfig": {"cryptoKey": WRAPPED, "surrogateInfoType": {"name": "TOK"}, "context": {"name": "id"}}},
     Token(key_of(types.CryptoKey(kms_wrapped={"wrapped_key": b"wrapped"}), 64), "TOK")),
    ({"replaceDictionaryConfig": {"wordList": {"words": ["anna", "bert"]}}}, Dictionary(("anna", "bert"))),
]


@pytest.mark.parametrize(("resource", "operator"), ALL, ids=[next(iter(r)) for r, _ in ALL])
def test_build(resource: dict[str, Any], operator: Operator) -> None:
    got = built(resource)
    assert got == operator
    if isinstance(operator, Replace):
        assert type(got([""])[0]) is type(operator.new)
    if not got.reversible:
        with pytest.raises(TypeError):
            got.reverse(["x"])


def test_all_twelve_are_built() -> None:
    names = {f.json_name for f in types.PrimitiveTransformation.pb(types.PrimitiveTransformation()).DESCRIPTOR.fields}
    assert names == {next(iter(resource)) for resource, _ in ALL}


def test_only_fpe_and_tokens_are_reversible() -> None:
    assert {next(iter(r)) for r, _ in ALL if built(r).reversible} == {"cryptoReplaceFfxFpeConfig", "cryptoDeterministicConfig"}


def test_dictionary_key_comes_from_the_caller() -> None:
    assert built({"replaceDictionaryConfig": {"wordList": {"words": ["anna"]}}}, dictionary_key=KEY) == Dictionary(("anna",), KEY)


@pytest.mark.parametrize("resource", [
    {"cryptoHashConfig": {}}, {"cryptoDeterministicConfig": {}}, {"cryptoReplaceFfxFpeConfig": {"commonAlphabet": "NUMERIC"}},
    {"dateShiftConfig": {"lowerBoundDays": 1, "upperBoundDays": 9, "context": {"name": "id"}}}])
def test_transient_key(resource: dict[str, dict[str, Any]]) -> None:
    name = next(iter(resource))
    config = {name: {**resource[name], "cryptoKey": {"transient": {"name": "t"}}}}
    drawn: list[int] = []

    def draw(size: int) -> bytes:
        drawn.append(size)
        return KEY * 2 if size == 64 else KEY[:size]

    operator = built(config, draw=draw)
    assert len(drawn) == 1 and not operator.deterministic and not operator.reversible
    assert built(config) != built(config), "each operator has a key of its own"


def number(value: str) -> dict[str, str]:
    return {"integerValue": value}


BAD: list[tuple[dict[str, Any], list[str], str]] = [
    ({}, ["file: path"], "no transformation"),
    ({"replaceConfig": {}}, ["replaceConfig.newValue"], "nothing to replace by"),
    ({"replaceConfig": {"newValue": {"dateValue": {"year": 2026, "month": 2, "day": 30}}}}, ["replaceConfig.newValue"], "no such day"),
    ({"characterMaskConfig": {"maskingCharacter": "**", "charactersToIgnore": [{"charactersToSkip": "-"}, {}]}},
     ["characterMaskConfig.maskingCharacter", "characterMaskConfig.charactersToIgnore[1]"], "two faults at once"),
    ({"cryptoHashConfig": {}}, ["cryptoHashConfig.cryptoKey"], "no key"),
    ({"cryptoHashConfig": {"cryptoKey": {}}}, ["cryptoHashConfig.cryptoKey"], "no key"),
    ({"cryptoHashConfig": {"cryptoKey": {"unwrapped": {"key": "YWJjZGVmZ2hpamtsbW5vcA=="}}}}, ["cryptoHashConfig.cryptoKey"], "16 bytes will not do"),
    ({"cryptoHashConfig": {"cryptoKey": {"unwrapped": {}}}}, ["cryptoHashConfig.cryptoKey.unwrapped"], "an empty key"),
    ({"cryptoHashConfig": {"cryptoKey": {"transient": {}}}}, ["cryptoHashConfig.cryptoKey.transient"], "a transient key without a name"),
    ({"cryptoDeterministicConfig": {"cryptoKey": {"kmsWrapped": {"cryptoKeyName": "k"}}, "surrogateInfoType": {}}},
     ["cryptoDeterministicConfig.cryptoKey.kmsWrapped", "cryptoDeterministicConfig.surrogateInfoType"], "half a key, no name"),
    ({"cryptoReplaceFfxFpeConfig": {"cryptoKey": WRAPPED}}, ["cryptoReplaceFfxFpeConfig.commonAlphabet"], "no alphabet"),
    ({"cryptoReplaceFfxFpeConfig": {"radix": 96}}, ["cryptoReplaceFfxFpeConfig.radix", "cryptoReplaceFfxFpeConfig.cryptoKey"], "radix over 95"),
    ({"cryptoReplaceFfxFpeConfig": {"cryptoKey": WRAPPED, "radix": 1}}, ["cryptoReplaceFfxFpeConfig.radix"], "radix below 2"),
    ({"cryptoReplaceFfxFpeConfig": {"cryptoKey": WRAPPED, "radix": -3}}, ["cryptoReplaceFfxFpeConfig.radix"], "radix below 2"),
    ({"cryptoReplaceFfxFpeConfig": {"cryptoKey": WRAPPED, "customAlphabet": "x"}}, ["cryptoReplaceFfxFpeConfig.customAlphabet"], "one symbol"),
    ({"cryptoReplaceFfxFpeConfig": {"cryptoKey": WRAPPED, "customAlphabet": "abca"}}, ["cryptoReplaceFfxFpeConfig.customAlphabet"], "twice"),
    ({"cryptoReplaceFfxFpeConfig": {"cryptoKey": WRAPPED, "customAlphabet": "abcé"}}, ["cryptoReplaceFfxFpeConfig.customAlphabet"], "not ASCII"),
    ({"fixedSizeBucketingConfig": {"lowerBound": number("9"), "upperBound": number("9"), "bucketSize": 1}}, ["fixedSizeBucketingConfig.lowerBound"], "cross"),
    ({"fixedSizeBucketingConfig": {"lowerBound": {"stringValue": "1"}, "bucketSize": -1}},
     ["fixedSizeBucketingConfig.lowerBound", "fixedSizeBucketingConfig.upperBound", "fixedSizeBucketingConfig.bucketSize"], "nothing right"),
    ({"fixedSizeBucketingConfig": {"lowerBound": number("0"), "upperBound": number("9"), "bucketSize": 0.001}}, ["fixedSizeBucketingConfig.bucketSize"], "3 decimals"),
    ({"fixedSizeBucketingConfig": {"lowerBound": number("0"), "upperBound": number("9"), "bucketSize": "NaN"}}, ["fixedSizeBucketingConfig.bucketSize"], "NaN"),
    ({"fixedSizeBucketingConfig": {"lowerBound": number("0"), "upperBound": number("1000001"), "bucketSize": 10}}, ["fixedSizeBucketingConfig.bucketSize"], "too many"),
    ({"fixedSizeBucketingConfig": {"lowerBound": {"floatValue": "Infinity"}, "upperBound": number("9"), "bucketSize": 1}}, ["fixedSizeBucketingConfig.lowerBound"], ""),
    ({"bucketingConfig": {}}, ["bucketingConfig.buckets"], "none"),
    ({"bucketingConfig": {"buckets": [{"replacementValue": number("1")}]}}, ["bucketingConfig.buckets[0]"], "no bound"),
    ({"bucketingConfig": {"buckets": [{"min": number("9"), "max": number("1")}]}}, ["bucketingConfig.buckets[0]"], "cross"),
    ({"bucketingConfig": {"buckets": [{"min": number("1"), "max": number("9")}, {"min": number("8"), "max": number("12")}]}}, ["bucketingConfig.buckets"], "overlap"),
    ({"bucketingConfig": {"buckets": [{"max": number("9")}, {"max": number("12")}]}}, ["bucketingConfig.buckets"], "overlap"),
    ({"bucketingConfig": {"buckets": [{"min": number("1"), "max": {"stringValue": "9"}}]}}, ["bucketingConfig.buckets"], "two types"),
    ({"bucketingConfig": {"buckets": [{"min": {"booleanValue": True}}]}}, ["bucketingConfig.buckets[0].min"], "no order"),
    ({"dateShiftConfig": {}}, ["dateShiftConfig.upperBoundDays"], "moves nothing"),
    ({"dateShiftConfig": {"lowerBoundDays": 5, "upperBoundDays": 3}}, ["dateShiftConfig.lowerBoundDays"], "cross"),
    ({"dateShiftConfig": {"lowerBoundDays": -365251, "upperBoundDays": 3}}, ["dateShiftConfig.upperBoundDays"], "over 1,000 years"),
    ({"dateShiftConfig": {"upperBoundDays": 3, "cryptoKey": WRAPPED}}, ["dateShiftConfig.context"], "a key without a context"),
    ({"dateShiftConfig": {"upperBoundDays": 3, "context": {"name": "id"}}}, ["dateShiftConfig.cryptoKey"], "a context without a key"),
    ({"timePartConfig": {}}, ["timePartConfig.partToExtract"], "no part"),
    ({"replaceDictionaryConfig": {}}, ["replaceDictionaryConfig.wordList.words"], "no words"),
    ({"replaceDictionaryConfig": {"wordList": {"words": ["anna", "-a-"]}}}, ["replaceDictionaryConfig.wordList.words[1]"], "one letter"),
]


@pytest.mark.parametrize(("resource", "paths", "remark"), BAD)
def test_every_fault_is_named(resource: dict[str, Any], paths: list[str], remark: str) -> None:
    with pytest.raises(Misconfigured) as raised:
        built(resource)
    assert sorted(f.where for f in raised.value.faults) == sorted(p if p == "file: path" else f"file: path.{p}" for p in paths), remark
    assert all(f.problem and f.remedy for f in raised.value.faults)


def test_faults_of_the_key_function_are_kept() -> None:
    def no_keys(key: object, size: int) -> bytes:
        raise Misconfigured([Fault("--keys", "holds no master.key", "make one")])

    primitive = types.PrimitiveTransformation(crypto_replace_ffx_fpe_config={
        "crypto_key": {"unwrapped": {"key": KEY}}, "radix": 99})
    with pytest.raises(Misconfigured) as raised:
        build(primitive, no_keys, "here")
    assert {f.where for f in raised.value.faults} == {"--keys", "here.cryptoReplaceFfxFpeConfig.radix"}


@pytest.mark.parametrize("make", [lambda: Hash(KEY), lambda: Token(KEY), lambda: Shift(1, 2, KEY), lambda: Dictionary(("ab",), KEY)])
def test_keys_stay_out_of_repr(make: Callable[[], Operator]) -> None:
    assert "\\x" not in repr(make()) and "key=" not in repr(make())
