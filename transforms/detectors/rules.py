"""A template's rules: hotwords that change a likelihood, exclusions that drop a hit.

https://cloud.google.com/sensitive-data-protection/docs/reference/rest/v2/InspectConfig#InspectionRuleSet
Hotword rules come first, in their order; exclusions see the hits that reached the least likelihood.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from transforms.detectors.custom import Dictionary
from transforms.detectors.info_type import Hit, Likelihood
from transforms.detectors.text import Text

FULL, PARTIAL, INVERSE = 1, 2, 3  # DLP's numbers of MatchingType


@dataclass(frozen=True)
class Window:
    """A RE2 pattern that must lie whole within so many characters before and after a hit, the hit included."""

    regex: Any
    before: int
    after: int

    def holds(self, hit: Hit, text: Text) -> bool:
        start = text.bytes_before(max(0, hit.start - self.before))
        end = text.bytes_before(min(len(text.text), hit.end + self.after))
        return self.regex.search(text.data, start, end) is not None


@dataclass(frozen=True)
class HotwordRule:
    """Beside a hotword: `fixed`, or so many levels up or down."""

    window: Window
    fixed: Likelihood | None
    relative: int

    def adjust(self, hit: Hit, text: Text) -> Hit:
        if not self.window.holds(hit, text):
            return hit
        level = self.fixed or Likelihood(
            min(max(hit.likelihood + self.relative, Likelihood.VERY_UNLIKELY), Likelihood.VERY_LIKELY)
        )
        return hit._replace(likelihood=level)


class Others:
    """The hits of a text, to be asked about many times: a long text may hold thousands."""

    def __init__(self, hits: Sequence[Hit]) -> None:
        self._starts: dict[str, list[int]] = {}
        self._ends: dict[str, list[int]] = {}
        for hit in sorted(hits):
            self._starts.setdefault(hit.info_type, []).append(hit.start)
            ends = self._ends.setdefault(hit.info_type, [])
            ends.append(max(hit.end, ends[-1] if ends else 0))

    def furthest(self, name: str, before: int) -> int:
        """The furthest end of the hits of an infoType that start before this position; 0 for none."""
        count = bisect_left(self._starts.get(name, []), before)
        return self._ends[name][count - 1] if count else 0


class Exclusion(Protocol):
    """True for a hit that must go."""

    def drops(self, hit: Hit, text: Text, others: Others) -> bool: ...


@dataclass(frozen=True)
class ByHotword:
    """Drops what stands near a hotword."""

    window: Window

    def drops(self, hit: Hit, text: Text, others: Others) -> bool:
        return self.window.holds(hit, text)


@dataclass(frozen=True)
class ByRegex:
    """FULL: the pattern matches the whole hit; PARTIAL: some of it; INVERSE: none of it."""

    regex: Any
    matching: int

    def drops(self, hit: Hit, text: Text, others: Others) -> bool:
        value = text.text[hit.start : hit.end].encode("utf-8", "surrogatepass")
        if self.matching == FULL:
            return self.regex.fullmatch(value) is not None
        return (self.regex.search(value) is not None) == (self.matching == PARTIAL)


@dataclass(frozen=True)
class ByDictionary:
    """FULL: phrases make up the whole hit; PARTIAL: at least one is in it; INVERSE: none is."""

    dictionary: Dictionary
    matching: int

    def drops(self, hit: Hit, text: Text, others: Others) -> bool:
        value = text.text[hit.start : hit.end]
        spans = self.dictionary.spans(value)
        if self.matching != FULL:
            return bool(spans) == (self.matching == PARTIAL)
        outside, position = "", 0
        for start, end in spans:
            outside, position = outside + value[position:start], end
        return bool(spans) and not any(c.isalnum() for c in outside + value[position:])


@dataclass(frozen=True)
class ByInfoTypes:
    """FULL: the hit lies inside a hit of one of these infoTypes; PARTIAL: they overlap; INVERSE: it overlaps none.

    No hit is dropped for its own infoType's sake.
    """

    names: frozenset[str]
    matching: int

    def drops(self, hit: Hit, text: Text, others: Others) -> bool:
        if hit.info_type in self.names:
            return False
        if self.matching == FULL:
            return any(others.furthest(name, hit.start + 1) >= hit.end for name in self.names)
        return any(others.furthest(name, hit.end) > hit.start for name in self.names) == (self.matching == PARTIAL)
