"""Tokens that DLP gave already, so that a value that comes again is not sent again.

For keyed deterministic transformations alone (layout.Group.lasting). In memory alone: the values are not kept, only an
HMAC-SHA-256 of them under a key that is drawn when the process starts, and the tokens as they are stored anyway.
"""

import hmac
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable

import numpy as np

from transforms.engines.cells import as_text
from transforms.engines.combinations import Combinations, Numbers
from transforms.engines.packing import Answers
from transforms.operators.operator import Value

_Kept = tuple[float, tuple[Value | None, ...]]


class Memo:
    """most: entries, the least recently used leave first; seconds: how long one is believed; clock: seconds, monotonic."""

    def __init__(self, most: int, seconds: float, clock: Callable[[], float]) -> None:
        self._most, self._seconds, self._clock = most, seconds, clock
        self._key, self._lock = secrets.token_bytes(32), threading.Lock()
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def recall(self, combinations: Combinations, answers: Answers) -> Numbers:
        """Fills in what is known; the combinations that are not."""
        if not combinations.group.lasting or not self._most:
            return np.arange(len(combinations))
        names, now, unknown = combinations.group.transformed, self._clock(), []
        digests = self._digests(combinations, range(len(combinations)))
        with self._lock:
            for combination, digest in enumerate(digests):
                kept = self._kept.get(digest)
                if kept is None or kept[0] <= now:
                    unknown.append(combination)
                    continue
                self._kept.move_to_end(digest)
                for name, value in zip(names, kept[1], strict=True):
                    answers.values[name][combination] = value
        return np.array(unknown, np.int64)

    def keep(self, combinations: Combinations, answers: Answers, asked: Numbers) -> None:
        """Keeps the answers to what was asked and is not refused."""
        if not combinations.group.lasting or not self._most:
            return
        proven = [c for c in asked.tolist() if c not in answers.refused]
        names, until = combinations.group.transformed, self._clock() + self._seconds
        digests = self._digests(combinations, proven)
        with self._lock:
            for combination, digest in zip(proven, digests, strict=True):
                self._kept[digest] = (until, tuple(answers.values[name][combination] for name in names))
                self._kept.move_to_end(digest)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)

    def _digests(self, combinations: Combinations, wanted: Iterable[int]) -> list[bytes]:
        names = combinations.group.columns
        columns = [as_text(combinations.cells[name]).to_pylist() for name in names]
        head = "\x00".join(names)
        # A length before each text, so that no two combinations are written alike.
        written = ("\x00".join([head, *("-" if c[i] is None else f"{len(c[i])}:{c[i]}" for c in columns)]) for i in wanted)
        return [hmac.digest(self._key, text.encode("utf-8", "surrogatepass"), "sha256") for text in written]
