"""A template's rules: hotwords that change a likelihood, exclusions that drop a hit.

https://cloud.google.com/sensitive-data-protection/docs/reference/rest/v2/InspectConfig#InspectionRuleSet
Hotword rules come first, in their order; exclusions see the hits that reached the least likelihood.
"""

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


class Exclusion(Protocol):
    """True for a hit that must go. others: all hits of the text."""

    def drops(self, hit: Hit, text: Text, others: Sequence[Hit]) -> bool: ...


@dataclass(frozen=True)
class ByHotword:
    """Drops what stands near a hotword."""

    window: Window

    def drops(self, hit: Hit, text: Text, others: Sequence[Hit]) -> bool:
        return self.window.holds(hit, text)


@dataclass(frozen=True)
class ByRegex:
    """FULL: the pattern matches the whole hit; PARTIAL: some of it; INVERSE: none of it."""

    regex: Any
    matching: int

    def drops(self, hit: Hit, text: Text, others: Sequence[Hit]) -> bool:
        value = text.text[hit.start : hit.end].encode("utf-8", "surrogatepass")
        if self.matching == FULL:
            return self.regex.fullmatch(value) is not None
        return (self.regex.search(value) is not None) == (self.matching == PARTIAL)


@dataclass(frozen=True)
class ByDictionary:
    """FULL: phrases make up the whole hit; PARTIAL: at least one is in it; INVERSE: none is."""

    dictionary: Dictionary
    matching: int

    def drops(self, hit: Hit, text: Text, others: Sequence[Hit]) -> bool:
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
    """FULL: the hit lies inside a hit of one of these infoTypes; PARTIAL: they overlap; INVERSE: it overlaps none."""

    names: frozenset[str]
    matching: int

    def drops(self, hit: Hit, text: Text, others: Sequence[Hit]) -> bool:
        named = [o for o in others if o.info_type in self.names and o is not hit]
        if self.matching == FULL:
            return any(o.start <= hit.start and hit.end <= o.end for o in named)
        return any(o.start < hit.end and hit.start < o.end for o in named) == (self.matching == PARTIAL)
