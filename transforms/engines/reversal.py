"""Which columns of a contract can be turned back, by what, and what the texts behind their tokens are as values."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from google.cloud.dlp_v2 import types

from schemas.arrow import input_schema
from schemas.contract import Contract
from schemas.errors import Fault
from schemas.fields import Field
from schemas.rules import Rule, context_of, kind, rules
from schemas.templates import deidentify_template
from transforms.columns import Typing
from transforms.operators.values import text_of

FPE = "cryptoReplaceFfxFpeConfig"
REVERSIBLE = (FPE, "cryptoDeterministicConfig")
_WHY = {
    "cryptoHashConfig": "a hash has no way back",
    "characterMaskConfig": "the characters under the mask were not kept",
    "redactConfig": "the value was not kept",
    "replaceConfig": "every value became the same one",
    "bucketingConfig": "a bucket stands for many values",
    "fixedSizeBucketingConfig": "a range stands for many values",
    "timePartConfig": "only a part of the time was kept",
    "dateShiftConfig": "DLP does not turn a shift back",
    "replaceDictionaryConfig": "a word stands for many values",
}


@dataclass(frozen=True)
class Reversal:
    """How one column is turned back. context: the field that its transformation reads beside it, "" for none."""

    field: Field
    primitive: types.PrimitiveTransformation
    context: str
    path: str

    @property
    def is_fpe(self) -> bool:
        """Whether a wrong key answers a wrong value, where it should answer none."""
        return kind(self.primitive) == FPE

    @property
    def surrogate(self) -> str:
        """Name of the infoType that marks its tokens, or ""."""
        config = self.primitive.crypto_replace_ffx_fpe_config if self.is_fpe else self.primitive.crypto_deterministic_config
        return str(config.surrogate_info_type.name)


def reversals(contract: Contract, columns: Sequence[str]) -> tuple[list[Reversal], list[Fault]]:
    """How each of these columns is turned back, and every reason why one cannot be."""
    template = deidentify_template(contract.deidentify, contract.folder)
    listed = rules(template)
    fields = {f.name: f for f in contract.fields}
    transformed = {name for rule in listed for name in rule.fields}
    found: list[Reversal] = []
    faults: list[Fault] = []
    for name in dict.fromkeys(columns):
        own = [rule for rule in listed if name in rule.fields]
        if name not in fields:
            faults.append(Fault("--columns", f"{name} is no field of the contract {contract.name}", f"name some of {', '.join(sorted(transformed))}"))
        elif problem := _problem(own, transformed):
            faults.append(Fault("--columns", f"{name} {problem}", "leave it out"))
        else:
            primitive = own[0].primitive
            assert primitive is not None  # _problem has seen to it
            found.append(Reversal(fields[name], primitive, context_of(primitive), f"{own[0].path}.primitiveTransformation"))
    if not columns:
        faults.append(Fault("--columns", "names none", "name the columns to turn back"))
    if len(set(columns)) < len(columns):
        faults.append(Fault("--columns", "names a column twice", "name each once"))
    return found, faults


def _problem(own: Sequence[Rule], transformed: set[str]) -> str:
    if not own:
        return "is stored as it was read: there is nothing to turn back"
    if any(rule.condition is not None for rule in own):
        return "is transformed under a condition: which of its values are tokens is not known"
    primitive = own[0].primitive
    if primitive is None:
        return "is transformed inside its text, where tokens cannot be told from words"
    name = kind(primitive)
    if name not in REVERSIBLE:
        return f"cannot be turned back: {name}, {_WHY.get(name, 'which keeps no way back')}"
    if context_of(primitive) in transformed:
        return f"cannot be turned back: its context, {context_of(primitive)}, is itself not stored as it was read"
    return ""


def needs(found: Sequence[Reversal], contract: Contract, schema: pa.Schema) -> list[Fault]:
    """What the columns of an answer lack for these reversals: tokens as text, contexts of the type that they were read as."""
    faults = []
    for reversal in found:
        wanted = [(reversal.field.name, pa.string(), "holds its tokens")]
        if reversal.context:
            wanted.append((reversal.context, input_schema(contract).field(reversal.context).type, f"is the context of {reversal.field.name}"))
        for name, type_, what in wanted:
            if name not in schema.names:
                faults.append(Fault("SQL", f"does not answer the column {name}, which {what}", f"select {name}, under that name"))
            elif schema.field(name).type != type_:
                faults.append(Fault("SQL", f"answers {name} as {schema.field(name).type}, and what {what} is {type_}", f"select {name} as it is stored"))
    return list(dict.fromkeys(faults))


class Values:
    """Texts behind tokens as values of the field: of its type, and null where they cannot have been one.

    FPE answers any key with some text. So a text that the field's domain does not allow is not believed.
    """

    def __init__(self, contract: Contract, reversal: Reversal) -> None:
        self._type = input_schema(contract).field(reversal.field.name).type
        self._read = _READ.get(reversal.field.type)
        alone = replace(contract, fields=(replace(reversal.field, nullable=True),))
        self._typing = Typing(alone) if reversal.is_fpe else None

    def of(self, texts: pa.Array) -> pa.Array:
        """One value a text, of the field's Arrow type."""
        values = texts
        if self._read is not None:
            encoded = texts.dictionary_encode()
            values = pa.array([self._value(t) for t in encoded.dictionary.to_pylist()], self._type).take(encoded.indices)
        if self._typing is None:
            return values
        asked = pc.if_else(pc.equal(values, ""), None, values) if self._read is None else values  # "" stands as it is
        outside = self._typing.outside(pa.RecordBatch.from_arrays([asked], schema=self._typing.schema))
        return pc.if_else(pc.is_in(pa.array(range(len(values)), pa.int64()), value_set=pa.array([r.position for r in outside], pa.int64())),
                          None, values)

    def _value(self, text: str) -> Any:
        """None for a text that is not just what this field's value is written as."""
        assert self._read is not None
        try:
            value = pa.array([self._read(text)], self._type)[0].as_py()
        except (ValueError, OverflowError, pa.ArrowInvalid):
            return None
        return value if text_of(value) == text else None


_READ: dict[str, Callable[[str], Any]] = {
    "int": int, "long": int, "float": float, "double": float, "boolean": {"true": True, "false": False}.get, "date": date.fromisoformat,
    "timestamp-micros": lambda text: datetime.fromisoformat(text.replace("Z", "+00:00"))}
