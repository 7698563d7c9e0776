"""cryptoReplaceFfxFpeConfig: a token of the same length over the same alphabet."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from transforms.operators import ff1
from transforms.operators.context import tweaks_of
from transforms.operators.operator import Value
from transforms.operators.surrogate import mark, unmark

NATIVE = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz ~`!@#$%^&*()_-+={[}]|\\:;\"'<,>.?/"
"""The 95 characters of DLP's alphabets; the first `radix` of them are the alphabet of a radix."""
COMMON = {"NUMERIC": NATIVE[:10], "HEXADECIMAL": NATIVE[:16], "UPPER_CASE_ALPHA_NUMERIC": NATIVE[:36],
          "ALPHA_NUMERIC": NATIVE[:62]}
LONGEST = 4096
"""Characters. A longer value is no identifier, and its arithmetic grows with the square of the length."""
_SMALLEST_DOMAIN = 100  # radix ** length, SP 800-38G section 5.1
_FOREIGN = 255


@dataclass(frozen=True)
class Fpe:
    """FF1 (NIST SP 800-38G) with the context as tweak, the empty tweak without one.

    Takes str and int, answers str; the empty string stays empty. None for a value with a character outside the alphabet,
    shorter than 2 or longer than LONGEST characters, or one of fewer than 100 possible values of its length.

    Interchangeable with DLP: yes under the same raw key, for the common alphabets and a radix, where no context is set
    (checked against DLP's published value). With a context the tweak is built as the REST page says, of which no value
    is published. A custom alphabet is put in the order of NATIVE, as "the order does not matter" there; unproven too.

    alphabet: 2 to 95 distinct characters of NATIVE; key: 16, 24 or 32 bytes; surrogate: name of the infoType that marks a
    token, or "".
    """

    alphabet: str
    key: bytes = field(repr=False)
    surrogate: str = ""
    deterministic: bool = True

    @property
    def reversible(self) -> bool:
        return self.deterministic  # a transient key is gone when the tokens are read

    def __call__(
        self, values: Sequence[Value], contexts: Sequence[str | int | None] | None = None, info_type: str = ""
    ) -> list[Value | None]:
        texts = [v if type(v) is str else str(v) if type(v) is int else None for v in values]
        tokens = self._permute(texts, contexts, forward=True)
        if not self.surrogate:
            return [*tokens]
        return [mark(t, self.surrogate) if t else t for t in tokens]

    def reverse(
        self, tokens: Sequence[str], contexts: Sequence[str | int | None] | None = None, info_type: str = ""
    ) -> list[str | None]:
        """Any text over the alphabet is a token: FPE has no room for a check, so a wrong key answers a wrong value."""
        bare = [unmark(t, self.surrogate) if t else t for t in tokens]
        return self._permute(bare, contexts, forward=False)

    def _permute(
        self, texts: Sequence[str | None], contexts: Sequence[str | int | None] | None, forward: bool
    ) -> list[str | None]:
        radix = len(self.alphabet)
        shortest = next(n for n in range(2, 8) if radix**n >= _SMALLEST_DOMAIN)
        answers: list[str | None] = ["" if text == "" else None for text in texts]
        groups: dict[tuple[int, int], tuple[list[int], list[str], list[bytes]]] = {}
        for at, (text, tweak) in enumerate(zip(texts, tweaks_of(contexts, len(texts)), strict=True)):
            if text and tweak is not None and shortest <= len(text) <= LONGEST and text.isascii():
                group = groups.setdefault((len(text), len(tweak)), ([], [], []))
                group[0].append(at)
                group[1].append(text)
                group[2].append(tweak)
        digit_of = np.full(128, _FOREIGN, np.uint8)
        characters = np.frombuffer(self.alphabet.encode("ascii"), np.uint8)
        digit_of[characters] = np.arange(radix, dtype=np.uint8)
        for (length, width), (places, group_texts, group_tweaks) in groups.items():
            digits = digit_of[np.frombuffer("".join(group_texts).encode("ascii"), np.uint8)].reshape(-1, length)
            tweaks = np.frombuffer(b"".join(group_tweaks), np.uint8).reshape(-1, width) if width else \
                np.zeros((len(places), 0), np.uint8)
            native = (digits != _FOREIGN).all(axis=1)
            if not native.all():
                digits, tweaks = digits[native], tweaks[native]
                places = [p for p, good in zip(places, native.tolist(), strict=True) if good]
            changed = characters[ff1.permute(self.key, radix, digits, tweaks, forward)].tobytes().decode("ascii")
            for row, place in enumerate(places):
                answers[place] = changed[row * length : (row + 1) * length]
        return answers
