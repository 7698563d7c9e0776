"""replaceDictionaryConfig: a word from a list."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from transforms.operators.mac import hmac_sha256
from transforms.operators.oneway import OneWay
from transforms.operators.operator import Value
from transforms.operators.values import bytes_of


@dataclass(frozen=True)
class Dictionary(OneWay):
    """Answers one of `words` for every value.

    With a key the word is chosen by HMAC-SHA-256 over a label, the words and the value, so that a day that is run again
    gives the same table; DLP's configuration has no place for a key, so it comes from elsewhere. Without one each draw is
    random, as DLP's are. Either way the word may be the value itself.

    Interchangeable with DLP: no, its draws are random.

    words: at least one; key: None or at least 16 bytes; below: n -> a number from 0 to n - 1, for draws without a key.
    """

    words: tuple[str, ...]
    key: bytes | None = field(default=None, repr=False)
    below: Callable[[int], int] = field(default=secrets.randbelow, repr=False)

    @property
    def deterministic(self) -> bool:
        return self.key is not None

    def __call__(
        self, values: Sequence[Value], contexts: Sequence[str | int | None] | None = None, info_type: str = ""
    ) -> list[Value | None]:
        words, count = self.words, len(self.words)
        if self.key is None:
            return [words[self.below(count)] for _ in values]
        # Keyed once more by the words: two lists must not pair up what one person was given in each.
        label = b"penstock replaceDictionary\x00" + "\x00".join(words).encode("utf-8", "surrogatepass")
        mac = hmac_sha256(hmac_sha256(self.key)(label))
        return [words[int.from_bytes(mac(bytes_of(v)), "big") % count] for v in values]
