"""The plan of the local engine: what happens to each field of a contract, made once from its templates."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from google.cloud.dlp_v2 import types

from schemas.contract import Contract
from schemas.errors import Fault, Misconfigured
from schemas.rules import Comparison, Rule, context_of, rules, stored_type, suppressions
from schemas.templates import deidentify_template
from transforms.engines.cells import Primitive, as_text, contexts_of, must_change, transform
from transforms.engines.conditions import holds
from transforms.engines.free_text import Inspector, transform_text
from transforms.keys import Keys
from transforms.operators.build import build
from transforms.operators.operator import KeyOf

Step = Callable[[pa.RecordBatch, pa.Array], pa.Array]
"""(the batch as read, a column of it, null where the step does not hold) -> the column transformed, null where it failed"""


@dataclass(frozen=True)
class Column:
    """One field. For each row the first step whose condition holds transforms it, from the value as it was read.

    steps: (condition, step), None for a condition that always holds. screened: a text that no step takes may not be an
    identifier as a whole.
    """

    name: str
    steps: tuple[tuple[tuple[Comparison, ...] | None, Step], ...]
    as_text: bool
    screened: bool

    def transformed(self, batch: pa.RecordBatch) -> tuple[pa.Array, pa.BooleanArray, pa.BooleanArray]:
        """(the column as stored, the rows whose transformation failed, the rows that no step took)."""
        column = batch[self.name]
        if self.steps and self.steps[0][0] is None:
            answer = self.steps[0][1](batch, column)
            return answer, _failed(column, answer), _none(column)
        answer, failed, left = as_text(column) if self.as_text else column, _none(column), pc.invert(_none(column))
        for condition, step in self.steps:
            taken = left if condition is None else pc.and_(left, holds(condition, batch))
            cells = pc.if_else(taken, column, None)
            changed = step(batch, cells)
            answer, failed = pc.if_else(taken, changed, answer), pc.or_(failed, _failed(cells, changed))
            left = pc.and_not(left, taken)
        return answer, failed, left


def _failed(cells: pa.Array, answer: pa.Array) -> pa.BooleanArray:
    return pc.and_(cells.is_valid(), answer.is_null())


def _none(column: pa.Array) -> pa.BooleanArray:
    return pa.array(np.zeros(len(column), bool))


@dataclass(frozen=True)
class Plan:
    """All fields in the contract's order, and the conditions under which a row is suppressed."""

    columns: tuple[Column, ...]
    suppressed: tuple[tuple[Comparison, ...], ...]


def make(contract: Contract, keys: Keys, inspector: Inspector) -> Plan:
    """The plan of a checked contract. Raises Misconfigured with everything that cannot be done, missing keys included."""
    file = f"{contract.folder}/deidentify.json"
    template = deidentify_template(contract.deidentify, file)
    faults: list[Fault] = []
    made = [(rule, _primitives(rule, keys, file, faults)) for rule in rules(template)]
    if faults:
        raise Misconfigured(dict.fromkeys(faults))
    columns = []
    for field in contract.fields:
        as_string = stored_type(field, template) == "string"
        steps = tuple((rule.condition, _inside(primitives, inspector) if rule.by_info_type else _whole(primitives[""], as_string))
                      for rule, primitives in made if field.name in rule.fields)
        open_text = field.type == "string" and field.privacy in ("public", "sensitive") and field.values is None
        columns.append(Column(field.name, steps, as_string, open_text and all(c is not None for c, _ in steps)))
    return Plan(tuple(columns), tuple(s.condition for s in suppressions(template)))


def _primitives(rule: Rule, keys: Keys, file: str, faults: list[Fault]) -> dict[str, Primitive]:
    """The rule's transformations by infoType; "" for whole cells, and for findings that no other one names."""
    parts = [(part.info_types or ("",), part.primitive) for part in rule.by_info_type] or [(("",), rule.primitive)]
    made: dict[str, Primitive] = {}
    for (names, primitive), (path, _) in zip(parts, rule.primitives(), strict=True):
        try:
            # DLP draws dictionary words at random; here a key chooses them, so that a rerun stores the same rows.
            operator = build(primitive, key_of(keys), f"{file}: {path}", dictionary_key=keys.derive("replaceDictionary"))
            made |= dict.fromkeys(names, Primitive(operator, context_of(primitive), must_change(primitive)))
        except Misconfigured as fault:
            faults += fault.faults
    return made


def key_of(keys: Keys) -> KeyOf:
    """Where operators get their keys: wrapped ones from the key folder, unwrapped ones as they stand."""
    def find(key: types.CryptoKey, size: int) -> bytes:
        if types.CryptoKey.pb(key).WhichOneof("source") == "unwrapped":
            return bytes(key.unwrapped.key)
        return keys.unwrap(key.kms_wrapped.crypto_key_name, key.kms_wrapped.wrapped_key, size)
    return find


def _whole(primitive: Primitive, as_string: bool) -> Step:
    def step(batch: pa.RecordBatch, cells: pa.Array) -> pa.Array:
        context = contexts_of(batch[primitive.context]) if primitive.context else None
        return transform(cells, context, primitive, pa.string() if as_string else cells.type)
    return step


def _inside(primitives: Mapping[str, Primitive], inspector: Inspector) -> Step:
    fields = sorted({p.context for p in primitives.values() if p.context})

    def step(batch: pa.RecordBatch, cells: pa.Array) -> pa.Array:
        contexts = {name: contexts_of(batch[name]) for name in fields}
        return transform_text(cells, contexts, inspector, primitives)
    return step
