"""What the DLP server of the tests computes: de-identification of a table by the local engine's plan."""

import threading
from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from google.cloud.dlp_v2 import types

from schemas.contract import Contract
from schemas.errors import Misconfigured
from schemas.fields import Field
from schemas.rules import Rule, context_of, rules
from transforms.engines import plan, wire
from transforms.engines.cells import contexts_of
from transforms.engines.conditions import holds
from transforms.engines.free_text import Finding, Inspector
from transforms.keys import Keys
from transforms.operators.build import build

TYPES = {str: ("string", pa.string()), int: ("long", pa.int64()), float: ("double", pa.float64()), bool: ("boolean", pa.bool_()),
         datetime: ("timestamp-micros", pa.timestamp("us", "UTC")), date: ("date", pa.date32())}
SUCCESS, ERROR = 1, 2


class Invalid(Exception):
    """400, with the message that the service gives."""


class Counting(threading.local):
    """An inspector that remembers, for each thread, how many findings each text had."""

    def __init__(self, inspector: Inspector) -> None:
        self.inspector = inspector
        self.found: dict[str, Counter[str]] = {}

    def find_column(self, texts: pa.StringArray) -> Sequence[tuple[int, Sequence[Finding]]]:
        found = list(self.inspector.find_column(texts))
        for row, findings in found:
            self.found[texts[row].as_py()] = Counter(f.info_type for f in findings)
        return found

    def whole(self, texts: pa.StringArray) -> pa.BooleanArray:
        return self.inspector.whole(texts)


def as_batch(table: Any) -> tuple[pa.RecordBatch, tuple[Field, ...]]:
    """A raw `Table` as a batch, each column of the type of its values; a column of several types is text."""
    columns, fields = [], []
    for at, header in enumerate(table.headers):
        values = [wire.read(row.values[at]) for row in table.rows]
        kinds = {type(v) for v in values} - {type(None)}
        name, type_ = TYPES[kinds.pop()] if len(kinds) == 1 else TYPES[str]
        columns.append(pa.array(values if not kinds else [None if v is None else str(v) for v in values], type_))
        fields.append(Field(header.name, name, True, "identifier", ""))
    return pa.RecordBatch.from_arrays(columns, [f.name for f in fields]), tuple(fields)


def deidentify(table: Any, config: types.DeidentifyConfig, inspector: Inspector, keys: Keys, response: Any) -> int:
    """Fills a raw DeidentifyContentResponse; the number of findings. Raises Invalid."""
    batch, fields = as_batch(table)
    made, listed, counting = _plan(types.DeidentifyConfig.serialize(config), fields, inspector, keys)
    batch = _whole(batch, listed)
    kept = pa.array([True] * batch.num_rows)
    for condition in made.suppressed:
        kept = pc.and_not(kept, holds(condition, batch))
    columns: dict[str, pa.Array] = {}
    found = 0
    for column in made.columns:
        if not column.steps:
            continue
        counting.found.clear()
        cells, failed, _ = column.transformed(batch)
        summary = response.overview.transformation_summaries
        if pc.any(pc.and_(failed, kept)).as_py():
            if "leave_untransformed" not in config.transformation_error_handling:
                raise Invalid(f"Cannot transform a value of field {column.name}.")
            cells = pc.if_else(failed, batch[column.name].cast(cells.type), cells)
            summary.add(field={"name": column.name}).results.add(count=pc.sum(failed).as_py(), code=ERROR)
        columns[column.name] = cells
        counts = sum((counting.found.get(text, Counter()) for text in batch[column.name].to_pylist()), Counter()) if counting.found else {}
        for info_type, count in counts.items():
            summary.add(info_type={"name": info_type}, field={"name": column.name}).results.add(count=count, code=SUCCESS)
            found += count
        if any(column.name in rule.fields and rule.primitive is not None for rule in listed):
            summary.add(field={"name": column.name}).results.add(count=batch.num_rows - cells.null_count, code=SUCCESS)
    _write(table, columns, kept, response.item.table)
    return found


def reidentify(table: Any, config: types.DeidentifyConfig, keys: Keys, response: Any) -> None:
    """Fills a raw ReidentifyContentResponse. Raises Invalid."""
    batch, _ = as_batch(table)
    columns = {}
    for rule in rules(types.DeidentifyTemplate(deidentify_config=config)):
        if rule.primitive is None:
            raise Invalid("Only primitive transformations of fields can be reversed.")
        operator = build(rule.primitive, plan.key_of(keys), rule.path)
        if not operator.reversible:
            raise Invalid(f"{rule.path} cannot be reversed.")
        for name in rule.fields:
            if name in batch.schema.names:
                context = context_of(rule.primitive)
                rows = pc.indices_nonzero(batch[name].is_valid())
                contexts = contexts_of(batch[context]).take(rows).to_pylist() if context else None
                values = operator.reverse(batch[name].take(rows).to_pylist(), contexts)
                if None in values and "leave_untransformed" not in config.transformation_error_handling:
                    raise Invalid(f"Cannot reverse a value of field {name}.")
                values = [token if value is None else value for token, value in zip(batch[name].take(rows).to_pylist(), values, strict=True)]
                columns[name] = pa.array(values, pa.string()).take(pc.index_in(pa.array(range(batch.num_rows), pa.uint64()), rows))
    _write(table, columns, pa.array([True] * batch.num_rows), response.item.table)


@lru_cache(maxsize=64)
def _plan(config: bytes, fields: tuple[Field, ...], inspector: Inspector, keys: Keys) -> tuple[plan.Plan, tuple[Rule, ...], Counting]:
    template, counting = types.DeidentifyTemplate(deidentify_config=types.DeidentifyConfig.deserialize(config)), Counting(inspector)
    text = types.DeidentifyTemplate.to_json(template, use_integers_for_enums=False)
    contract = Contract("request", "1", "", "request", fields, "", "", timedelta(0), "refuse", 0, "{}", text, None)
    try:
        return plan.make(contract, keys, counting), rules(template), counting
    except Misconfigured as misconfigured:
        raise Invalid("; ".join(f"{f.where.partition(': ')[2]} {f.problem}" for f in misconfigured.faults)) from None


def _whole(batch: pa.RecordBatch, listed: Sequence[Rule]) -> pa.RecordBatch:
    """With a column of nulls for each context that the table does not have."""
    wanted = {context_of(p) for rule in listed for _, p in rule.primitives()} | {c.field for rule in listed for c in rule.condition or ()}
    for name in sorted(wanted - {"", *batch.schema.names}):
        batch = batch.append_column(name, pa.nulls(batch.num_rows, pa.string()))
    return batch


def _write(table: Any, columns: dict[str, pa.Array], kept: pa.BooleanArray, answer: Any) -> None:
    answer.headers.extend(table.headers)
    names = [h.name for h in table.headers]
    changed = [columns[n].to_pylist() if n in columns else None for n in names]
    writers = [wire.writer(columns[n].type) if n in columns else None for n in names]
    for at, (row, keep) in enumerate(zip(table.rows, kept.to_pylist(), strict=True)):
        if keep:
            values = answer.rows.add().values
            for old, new, write in zip(row.values, changed, writers, strict=True):
                if write is None:
                    values.add().CopyFrom(old)
                elif new[at] is None:
                    values.add()
                else:
                    write(values.add(), new[at])
