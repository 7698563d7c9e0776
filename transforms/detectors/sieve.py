r"""Which rows of a large column which finders must look at, decided by Arrow's RE2 before Python sees any of them.

Finders are grouped: those of one infoType whose hits count by themselves, and those whose hits count only beside a
hotword. A row goes to a group where the group's screen, hotwords and patterns all find something in it, wherever that
is. Finders whose hits can never reach the least likelihood are in no group.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import re2

from transforms.detectors.finder import Finder, roomy
from transforms.detectors.info_type import Likelihood

LARGE = 1000  # rows; Arrow compiles its patterns anew with every call, about ten milliseconds for all of them


@dataclass(frozen=True)
class Group:
    """sifts: RE2 patterns, each of which finds something in every text in which one of the finders has a hit that counts."""

    finders: tuple[Finder, ...]
    sifts: tuple[str, ...]
    which: Any

    def asked(self, data: bytes) -> Sequence[Finder]:
        """The finders that find something in a text of this group."""
        if len(self.finders) == 1:
            return self.finders
        # A Set whose automaton outgrows its memory answers "nothing" without a word; then every finder looks
        found: Sequence[int] | None = self.which.Match(data)
        return [self.finders[i] for i in found] if found else self.finders

    def rows(self, values: pa.StringArray) -> list[int]:
        """The rows of a column that the finders must look at. Nulls are not among them."""
        rows: Any = None
        for sift in self.sifts:
            left: Any = pc.indices_nonzero(pc.match_substring_regex(values, sift))
            rows, values = left if rows is None else rows.take(left), values.take(left)
            if not len(rows):
                break
        answer: list[int] = rows.to_pylist()
        return answer


def groups(finders: Iterable[Finder], least: Callable[[str], Likelihood]) -> list[Group]:
    """The groups of these finders; least: of an infoType, the least likelihood that counts."""
    sure: dict[str, list[Finder]] = {}
    raised: dict[str, list[Finder]] = {}
    for finder in finders:
        if finder.likelihood >= least(finder.name):
            sure.setdefault(finder.screen, []).append(finder)
        elif finder.at_most >= least(finder.name):
            raised.setdefault(finder.screen, []).append(finder)
    return [
        *(Group(tuple(own), _distinct(screen, either(f.needs for f in own)), _set(own)) for screen, own in sure.items()),
        # hotwords are rarer than numbers
        *(Group(tuple(own), (either(f.near for f in own), either(f.needs for f in own)), _set(own))
          for own in raised.values()),
    ]


def either(regexes: Iterable[str]) -> str:
    """One pattern for all of them."""
    return "|".join(f"(?:{r})" for r in dict.fromkeys(regexes))


def _distinct(*sifts: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(sifts))


def _set(finders: Sequence[Finder]) -> Any:
    which = re2.Set.SearchSet(roomy())
    for finder in finders:
        which.Add(finder.regex)
    which.Compile()
    return which
