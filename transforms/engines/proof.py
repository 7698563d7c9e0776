"""What shows that DLP transformed what it was sent. What is not shown is not stored."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from google.cloud.dlp_v2 import types

from schemas.errors import Reason
from schemas.rules import kind
from transforms.engines.cells import as_text, must_change, typed
from transforms.engines.combinations import Combinations, blank
from transforms.engines.conditions import holds
from transforms.engines.layout import Layout
from transforms.engines.packing import Answers, Unproven
from transforms.operators.operator import Value

MOST_FINDINGS = 3000
"""What DLP transforms in one request; at so many, more may have been left as they were."""
_SUCCESS = types.TransformationSummary.TransformationResultCode.SUCCESS


def findings(overview: Any) -> dict[str, int]:
    """Findings by field ("" where a summary names none) of a raw `TransformationOverview`.

    Raises Unproven where a transformation failed, and where there are so many findings that some may be missing.
    """
    found: dict[str, int] = {}
    for summary in overview.transformation_summaries:
        if any(result.code != _SUCCESS for result in summary.results):
            raise Unproven("a transformation failed")
        if summary.info_type.name:
            count = sum(result.count for result in summary.results)
            found[summary.field.name] = found.get(summary.field.name, 0) + count
    if sum(found.values()) >= MOST_FINDINGS:
        raise Unproven("more findings than one request may have", smaller=True)
    return found


def visible(layout: Layout) -> frozenset[str]:
    """The inspected columns whose every finding comes out changed."""
    def changes(primitive: types.PrimitiveTransformation) -> bool:
        return kind(primitive) == "replaceWithInfoTypeConfig" or must_change(primitive) is not None
    kept = {name for rule in layout.rules for name in rule.fields for part in rule.by_info_type if not changes(part.primitive)}
    return layout.inspected - kept


def agree(found: Mapping[str, int], changed: Mapping[str, int], seen: frozenset[str]) -> None:
    """Raises Unproven where findings were reported in a column of `seen` and no text of it changed."""
    for name in seen:
        if found.get(name, 0) and not changed.get(name, 0):
            raise Unproven("findings are reported, and nothing changed")


def settle(combinations: Combinations, answers: Answers, layout: Layout) -> dict[str, pa.Array]:
    """By transformed column the cells as stored, one a combination; refuses what has no answer, or one that is as it was.

    A text that an encryption, a hash, a mask or a redaction left as it was is refused by the rule of the local engine.
    """
    stored = {}
    for name in combinations.group.transformed:
        cells = combinations.cells[name]
        full = pc.invert(blank(cells))
        cells_stored = typed(_emptied(answers.values[name], name, layout), layout.stored[name])
        failed = pc.and_(full, cells_stored.is_null())
        if pa.types.is_string(cells_stored.type):  # what must change is stored as text, whatever it was
            same = pc.and_(full, pc.fill_null(pc.equal(as_text(cells), cells_stored), False))
            failed = pc.or_(failed, _wrongly(same, cells, combinations, name, layout))
        for combination in pc.indices_nonzero(failed).to_pylist():
            answers.refused.setdefault(combination, (Reason.NOT_DEIDENTIFIED, name))
        stored[name] = cells_stored
    return stored


def _emptied(values: list[Value | None], name: str, layout: Layout) -> list[Value | None]:
    """A redacted cell may come back without a value."""
    own = [rule.primitive for rule in layout.rules if name in rule.fields and rule.primitive is not None]
    if any(kind(p) == "redactConfig" for p in own) and all(kind(p) == "redactConfig" for p in own):
        return ["" if value is None else value for value in values]
    return values


def _wrongly(same: pa.BooleanArray, cells: pa.Array, combinations: Combinations, name: str, layout: Layout) -> pa.BooleanArray:
    """Which of the cells that stayed the same had to change: by the first rule that holds for their row."""
    wrong = [False] * len(cells)
    if not pc.any(same).as_py():
        return pa.array(wrong, pa.bool_())
    texts, left = as_text(cells), same
    for rule in layout.rules:
        if name in rule.fields:
            taken = left if rule.condition is None else pc.and_(left, holds(rule.condition, combinations.batch()))
            left = pc.and_not(left, taken)
            changes = must_change(rule.primitive) if rule.primitive is not None else None
            for at in pc.indices_nonzero(taken).to_pylist() if changes else ():
                wrong[at] = changes(texts[at].as_py())
    return pa.array(wrong, pa.bool_())
