"""The DLP templates of a contract: inspect.json and deidentify.json, parsed by Google's own types and checked whole.

What DLP would take but what does not keep a promise of ours is refused here, each with its reason. Limits are those of
https://cloud.google.com/sensitive-data-protection/limits.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

import proto
from google.cloud.dlp_v2 import types

from schemas.errors import Fault, Misconfigured
from schemas.fields import Field
from schemas.rest import read
from schemas.rules import (
    RECORDS,
    Comparison,
    InfoTypeRule,
    Rule,
    Suppression,
    context_of,
    key_of,
    kind,
    rules,
    stored_type,
    suppressions,
)

__all__ = ["Comparison", "InfoTypeRule", "Rule", "Suppression", "check", "context_of", "deidentify_template",
           "inspect_template", "key_of", "kind", "requested", "rules", "stored_type", "suppressions"]
M = TypeVar("M", bound=proto.Message)
MOST_TRANSFORMATIONS = 100
_NEEDS_KEY = ("cryptoReplaceFfxFpeConfig", "cryptoHashConfig", "cryptoDeterministicConfig")
_Found = tuple[str, str, str]  # path, problem, remedy


def inspect_template(text: str, where: str) -> types.InspectTemplate:
    """Reads inspect.json. Raises Misconfigured with every fault of form."""
    return read(text, types.InspectTemplate, where)


def deidentify_template(text: str, where: str) -> types.DeidentifyTemplate:
    """Reads deidentify.json. Raises Misconfigured with every fault of form."""
    return read(text, types.DeidentifyTemplate, where)


def requested(template: types.InspectTemplate) -> tuple[str, ...]:
    """The infoTypes that a finding may have: the named ones and the custom ones that do not only exclude."""
    config = template.inspect_config
    excluding = types.CustomInfoType.ExclusionType.EXCLUSION_TYPE_EXCLUDE
    custom = [c.info_type.name for c in config.custom_info_types if c.exclusion_type != excluding]
    return tuple(dict.fromkeys([i.name for i in config.info_types] + custom))


def check(inspect_text: str, deidentify_text: str, fields: Sequence[Field], folder: str,
          allow_unwrapped_keys: bool = False) -> list[Fault]:
    """Everything that is wrong with the two templates of a contract with these fields."""
    faults: list[Fault] = []
    known = {f.name: f for f in fields}
    where = f"{folder}/inspect.json", f"{folder}/deidentify.json"
    inspect = _read(inspect_template, inspect_text, where[0], faults)
    deidentify = _read(deidentify_template, deidentify_text, where[1], faults)
    found: list[tuple[str, _Found]] = []
    if inspect is not None:
        found += [(where[0], f) for f in _inspection(inspect)]
    if deidentify is not None:
        listed = rules(deidentify)
        found += [(where[1], f) for f in _frame(deidentify, listed)]
        found += [(where[1], f) for f in _fields(listed, known)]
        for rule in listed:
            found += [(where[1], f) for f in _rule(rule, known, inspect)]
            for path, primitive in rule.primitives():
                found += [(where[1], f) for f in _primitive(path, primitive, known, allow_unwrapped_keys)]
            if rule.condition is not None:
                found += [(where[1], f) for f in _condition(rule.path, rule.condition, known)]
        for suppression in suppressions(deidentify):
            found += [(where[1], f) for f in _condition(suppression.path, suppression.condition, known)]
    return faults + [Fault(f"{file}: {path}", problem, remedy) for file, (path, problem, remedy) in found]


def _read(parse: Callable[[str, str], M], text: str, where: str, faults: list[Fault]) -> M | None:
    try:
        return parse(text, where)
    except Misconfigured as fault:
        faults += fault.faults
        return None


def _inspection(template: types.InspectTemplate) -> Iterator[_Found]:
    if not requested(template):
        yield ("inspectConfig.infoTypes", "names no infoType: DLP then takes a default list, which changes over time",
               "list every infoType that may be found")
    if "" in requested(template):
        yield "inspectConfig.infoTypes", "holds an infoType without a name", 'give {"name": ...}'


def _frame(template: types.DeidentifyTemplate, listed: Sequence[Rule]) -> Iterator[_Found]:
    config = template.deidentify_config
    which = types.DeidentifyConfig.pb(config).WhichOneof("transformation")
    if which == "info_type_transformations":
        yield ("deidentifyConfig.infoTypeTransformations", "is for text alone, and a contract's rows are sent as a table",
               "write recordTransformations whose fieldTransformations name the fields")
    elif which == "image_transformations":
        yield "deidentifyConfig.imageTransformations", "is for images: a contract has none", "write recordTransformations"
    elif which is None:
        yield RECORDS, "is missing: nothing would be transformed", "write fieldTransformations"
    if "leave_untransformed" in config.transformation_error_handling:
        yield ("deidentifyConfig.transformationErrorHandling.leaveUntransformed",
               "lets a value through in clear where its transformation fails", "leave it out: such a row is refused")
    number = sum(max(1, len(rule.by_info_type)) for rule in listed)
    if number > MOST_TRANSFORMATIONS:
        yield (RECORDS, f"holds {number} transformations, and DLP takes {MOST_TRANSFORMATIONS} a request",
               "name several fields in one fieldTransformation")


def _unknown(path: str, known: Mapping[str, Field]) -> _Found:
    return path, "names a field that event.avsc does not have", f"use one of {', '.join(sorted(known))}"


def _fields(listed: Sequence[Rule], known: Mapping[str, Field]) -> Iterator[_Found]:
    """Fields that there are not, and fields that are transformed twice."""
    seen: dict[str, Rule] = {}
    for rule in listed:
        for number, name in enumerate(rule.fields):
            if name not in known:
                yield _unknown(f"{rule.path}.fields[{number}]", known)
            elif name in rule.fields[:number] or (name in seen and None in (rule.condition, seen[name].condition)):
                yield (f"{rule.path}.fields[{number}]", f"{name} is transformed twice, and not each time under a condition",
                       "keep one transformation, or give each one its condition")
            if name not in seen or rule.condition is None:
                seen[name] = rule


def _rule(rule: Rule, known: Mapping[str, Field], inspect: types.InspectTemplate | None) -> Iterator[_Found]:
    if not rule.fields:
        yield f"{rule.path}.fields", "names no field", 'give [{"name": ...}]'
    if rule.primitive is None and not rule.by_info_type:
        yield rule.path, "says no transformation", "give primitiveTransformation or infoTypeTransformations"
    if rule.primitive is not None and kind(rule.primitive) == "replaceWithInfoTypeConfig":
        yield (f"{rule.path}.primitiveTransformation.replaceWithInfoTypeConfig",
               "replaces a finding, and a whole field is none", "use replaceConfig, or infoTypeTransformations")
    for name in rule.fields if rule.by_info_type else ():
        if name in known and known[name].type != "string":
            yield (f"{rule.path}.infoTypeTransformations", f"looks for text inside {name}, which is {known[name].type}",
                   "give it a primitiveTransformation")
    named = Counter(name for part in rule.by_info_type for name in part.info_types or ("",))
    for name in sorted(n for n, times in named.items() if times > 1):
        yield f"{rule.path}.infoTypeTransformations", f"transforms {name or 'all infoTypes'} twice", "keep one"
    for name in sorted(named.keys() - {"", *requested(inspect)}) if inspect is not None else ():
        yield (f"{rule.path}.infoTypeTransformations", f"transforms {name}, which inspect.json does not look for",
               "add it to inspectConfig.infoTypes")


def _primitive(path: str, primitive: types.PrimitiveTransformation, known: Mapping[str, Field],
               allow_unwrapped_keys: bool) -> Iterator[_Found]:
    name = kind(primitive)
    if not name:
        yield path, "says no transformation", "give one, such as replaceConfig"
        return
    context, key = context_of(primitive), key_of(primitive)
    if context and context not in known:
        yield _unknown(f"{path}.{name}.context", known)
    if name == "dateShiftConfig" and bool(context) != (key is not None):
        yield (f"{path}.{name}", "has one of context and cryptoKey",
               "give both, so that one context is always shifted alike, or neither")
    if key is None:
        if name in _NEEDS_KEY:
            yield f"{path}.{name}.cryptoKey", "is missing", "name a kmsWrapped key"
        return
    source = types.CryptoKey.pb(key).WhichOneof("source")
    at = f"{path}.{name}.cryptoKey"
    if source is None:
        yield at, "names no key", "name a kmsWrapped key"
    elif source == "transient":
        yield (f"{at}.transient", "is another key in every request: tokens would not join, reruns would store other rows",
               "name a kmsWrapped key")
    elif source == "unwrapped" and not allow_unwrapped_keys:
        yield f"{at}.unwrapped", "holds a key in clear", "wrap it with Cloud KMS and name it as kmsWrapped"
    elif source == "kms_wrapped" and not (key.kms_wrapped.crypto_key_name and key.kms_wrapped.wrapped_key):
        yield f"{at}.kmsWrapped", "lacks cryptoKeyName or wrappedKey", "give both"


def _condition(path: str, condition: Sequence[Comparison], known: Mapping[str, Field]) -> Iterator[_Found]:
    if not condition:
        yield f"{path}.condition", "compares nothing", "give expressions.conditions.conditions"
    for number, c in enumerate(condition):
        at = f"{path}.condition.expressions.conditions.conditions[{number}]"
        if c.field not in known:
            yield _unknown(f"{at}.field", known)
        if c.operator == "RELATIONAL_OPERATOR_UNSPECIFIED":
            yield f"{at}.operator", "is missing", "use EQUAL_TO, NOT_EQUAL_TO, GREATER_THAN, ..., or EXISTS"
        elif c.operator != "EXISTS" and c.value is None:
            yield f"{at}.value", "is missing or nothing that a field can be compared with", "give a Value"
        elif isinstance(c.value, datetime) and c.value.tzinfo is None:
            yield f"{at}.value", "is a time without an offset", "write it as RFC 3339 with an offset"
