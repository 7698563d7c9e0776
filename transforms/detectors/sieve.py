"""Which finders must look at which rows: decided for all rows of a column by Arrow's RE2, before Python sees one.

Finders are grouped: those of one infoType whose hits count by themselves, and those whose hits count only beside a
hotword. A group gets the rows in which its screen, or its hotwords, and its patterns find something, wherever it is.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import re2

from transforms.detectors.custom import DictionaryFinder, RegexFinder, SurrogateFinder
from transforms.detectors.finder import Finder, searcher
from transforms.detectors.info_type import Likelihood

LARGE = 1000  # rows; Arrow compiles a pattern anew with every call, which takes ten milliseconds for all of them
_OWN = (DictionaryFinder, RegexFinder, SurrogateFinder)


class Group:
    """Finders that are asked together."""

    def __init__(self, finders: Sequence[Finder], sifts: Iterable[str] = ()) -> None:
        """sifts: RE2 patterns, each of which finds something in every text in which a finder has a hit that counts."""
        self.finders = finders
        self._sifts = tuple(dict.fromkeys(sifts))
        self._near = [searcher(re2.compile(r, _roomy())) for r in merged(finders, lambda f: f.regex)]
        self._which = re2.Set.SearchSet(_roomy())
        for finder in finders:
            self._which.Add(finder.regex)
        self._which.Compile()

    def asked(self, data: bytes) -> Sequence[Finder]:
        """Those finders whose patterns find something in a text, which is given in UTF-8."""
        found: Sequence[int] | None = self._which.Match(data)
        if found:
            return [self.finders[i] for i in found]
        # A Set whose automaton outgrows its memory answers "nothing" without a word; then every finder looks
        return self.finders if any(search(data, 0, len(data)) for search in self._near) else ()

    def rows(self, values: pa.StringArray) -> list[int]:
        """The rows of a column that the finders must look at. Nulls are not among them."""
        return sifted(values, self._sifts)


def groups(finders: Iterable[Finder], least: Callable[[str], Likelihood]) -> list[Group]:
    """least: what the likelihood of a hit of an infoType must reach to count. Finders that cannot reach it are left out."""
    sure: dict[str, list[Finder]] = {}
    raised: dict[str, list[Finder]] = {}
    answer: list[Group] = []
    for finder in finders:
        if isinstance(finder, _OWN):
            answer.append(Group([finder], [finder.screen]))
        elif finder.likelihood >= least(finder.name):
            sure.setdefault(finder.screen, []).append(finder)
        elif finder.at_most >= least(finder.name):
            raised.setdefault(finder.screen, []).append(finder)
    answer += [Group(own, [screen, either(f.needs for f in own)]) for screen, own in sure.items()]
    # hotwords are rarer than what the screens look for
    answer += [Group(own, [either(f.near for f in own), either(f.needs for f in own)]) for own in raised.values()]
    return answer


def sifted(values: pa.StringArray, sifts: Iterable[str]) -> list[int]:
    """The rows in which every one of these RE2 patterns finds something."""
    rows: Any = None
    for sift in sifts:
        left: Any = pc.indices_nonzero(pc.match_substring_regex(values, sift))
        rows, values = left if rows is None else rows.take(left), values.take(left)
        if not len(rows):
            break
    answer: list[int] = [] if rows is None else rows.to_pylist()
    return answer


def merged(finders: Iterable[Finder], regex: Callable[[Finder], str]) -> list[str]:
    """One pattern for all built-in finders; a template's own stand alone: the names of their groups may clash."""
    built_in = [regex(f) for f in finders if not isinstance(f, _OWN)]
    return ([either(built_in)] if built_in else []) + [regex(f) for f in finders if isinstance(f, _OWN)]


def either(regexes: Iterable[str]) -> str:
    """One pattern for all of them."""
    return "|".join(f"(?:{r})" for r in dict.fromkeys(regexes))


def _roomy() -> re2.Options:
    """An automaton for many patterns is large."""
    options = re2.Options()
    options.max_mem = 64 << 20
    options.log_errors = False
    return options
