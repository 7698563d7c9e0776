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
        counted = re.compile(f"[^{re.escape(self.ignore)}]", re.DOTALL)
        number, from_end = self.number, self.reverse_order
        written = character.replace("\\", "\\\\")

        def cover(text: str) -> str:
            if number == 0:
                return counted.sub(written, text)
            covered = number if number > 0 else len(counted.findall(text)) + number
            if covered <= 0:
                return text
            if from_end:
                return counted.sub(written, text[::-1], count=covered)[::-1]
            return counted.sub(written, text, count=covered)

        return cover


def _number(value: int | float, cover: Callable[[str], str]) -> Value | None:
    covered = cover(text_of(value))
    if isinstance(value, int) and re.fullmatch(r"-?[0-9]+", covered):
        number = int(covered)
        return number if -(1 << 63) <= number < 1 << 63 else None
    if isinstance(value, float) and re.fullmatch(r"-?[0-9]+(\.[0-9]+)?(e-?[0-9]+)?", covered):
        number_with_point = float(covered)
        return number_with_point if number_with_point - number_with_point == 0 else None
    return covered
