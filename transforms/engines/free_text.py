"""infoTypeTransformations: what the detectors find inside a text is transformed, the rest of the text stays."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import pyarrow as pa

from transforms.engines.cells import Context, Primitive
from transforms.operators.values import text_of


class Finding(Protocol):
    """A stretch of text, in Unicode code points, that is of this infoType."""

    @property
    def info_type(self) -> str: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def likelihood(self) -> int: ...


class Inspector(Protocol):
    """What finds identifiers in text; see transforms.detectors.inspector."""

    def find_column(self, texts: pa.StringArray) -> Iterable[tuple[int, Sequence[Finding]]]:
        """(row, findings) for the texts that have any."""
        ...

    def whole(self, texts: pa.StringArray) -> pa.BooleanArray:
        """Whether a text as a whole is an identifier."""
        ...


Span = tuple[int, int, int, str]  # text, start, end, infoType


def transform_text(texts: Sequence[str], contexts: Mapping[str, Sequence[Context]], inspector: Inspector,
                   primitives: Mapping[str, Primitive]) -> list[str | None]:
    """The texts with every finding transformed; None for a text that holds one which could not be.

    primitives: by infoType, "" for those that no other one names; contexts: by field, one a text.
    """
    spans: list[Span] = []
    for row, findings in inspector.find_column(pa.array(texts, pa.string())):
        covered = [f for f in findings if f.info_type in primitives or "" in primitives]
        spans += [(row, start, end, info_type) for start, end, info_type in apart(covered)]
    groups: dict[str, list[Span]] = {}
    for span in spans:
        groups.setdefault(span[3], []).append(span)
    replacements: dict[Span, str | None] = {}
    for info_type, members in groups.items():
        primitive = primitives.get(info_type) or primitives[""]
        beside = contexts[primitive.context] if primitive.context else None
        cells = [(texts[row][start:end], beside[row] if beside else None) for row, start, end, _ in members]
        # One draw for each finding where the operator draws; else each distinct one once.
        asked = list(dict.fromkeys(cells)) if primitive.operator.deterministic else cells
        answers = primitive.answers([value for value, _ in asked], [c for _, c in asked] if beside else None, info_type)
        written = [None if a is None else text_of(a) for a in answers]
        if primitive.operator.deterministic:
            known = dict(zip(asked, written, strict=True))
            written = [known[cell] for cell in cells]
        replacements.update(zip(members, written, strict=True))
    return _written(texts, spans, replacements)


def _written(texts: Sequence[str], spans: Sequence[Span], replacements: Mapping[Span, str | None]) -> list[str | None]:
    answers: list[str | None] = list(texts)
    for span in sorted(spans, reverse=True):  # right to left: what stands before keeps its place
        row, start, end, _ = span
        text, new = answers[row], replacements[span]
        answers[row] = None if text is None or new is None else text[:start] + new + text[end:]
    return answers


def apart(findings: Sequence[Finding]) -> list[tuple[int, int, str]]:
    """(start, end, infoType) of stretches that do not overlap and together cover every finding.

    Findings that overlap become one stretch, under the infoType of the longest, then the likeliest, then the first by
    name: no part of a finding stays because another one won.
    """
    stretches: list[tuple[int, int, list[Finding]]] = []
    for finding in sorted(findings, key=lambda f: (f.start, -f.end)):
        if stretches and finding.start < stretches[-1][1]:
            start, end, members = stretches[-1]
            stretches[-1] = (start, max(end, finding.end), [*members, finding])
        else:
            stretches.append((finding.start, finding.end, [finding]))
    return [(start, end, min(members, key=lambda f: (f.start - f.end, -f.likelihood, f.info_type)).info_type)
            for start, end, members in stretches]
