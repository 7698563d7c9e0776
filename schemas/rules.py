"""A DeidentifyTemplate as plain rules: which fields, which transformation, when, and where it stands in the file."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any

from google.cloud.dlp_v2 import types

from schemas.fields import Field

Literal = str | int | float | bool | datetime | date | time | None
RECORDS = "deidentifyConfig.recordTransformations"
INTEGERS = {"int": 1 << 31, "long": 1 << 63}
_WITH_KEY = {"cryptoReplaceFfxFpeConfig", "cryptoHashConfig", "cryptoDeterministicConfig", "dateShiftConfig"}


@dataclass(frozen=True)
class Comparison:
    """One condition of a RecordCondition. `operator` is a name of RelationalOperator; `value` is None for EXISTS."""

    field: str
    operator: str
    value: Literal


@dataclass(frozen=True)
class InfoTypeRule:
    """One InfoTypeTransformation. No info_types: it holds for every finding that no other one names."""

    info_types: tuple[str, ...]
    primitive: types.PrimitiveTransformation
    path: str


@dataclass(frozen=True)
class Rule:
    """One FieldTransformation: `primitive` for whole cells, or `by_info_type` for what is found inside them.

    condition: all comparisons must hold; None where the rule is unconditional.
    """

    fields: tuple[str, ...]
    primitive: types.PrimitiveTransformation | None
    by_info_type: tuple[InfoTypeRule, ...]
    condition: tuple[Comparison, ...] | None
    path: str

    def primitives(self) -> Iterator[tuple[str, types.PrimitiveTransformation]]:
        """(path, primitive) of each transformation in the rule."""
        if self.primitive is not None:
            yield f"{self.path}.primitiveTransformation", self.primitive
        for part in self.by_info_type:
            yield f"{part.path}.primitiveTransformation", part.primitive


@dataclass(frozen=True)
class Suppression:
    """One RecordSuppression: rows for which all comparisons hold are not stored."""

    condition: tuple[Comparison, ...]
    path: str


def rules(template: types.DeidentifyTemplate) -> tuple[Rule, ...]:
    """The field transformations in the order of the file."""
    found = []
    for number, raw in enumerate(template.deidentify_config.record_transformations.field_transformations):
        path = f"{RECORDS}.fieldTransformations[{number}]"
        parts = tuple(InfoTypeRule(tuple(i.name for i in part.info_types), part.primitive_transformation,
                                   f"{path}.infoTypeTransformations.transformations[{n}]")
                      for n, part in enumerate(raw.info_type_transformations.transformations))
        whole = raw.primitive_transformation if "primitive_transformation" in raw else None
        condition = _comparisons(raw.condition) if "condition" in raw else None
        found.append(Rule(tuple(f.name for f in raw.fields), whole, parts, condition, path))
    return tuple(found)


def suppressions(template: types.DeidentifyTemplate) -> tuple[Suppression, ...]:
    """The record suppressions in the order of the file."""
    listed = template.deidentify_config.record_transformations.record_suppressions
    return tuple(Suppression(_comparisons(raw.condition), f"{RECORDS}.recordSuppressions[{n}]")
                 for n, raw in enumerate(listed))


def _comparisons(condition: types.RecordCondition) -> tuple[Comparison, ...]:
    return tuple(Comparison(c.field.name, types.RelationalOperator(c.operator).name, literal(c.value))
                 for c in condition.expressions.conditions.conditions)


def literal(value: types.Value) -> Literal:
    """A DLP Value as a Python value; None where it is empty, a day of the week, or no date that there is."""
    which = types.Value.pb(value).WhichOneof("type")
    if which == "date_value":
        return _date(value.date_value)
    if which == "time_value":
        t = value.time_value
        return time(t.hours, t.minutes, t.seconds, t.nanos // 1000)
    plain: Literal = None if which in (None, "day_of_week_value") else getattr(value, which)
    return plain


def _date(value: object) -> date | None:
    try:
        return date(value.year, value.month, value.day)  # type: ignore[attr-defined]
    except ValueError:
        return None


def kind(primitive: types.PrimitiveTransformation) -> str:
    """The key of the transformation in the REST resource, such as cryptoHashConfig; "" where there is none."""
    message = types.PrimitiveTransformation.pb(primitive)
    which = message.WhichOneof("transformation")
    return str(message.DESCRIPTOR.fields_by_name[which].json_name) if which else ""


def context_of(primitive: types.PrimitiveTransformation) -> str:
    """The field that a transformation takes its context from; "" where it takes none."""
    config = _config(primitive)
    return str(config.context.name) if hasattr(config, "context") and "context" in config else ""


def key_of(primitive: types.PrimitiveTransformation) -> types.CryptoKey | None:
    """The key that a transformation names; None where it names none."""
    config = _config(primitive)
    return config.crypto_key if kind(primitive) in _WITH_KEY and "crypto_key" in config else None


def _config(primitive: types.PrimitiveTransformation) -> Any:
    which = types.PrimitiveTransformation.pb(primitive).WhichOneof("transformation")
    return getattr(primitive, which) if which else None


def stored_type(field: Field, template: types.DeidentifyTemplate) -> str:
    """The type (schemas.fields.TYPES) of the field's column as it is stored.

    A transformation that is known to answer the field's own type leaves it; every other one makes it a string: so do
    hashes, tokens, masks, redaction, fixed-size buckets ("10-20") and parts of a time ("1997": what type the service
    answers is not documented, a string holds either).
    """
    own = [rule.primitive for rule in rules(template) if field.name in rule.fields]
    return field.type if all(_keeps_type(p, field.type) for p in own if p is not None) else "string"


def _keeps_type(primitive: types.PrimitiveTransformation, type_: str) -> bool:
    name = kind(primitive)
    if type_ == "string" or (name == "dateShiftConfig" and type_ in ("date", "timestamp-micros")):
        return True
    if name == "replaceConfig":
        return _is(type_, primitive.replace_config.new_value)
    if name == "bucketingConfig":
        return all(_is(type_, b.replacement_value) for b in primitive.bucketing_config.buckets)
    return False


def _is(type_: str, value: types.Value) -> bool:
    """A value that a column of this type can hold."""
    plain = literal(value)
    if type_ in INTEGERS:
        return type(plain) is int and -INTEGERS[type_] <= plain < INTEGERS[type_]
    if type_ in ("float", "double"):
        return type(plain) in (int, float)
    if type_ == "boolean":
        return type(plain) is bool
    return isinstance(plain, datetime) if type_ == "timestamp-micros" else type(plain) is date
