"""cryptoHashConfig: a keyed digest of the value."""

from binascii import b2a_base64
from collections.abc import Sequence
from dataclasses import dataclass, field

from transforms.operators.mac import hmac_sha256
from transforms.operators.oneway import OneWay
from transforms.operators.operator import Value


@dataclass(frozen=True)
class Hash(OneWay):
    """HMAC-SHA-256 (RFC 2104) of the value's UTF-8 text, as 44 characters of base64.

    Takes str and int, answers str; None for values of other types, which DLP does not hash either.

    Interchangeable with DLP: unproven, so take it as no. The form is the same; that DLP's "SHA-256 under a key" is HMAC
    over the UTF-8 text is likely, but no value is published.

    key: 32 or 64 bytes.
    """

    key: bytes = field(repr=False)
    deterministic: bool = True

    def __call__(
        self, values: Sequence[Value], contexts: Sequence[str | int | None] | None = None, info_type: str = ""
    ) -> list[Value | None]:
        mac = hmac_sha256(self.key)
        texts = [v if type(v) is str else str(v) if type(v) is int else None for v in values]
        return [
            None if text is None
            else b2a_base64(mac(text.encode("utf-8", "surrogatepass")), newline=False).decode("ascii")
            for text in texts
        ]
