"""Which finders must look at which rows: decided for all rows of a column by Arrow's RE2, before Python sees one.

Finders are grouped: those of one infoType whose hits count by themselves, and those whose hits count only beside a
hotword. A group gets the rows in which its screen, or its hotwords, and its patterns find something, wherever it is.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import re2

from transforms.detectors.custom import DictionaryFinder, RegexFinder, SurrogateFinder
from transforms.detectors.finder import Finder, searcher
from transforms.detectors.info_type import Hit, Likelihood
from transforms.detectors.text import Text

LARGE = 1000  # rows; Arrow compiles a pattern anew with every call, which takes ten milliseconds for all of them
_SAMPLE = 1000  # rows
_OWN = (DictionaryFinder, RegexFinder, SurrogateFinder)


class Group:
    """Finders that are asked together."""

    def __init__(self, finders: Sequence[Finder]) -> None:
        self._finders = finders
        self.built_in = not any(isinstance(f, _OWN) for f in finders)
        self._near = [searcher(re2.compile(r, _roomy())) for r in merged(finders, lambda f: f.regex)]
        self._which = re2.Set.SearchSet(_roomy())
        for finder in finders:
            self._which.Add(finder.regex)
        self._which.Compile()

    def hits(self, texts: Sequence[Text]) -> list[tuple[int, list[Hit]]]:
        """(position of a text, hits in it), for each finder that has some."""
        wanted: list[list[int]] = [[] for _ in self._finders]
        for at, text in enumerate(texts):
            for number in self._asked(text.data):
                wanted[number].append(at)
        found = ((at, list(f.find(texts[at]))) for f, own in zip(self._finders, wanted, strict=True) for at in own)
        return [(at, hits) for at, hits in found if hits]

    def _asked(self, data: bytes) -> Sequence[int]:
        """Which finders find their pattern in the text."""
        which: Sequence[int] = self._which.Match(data) or ()
        # A Set whose automaton outgrows its memory answers "nothing" without a word; then every finder looks
        if not which and any(search(data, 0, len(data)) for search in self._near):
            which = range(len(self._finders))
        return which


def groups(finders: Iterable[Finder], least: Callable[[str], Likelihood]) -> list[tuple[Group, list[str]]]:
    """Each group, and RE2 patterns all of which find something in every text that holds a hit of it that counts.

    least: what the likelihood of a hit of an infoType must reach to count. Finders that cannot reach it are left out.
    """
    own: list[tuple[Group, list[str]]] = []
    sure: dict[str, list[Finder]] = {}
    raised: dict[str, list[Finder]] = {}
    for finder in finders:
        if finder.at_most < least(finder.name):
            continue
        if isinstance(finder, _OWN):
            own.append((Group([finder]), [finder.screen]))
        else:
            by_itself = finder.likelihood >= least(finder.name)
            (sure if by_itself else raised).setdefault(finder.screen, []).append(finder)
    return [
        *((Group(f), [screen, either(x.needs for x in f)]) for screen, f in sure.items()),
        # hotwords are rarer than what the screens look for
        *((Group(f), [either(x.near for x in f), either(x.needs for x in f)]) for f in raised.values()),
        *own,
    ]


def shares(values: pa.StringArray, parts: Sequence[tuple[Group, list[str]]]) -> Iterator[tuple[Group, list[int]]]:
    """Each group and its rows of a large column.

    What is rare in the first rows is looked for in one go, and one by one only in the rows where something of it is.
    """
    start = values.slice(0, _SAMPLE)
    rare = [at for at, (group, sifts) in enumerate(parts) if group.built_in and len(sifted(start, sifts[:1])) * 20 < _SAMPLE]
    few = sifted(values, [either(parts[at][1][0] for at in rare)]) if rare else []
    picked = values.take(pa.array(few, pa.int64()))
    for at, (group, sifts) in enumerate(parts):
        yield group, [few[i] for i in sifted(picked, sifts)] if at in rare else sifted(values, sifts)


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
