"""cryptoDeterministicConfig: a token of any value, the same for the same value and context."""

from binascii import Error as NotBase64
from binascii import a2b_base64, b2a_base64
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from transforms.operators.context import tweaks_of
from transforms.operators.operator import Value
from transforms.operators.surrogate import mark, unmark
from transforms.operators.values import bytes_of

_VERSION = b"\x01"
_SIV = 16  # bytes


@dataclass(frozen=True)
class Token:
    """AES-SIV (RFC 5297): base64 of 0x01, the synthetic IV (16 bytes) and the ciphertext, as long as the value's UTF-8.

    Takes any value and answers str; `reverse` answers the value's text. The context is associated data in the encoding of
    `context.tweak_of`, none where it is not set or null. None only for an integer context beyond 64 bits.

    Interchangeable with DLP: no. The token has the same form and length, but how DLP expands a key to 64 bytes and how it
    frames a context is not published.

    key: at least 16 bytes, expanded to 64 (HKDF-Expand, RFC 5869), so that it is not the FPE key that a rule with the same
    wrapped key holds; surrogate: name of the infoType that marks a token, or "".
    """

    key: bytes = field(repr=False)
    surrogate: str = ""
    deterministic: bool = True

    @property
    def reversible(self) -> bool:
        return self.deterministic  # a transient key is gone when the tokens are read

    def _cipher(self) -> AESSIV:
        return AESSIV(HKDFExpand(hashes.SHA256(), 64, b"penstock cryptoDeterministic").derive(self.key))

    def __call__(
        self, values: Sequence[Value], contexts: Sequence[str | int | None] | None = None, info_type: str = ""
    ) -> list[Value | None]:
        encrypt, name = self._cipher().encrypt, self.surrogate
        plain = [v.encode("utf-8", "surrogatepass") if type(v) is str else bytes_of(v) for v in values]
        sealed: list[bytes | None]
        if contexts is None:
            sealed = [encrypt(p, None) for p in plain]
        else:
            tweaks = tweaks_of(contexts, len(values))
            sealed = [None if t is None else encrypt(p, [t] if t else None) for p, t in zip(plain, tweaks, strict=True)]
        tokens = [None if s is None else b2a_base64(_VERSION + s, newline=False).decode("ascii") for s in sealed]
        return [mark(t, name) if t else t for t in tokens] if name else [*tokens]

    def reverse(
        self, tokens: Sequence[str], contexts: Sequence[str | int | None] | None = None, info_type: str = ""
    ) -> list[str | None]:
        """None for what this key did not make under this context: a token carries its own proof."""
        cipher = self._cipher()
        return [
            _open(cipher, unmark(token, self.surrogate), tweak)
            for token, tweak in zip(tokens, tweaks_of(contexts, len(tokens)), strict=True)
        ]


def _open(cipher: AESSIV, token: str | None, tweak: bytes | None) -> str | None:
    if token is None or tweak is None or not token.isascii():
        return None
    try:
        sealed = a2b_base64(token)
    except NotBase64:
        return None
    # One spelling a token: a lenient reading would let two strings stand for one value.
    if sealed[:1] != _VERSION or len(sealed) < 1 + _SIV or b2a_base64(sealed, newline=False).decode("ascii") != token:
        return None
    try:
        return cipher.decrypt(sealed[1:], [tweak] if tweak else None).decode("utf-8", "surrogatepass")
    except InvalidTag:
        return None
