"""What shows that DLP transformed what it was sent. What is not shown is not stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from google.cloud.dlp_v2 import types

from schemas.errors import Reason
from schemas.rules import Rule, kind
from transforms.engines.cells import must_change, typed
from transforms.engines.combinations import Combinations, blank
from transforms.engines.conditions import holds
from transforms.engines.layout import Layout
from transforms.engines.packing import Answers, Unproven
from transforms.operators.operator import Value
from transforms.operators.values import from_proto, text_of

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


class Proof:
    """The judge of one batch's answers. Threads may share it.

    A value that came back as it was, where its transformation says otherwise, proves nothing.
    One such cell and the whole answer is not believed: what stands beside it may have been left as it was as well.
    """

    def __init__(self, layout: Layout, listed: Sequence[Combinations]) -> None:
        self._layout, self._listed = layout, listed
        self._rules: dict[tuple[int, str], list[Rule | None]] = {}

    def cell(self, group: int, name: str, combination: int, before: Value, after: Value | None) -> None:
        if after is None:
            if name not in self._layout.emptied and before != "":
                raise Unproven("a value is missing")
        elif text_of(after) == text_of(before):
            rule = self._rule(group, name, combination)
            if before != "" and rule is not None and rule.primitive is not None and not _may_stay(rule.primitive, text_of(before)):
                raise Unproven("a value came back as it was")

    def _rule(self, group: int, name: str, combination: int) -> Rule | None:
        """The first rule that holds for a combination."""
        if (group, name) not in self._rules:
            batch = self._listed[group].batch()
            taking: list[Rule | None] = [None] * batch.num_rows
            for rule in reversed([r for r in self._layout.rules if name in r.fields]):
                rows = range(batch.num_rows) if rule.condition is None else pc.indices_nonzero(holds(rule.condition, batch)).to_pylist()
                for at in rows:
                    taking[at] = rule
            self._rules[group, name] = taking
        return self._rules[group, name][combination]


def _may_stay(primitive: types.PrimitiveTransformation, text: str) -> bool:
    """Whether a transformation may answer the text that it was given: the local engine's rule, and what a service can skip.

    A bucket, a replacement or a word of a dictionary may be what stood there already; a date may be shifted by no day.
    """
    if (changes := must_change(primitive)) is not None:
        return not changes(text)
    name = kind(primitive)
    if name == "dateShiftConfig":
        return bool(primitive.date_shift_config.lower_bound_days <= 0 <= primitive.date_shift_config.upper_bound_days)
    if name == "replaceDictionaryConfig":
        return text in primitive.replace_dictionary_config.word_list.words
    given = {"replaceConfig": [primitive.replace_config.new_value],
             "bucketingConfig": [b.replacement_value for b in primitive.bucketing_config.buckets]}.get(name, [])
    return text in {text_of(value) for value in map(from_proto, given) if value is not None}


@dataclass(frozen=True)
class Reported:
    """A Proof that also knows how many findings the answer reports, by field."""

    proof: Proof
    layout: Layout
    found: Mapping[str, int]

    def cell(self, group: int, name: str, combination: int, before: Value, after: Value | None) -> None:
        self.proof.cell(group, name, combination, before, after)

    def columns(self, changed: Mapping[str, int]) -> None:
        """Raises Unproven where findings that come out changed are reported in a column of which nothing changed."""
        for name in self.layout.visible:
            if self.found.get(name, 0) and not changed.get(name, 0):
                raise Unproven("findings are reported, and nothing changed")


def settle(combinations: Combinations, answers: Answers, layout: Layout) -> dict[str, pa.Array]:
    """By transformed column the cells as stored, one a combination; refuses what has no answer of that type."""
    stored = {}
    for name in combinations.group.transformed:
        values = answers.values[name]
        if name in layout.emptied:
            values = ["" if value is None else value for value in values]
        stored[name] = typed(values, layout.stored[name])
        failed = pc.and_not(stored[name].is_null(), blank(combinations.cells[name]))
        for combination in pc.indices_nonzero(failed).to_pylist():
            answers.refused.setdefault(combination, (Reason.NOT_DEIDENTIFIED, name))
    return stored
