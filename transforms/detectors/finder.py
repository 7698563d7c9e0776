"""What looks for hits: the patterns of one infoType over one text."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import re2

from transforms.detectors.info_type import Hit, Hotword, InfoType, Likelihood, Pattern
from transforms.detectors.letters import narrow
from transforms.detectors.text import Text

_QUIET = re2.Options()
_QUIET.log_errors = False


# (data, position, end) -> the spans of the whole match and of each group, in bytes; None for no match
Search = Callable[[bytes, int, int], Sequence[tuple[int, int]] | None]


class Finder(Protocol):
    """Finds hits of one infoType.

    screen, needs and regex are RE2 that find something in every text that holds a hit: screen is cheap and may find more,
    needs is nearer, regex nearest to what find looks for. likelihood: of a hit by itself; at_most: beside hotwords, at
    least one of which near (RE2) then finds somewhere in the text. whole: RE2 that finds something in every text that as
    a whole is a hit.
    """

    name: str
    screen: str
    needs: str
    regex: str
    likelihood: Likelihood
    at_most: Likelihood
    near: str
    whole: str

    def find(self, text: Text) -> Iterable[Hit]: ...


class PatternFinder:
    """The finder of one pattern. RE2 throughout: no text makes it slower than its length."""

    def __init__(self, info_type: InfoType, pattern: Pattern) -> None:
        self.name = info_type.name
        self.screen = narrow(info_type.screen)
        self.regex = narrow(pattern.regex)
        self.whole = f"^(?:{self.regex})$"
        self.needs = narrow(pattern.needs) or self.regex
        raising = [h for h in pattern.hotwords if not h.lowers]
        self.likelihood = pattern.likelihood
        self.at_most = max([pattern.likelihood, *(_adjusted(pattern.likelihood, h) for h in raising)])
        self.near = "(?i)" + "|".join(f"(?:{_anywhere(h.regex)})" for h in raising)
        self._pattern = pattern
        self._search = searcher(compile_regex(self.regex))
        self._hotwords = [(searcher(compile_regex("(?i)" + h.regex)), h) for h in pattern.hotwords]

    def find(self, text: Text) -> list[Hit]:
        data, search, pattern, position = text.data, self._search, self._pattern, 0
        trim, check, length = pattern.trim, pattern.check, len(text.data)
        hits = []
        while position < length and (spans := search(data, position, length)):
            start, end = spans[-1]
            value = data[start:end].decode("utf-8", "surrogatepass")
            if trim and (kept := trim(value)) < len(value):
                value = value[:kept]
                end = start + len(value.encode("utf-8", "surrogatepass"))
            if value and (check is None or check(value)):
                first = text.code_points(start)
                hits.append(Hit(first, first + len(value), self.name, self._likelihood(data, start, end), pattern.strength))
                # the context behind a hit may be the context before the next one
                position = end
            else:
                position = start + 1
        return hits

    def _likelihood(self, data: bytes, start: int, end: int) -> Likelihood:
        likelihood, raised = self._pattern.likelihood, False
        for search, hotword in self._hotwords:
            if (not raised or hotword.lowers) and _near(search, hotword, data, start, end):
                likelihood, raised = _adjusted(likelihood, hotword), raised or not hotword.lowers
        return likelihood


def _near(search: Search, hotword: Hotword, data: bytes, start: int, end: int) -> bool:
    if hotword.before and start:
        window = data[max(0, start - hotword.before) : start]
        if search(window, 0, len(window)):
            return True
    if not hotword.after:
        return False
    window = data[end : end + hotword.after]
    return bool(window) and search(window, 0, len(window)) is not None


def _adjusted(likelihood: Likelihood, hotword: Hotword) -> Likelihood:
    if hotword.lowers:
        return min(likelihood, hotword.likelihood)
    return max(hotword.likelihood, Likelihood(min(likelihood + 1, Likelihood.VERY_LIKELY)))


def _anywhere(regex: str) -> str:
    """A hotword's pattern that also finds it outside its window, whose ends may cut words: without anchors."""
    return re.sub(r"(\\[^b]|\[(?:\\.|[^\]])*\])|\\b|[\^$]", lambda m: m.group(1) or "", regex)


def compile_regex(regex: str) -> Any:
    """Compiles without RE2's own log line on stderr. Raises re2.error."""
    return re2.compile(regex, _QUIET)


def roomy() -> re2.Options:
    """Options for patterns that are many in one: their automaton is large."""
    options = re2.Options()
    options.max_mem = 64 << 20
    options.log_errors = False
    return options


def searcher(compiled: Any) -> Search:
    """The bare search of a compiled pattern: the package's own wraps a generator around it that costs as much again."""
    match, unanchored = compiled._regexp.Match, re2._Anchor.UNANCHORED

    def search(data: bytes, position: int, end: int) -> Sequence[tuple[int, int]] | None:
        spans: Sequence[tuple[int, int]] = match(unanchored, data, position, end)
        return spans if spans[0][0] >= 0 else None

    return search
