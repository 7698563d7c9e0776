"""What a template defines itself: regexes, dictionaries and the surrogates of earlier transformations.

https://cloud.google.com/sensitive-data-protection/docs/reference/rest/v2/InspectConfig#CustomInfoType
"""

from collections.abc import Iterator, Sequence

import re2

from transforms.detectors.finder import compile_regex
from transforms.detectors.info_type import Hit, Likelihood, Strength
from transforms.detectors.text import Text

_LARGE = 2000  # words of a dictionary beyond which its screen is "any letter or digit"


class RegexFinder:
    """Every match of a RE2 pattern, or of its groups `groups` where there are some."""

    near = ""

    def __init__(self, name: str, pattern: str, groups: Sequence[int], likelihood: Likelihood) -> None:
        self.name = name
        self.screen = self.needs = self.whole = self.regex = pattern
        self._regex = compile_regex(pattern)
        self._groups = tuple(groups) or (0,)
        self.likelihood = self.at_most = likelihood

    def find(self, text: Text) -> Iterator[Hit]:
        for match in self._regex.finditer(text.data):
            for group in self._groups:
                start, end = match.span(group)
                if start < end:
                    yield Hit(
                        text.code_points(start), text.code_points(end), self.name, self.likelihood, Strength.CHECKED
                    )


class Dictionary:
    """Phrases as DLP compares them.

    Without regard to case; whatever is not a letter or a digit of the Basic Multilingual Plane separates; letters and
    digits side by side are two words, so "jen" is in "jen123" and not in "jennifer".
    """

    def __init__(self, phrases: Sequence[str]) -> None:
        self._phrases: dict[str, list[tuple[str, ...]]] = {}
        for phrase in phrases:
            words = tuple(word for _, _, word in _words(phrase))
            if words:
                self._phrases.setdefault(words[0], []).append(words)
        for alike in self._phrases.values():
            alike.sort(key=len, reverse=True)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Start and end of each phrase in code points, the longest at each place, without overlaps."""
        words = _words(text)
        found, position = [], 0
        while position < len(words):
            for phrase in self._phrases.get(words[position][2], ()):
                if tuple(w for _, _, w in words[position : position + len(phrase)]) == phrase:
                    found.append((words[position][0], words[position + len(phrase) - 1][1]))
                    position += len(phrase) - 1
                    break
            position += 1
        return found

    def screen(self) -> str:
        """RE2 that finds something in every text that holds a phrase."""
        if len(self._phrases) > _LARGE:
            return r"[\pL\pN]"
        return "(?i)(?:" + "|".join(re2.escape(word) for word in sorted(self._phrases)) + ")"


class DictionaryFinder:
    """Every phrase of a dictionary."""

    near = ""

    def __init__(self, name: str, phrases: Sequence[str], likelihood: Likelihood) -> None:
        self.name = name
        self._dictionary = Dictionary(phrases)
        self.screen = self.needs = self.whole = self.regex = self._dictionary.screen()
        self.likelihood = self.at_most = likelihood

    def find(self, text: Text) -> Iterator[Hit]:
        for start, end in self._dictionary.spans(text.text):
            yield Hit(start, end, self.name, self.likelihood, Strength.CHECKED)


class SurrogateFinder:
    """NAME(length):token, as transformations with a surrogate infoType write it; length counts the token's characters."""

    near = ""

    def __init__(self, name: str, likelihood: Likelihood) -> None:
        self.name = name
        self.screen = self.needs = self.whole = self.regex = re2.escape(name) + r"\(\d{1,9}\):"
        self._regex = compile_regex(re2.escape(name) + r"\((\d{1,9})\):")
        self.likelihood = self.at_most = likelihood

    def find(self, text: Text) -> Iterator[Hit]:
        for match in self._regex.finditer(text.data):
            end = text.code_points(match.end()) + int(match.group(1))
            if end <= len(text.text):
                yield Hit(text.code_points(match.start()), end, self.name, self.likelihood, Strength.CHECKED)


def _words(text: str) -> list[tuple[int, int, str]]:
    """Runs of letters and runs of digits: (start, end, lower case)."""
    words, start, kind = [], 0, ""
    for position, character in enumerate(text):
        now = _kind(character)
        if now != kind:
            if kind:
                words.append((start, position, text[start:position].lower()))
            start, kind = position, now
    if kind:
        words.append((start, len(text), text[start:].lower()))
    return words


def _kind(character: str) -> str:
    if character > "\uffff":
        return ""
    return "letter" if character.isalpha() else "digit" if character.isdigit() else ""
