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


class Inspector(Protocol):
    """What finds identifiers in text; see transforms.detectors.inspector."""

    def find_column(self, texts: pa.StringArray) -> Iterable[tuple[int, Sequence[Finding]]]:
        """(row, findings, which do not overlap) for the texts that have any."""
        ...

    def whole(self, texts: pa.StringArray) -> pa.BooleanArray:
        """Whether a text as a whole is an identifier."""
        ...


Span = tuple[int, int, str]  # start, end, infoType


def transform_text(column: pa.Array, contexts: Mapping[str, pa.Array], inspector: Inspector,
                   primitives: Mapping[str, Primitive]) -> pa.Array:
    """The texts of a column with every finding transformed; null for a text with one that could not be.

    primitives: by infoType, "" for those that no other one names; contexts: by field, those that the primitives name.
    Each distinct text is inspected once, and written once where no context and no random draw tells its rows apart.
    """
    encoded = column.dictionary_encode()
    found: dict[int | None, list[Span]] = {}
    for number, findings in inspector.find_column(encoded.dictionary):
        spans = [(f.start, f.end, f.info_type) for f in findings if f.info_type in primitives or "" in primitives]
        if spans:
            found[number] = spans
    if not found:
        return column
    alike = not contexts and all(p.operator.deterministic for p in primitives.values())
    texts = (encoded.dictionary if alike else column).to_pylist()
    of = range(len(texts)) if alike else encoded.indices.to_pylist()
    places = [place for place, number in enumerate(of) if number in found]
    beside = {name: values.take(pa.array(places, pa.int64())).to_pylist() for name, values in contexts.items()}
    written = _written([texts[p] for p in places], [found[of[p]] for p in places], beside, primitives)
    for place, text in zip(places, written, strict=True):
        texts[place] = text
    answer = pa.array(texts, pa.string())
    return answer.take(encoded.indices) if alike else answer


def _written(texts: Sequence[str], spans: Sequence[Sequence[Span]], contexts: Mapping[str, Sequence[Context]],
             primitives: Mapping[str, Primitive]) -> list[str | None]:
    """Each text with its spans transformed: one call of an operator for all findings of one infoType."""
    groups: dict[str, list[tuple[int, int, int]]] = {}
    for row, own in enumerate(spans):
        for start, end, info_type in own:
            groups.setdefault(info_type, []).append((start, end, row))
    replacements: list[tuple[int, int, int, str | None]] = []
    for info_type, members in groups.items():
        primitive = primitives.get(info_type) or primitives[""]
        beside = contexts[primitive.context] if primitive.context else None
        answers = primitive.answers([texts[row][start:end] for start, end, row in members],
                                    None if beside is None else [beside[row] for _, _, row in members], info_type)
        replacements += [(*member, None if a is None else text_of(a)) for member, a in zip(members, answers, strict=True)]
    written: list[str | None] = list(texts)
    untouched = [len(text) for text in texts]
    for start, end, row, new in sorted(replacements, key=lambda r: -r[0]):  # right to left: what is left of it keeps its place
        text = written[row]
        if text is None or new is None or end > untouched[row]:  # two that overlap would spoil each other
            written[row] = None
        else:
            written[row], untouched[row] = text[:start] + new + text[end:], start
    return written
