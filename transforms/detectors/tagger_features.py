"""What the tagger reads in a text: words, their shapes, affixes and word lists, as 32-bit keys.

Training (benchmarks/tagger) and inference (tagger.py) share this file: a change here asks for a new model.
"""

import re
import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

REACH = 3  # how many words to each side a word is seen from
OFFSETS = tuple(range(-REACH, REACH + 1))

Keys = npt.NDArray[np.uint32]

_WORD = re.compile(r"['\u2019](?:s|m|re|ve|ll|d|t)\b|[^\W\d_]+|\d+|\n|[^\w\s]|_", re.IGNORECASE)
_WORD_OR_ADDRESS = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]*\w|(?:https?://|www\.)[^\s,;)\"'>]+|" + _WORD.pattern, re.IGNORECASE)
_MULTIPLIERS = np.array([0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D], np.uint32)

# Which words are read together: (W: the word itself, C: its class, that is shape and word lists) at an offset.
TOGETHER = (
    (("W", -1), ("W", 0)), (("W", 0), ("W", 1)), (("C", -1), ("C", 0)), (("C", 0), ("C", 1)), (("W", -1), ("C", 0)),
    (("C", 0), ("W", 1)), (("W", -2), ("W", -1)), (("W", 1), ("W", 2)), (("C", -1), ("C", 1)),
    (("C", -2), ("C", -1), ("C", 0)), (("C", -1), ("C", 0), ("C", 1)), (("C", 0), ("C", 1), ("C", 2)),
    (("W", -2), ("W", -1), ("C", 0)), (("C", 0), ("W", 1), ("W", 2)), (("W", -1), ("C", 0), ("W", 1)),
    (("W", -1), ("C", 0), ("C", 1)), (("C", -1), ("C", 0), ("W", 1)),
)


def words(text: str) -> "re.Pattern[str]":
    """The pattern that cuts this text into words; the slower one only where an e-mail address or a URL may stand."""
    return _WORD_OR_ADDRESS if "@" in text or "://" in text or "www." in text else _WORD


def key(feature: str) -> int:
    """The 32-bit key of a feature's name (CRC-32; the name itself is not stored)."""
    return zlib.crc32(feature.encode("utf-8", "replace"))


def case(text: str) -> str:
    """How a text is written: "y" without capitals, "Y" in capitals, "" as usual. In the first two a word's case says nothing."""
    return "y" if text.islower() else "Y" if text.isupper() else ""


def shape(word: str, written: str) -> str:
    """What a word looks like, as one short code; numbers by what they may be (hour, day, year, length). written: as case() says."""
    first, size = word[0], len(word)
    if first.isdigit():
        if size <= 2 and word.isdecimal():
            value = int(word)
            return "n0" if value <= 12 else "n1" if value <= 31 else "n2"
        return "ny" if size == 4 and word[:2] in ("19", "20") else f"n{min(size, 9)}"
    if size > 1 and "@" in word:
        return "@"
    if word[:4].lower() in ("http", "www."):
        return "://"
    if not first.isalpha():
        return word if size == 1 else "'s"
    if written:
        return written if size > 1 else written + "1"
    if word.islower():
        return "x" if size > 1 else "x1"
    if word.isupper():
        return ("X1", "X2", "X3")[size - 1] if size <= 3 else "XX"
    return "Xx" if first.isupper() and word[1:].islower() else "XxX" if first.isupper() else "xX"


def features(word: str, written: str, lists: Sequence[Keys]) -> tuple[dict[int, list[str]], str, str]:
    """What one word says: {offset of the reader: feature names}, the word as read (lower case, numbers by length), its class."""
    word = word[:40]
    look, low = shape(word, written), word.lower()
    member = ""
    if look in ("@", "://"):
        low = look
    elif look[0] == "n" and len(look) > 1 and look not in ("n0", "n1", "n2", "ny"):
        low = f"#{look}"
    elif low[0].isalpha() and len(low) > 1:
        own = np.uint32(key(low))
        for code, listed in zip("abcdefghijklmnopqrstuvwxyz", lists):
            at = int(listed.searchsorted(own))
            if at < len(listed) and listed[at] == own:
                member += code
    kind = f"{look}|{member}"
    seen = {0: ["b", "h" + look, "c" + kind, "w" + low, *("g" + m for m in member)]}
    if low[0].isalpha() and len(low) > 1:
        marked = f"<{low}>"
        seen[0] += ["p" + low[:2], "P" + low[:3], "Q" + low[:4], "s" + low[-2:], "S" + low[-3:], "T" + low[-4:],
                    f"k{look}{low[-2:]}", f"m{member}{low[-3:]}", f"L{min(len(low), 12)}{look}"]
        seen[0] += sorted({"3" + marked[i:i + 3] for i in range(len(marked) - 2)})
    for offset in (-2, -1, 1, 2):
        seen[offset] = [f"{offset}{f}" for f in ("h" + look, "c" + kind, "w" + low, *("g" + m for m in member))]
    for offset in (-1, 1):
        seen[offset] += [f"{offset}S{low[-3:]}", f"{offset}P{low[:3]}"]
    for offset in (-3, 3):
        seen[offset] = [f"{offset}w{low}"]
    return seen, low, kind


def together(word_keys: Keys, class_keys: Keys, number: int) -> Keys:
    """Keys of the features that read several words together, by TOGETHER[number]; REACH paddings on both sides are consumed."""
    size = len(word_keys) - 2 * REACH
    mixed = np.full(size, (number * 0x27D4EB2F + 0x165667B1) & 0xFFFFFFFF, np.uint32)
    for place, (what, offset) in enumerate(TOGETHER[number]):
        source = word_keys if what == "W" else class_keys
        mixed = (mixed ^ (source[REACH + offset:REACH + offset + size] + np.uint32(place))) * _MULTIPLIERS[place]
        mixed ^= mixed >> np.uint32(15)
    return mixed
