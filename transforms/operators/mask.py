"""characterMaskConfig: characters covered from one end."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from transforms.operators.oneway import OneWay
from transforms.operators.operator import Value
from transforms.operators.values import text_of

COMMON = {"NUMERIC": "0123456789", "ALPHA_UPPER_CASE": "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
          "ALPHA_LOWER_CASE": "abcdefghijklmnopqrstuvwxyz", "PUNCTUATION": "!\"#$%&'()*+,-./:;<=>?@[]^\\_`{|}~",
          "WHITESPACE": " \t\n\x0b\f\r"}
"""DLP's commonCharactersToIgnore."""


@dataclass(frozen=True)
class Mask(OneWay):
    """Covers `number` characters from the start (from the end with `reverse_order`), or all of them where it is 0.

    A negative number covers all but so many: all but the last, or all but the first with `reverse_order`. Characters in
    `ignore` stay and do not count. A character is a Unicode code point.
    A value that has no more to cover than a negative number leaves open comes back as it was, as DLP does it: who needs a
    change compares.

    Takes any value. Text, dates and booleans answer str. A number answers a number where the covered text still is one
    (the character is a digit, which it is by default for numbers; leading zeros go), else str; None where such a number
    would not fit 64 bits.

    Interchangeable with DLP: the answers are the same, by the examples of its reference; a mask is no token.

    character: one character, or "" for DLP's default: * over text, 0 over numbers.
    """

    character: str = ""
    number: int = 0
    reverse_order: bool = False
    ignore: str = ""
    deterministic = True

    def __call__(
        self, values: Sequence[Value], contexts: Sequence[str | int | None] | None = None, info_type: str = ""
    ) -> list[Value | None]:
        over_text, over_number = self._cover(self.character or "*"), self._cover(self.character or "0")
        return [
            over_text(v) if isinstance(v, str)
            else _number(v, over_number) if isinstance(v, (int, float)) and not isinstance(v, bool)
            else over_text(text_of(v))
            for v in values
        ]

    def _cover(self, character: str) -> Callable[[str], str]:
        number, from_end = self.number, self.reverse_order
        if self.ignore:
            return self._cover_some(character)
        if number == 0:
            return lambda text: character * len(text)
        if from_end:
            def cover(text: str) -> str:
                covered = max(len(text) + number, 0) if number < 0 else min(number, len(text))
                return text[: len(text) - covered] + character * covered
        else:
            def cover(text: str) -> str:
                covered = max(len(text) + number, 0) if number < 0 else min(number, len(text))
                return character * covered + text[covered:]
        return cover

    def _cover_some(self, character: str) -> Callable[[str], str]:
        ignored, number, from_end = frozenset(self.ignore), self.number, self.reverse_order
        # ASCII is written out: __missing__ costs a call for each character
        table = _Covered({at: character for at in range(128)} | {ord(c): c for c in self.ignore}, character)

        # A negative number counts, from the other end, what stays open
        forward, some = (number > 0) != from_end, abs(number)

        def cover(text: str) -> str:
            if number == 0:
                return text.translate(table)
            left, cut = some, len(text) if forward else 0
            for at in range(len(text)) if forward else range(len(text) - 1, -1, -1):
                left -= text[at] not in ignored
                if not left:
                    cut = at + forward
                    break
            return text[:cut] + text[cut:].translate(table) if from_end else text[:cut].translate(table) + text[cut:]

        return cover


class _Covered(dict[int, str]):
    """A table for str.translate: what it does not name is covered. It remembers no answer: a text may hold anything."""

    def __init__(self, stay: dict[int, str], character: str) -> None:
        super().__init__(stay)
        self._character = character

    def __missing__(self, code_point: int) -> str:
        return self._character


def _number(value: int | float, cover: Callable[[str], str]) -> Value | None:
    covered = cover(text_of(value))
    if isinstance(value, int) and re.fullmatch(r"-?[0-9]+", covered):
        number = int(covered)
        return number if -(1 << 63) <= number < 1 << 63 else None
    if isinstance(value, float) and re.fullmatch(r"-?[0-9]+(\.[0-9]+)?(e-?[0-9]+)?", covered):
        number_with_point = float(covered)
        return number_with_point if number_with_point - number_with_point == 0 else None
    return covered
