"""A context as bytes: the value of another field of the row, which makes the same value another token elsewhere."""

from collections.abc import Sequence


def tweak_of(context: str | int | None) -> bytes | None:
    """DLP's encoding of a context for FPE, which we use for every transformation.

    An integer is 8 bytes, big endian, two's complement, and the byte 1; a string is UTF-8 and the byte 2; no context is no
    bytes. None where an integer does not fit 64 bits.
    https://cloud.google.com/sensitive-data-protection/docs/reference/rest/v2/organizations.deidentifyTemplates#cryptoreplaceffxfpeconfig
    """
    if context is None:
        return b""
    if isinstance(context, str):
        return context.encode("utf-8", "surrogatepass") + b"\x02"
    if not -(1 << 63) <= context < 1 << 63:
        return None
    return context.to_bytes(8, "big", signed=True) + b"\x01"


def tweaks_of(contexts: Sequence[str | int | None] | None, count: int) -> Sequence[bytes | None]:
    """One encoded context a value; `count` times no bytes where the rule names no context field."""
    return [b""] * count if contexts is None else [tweak_of(c) for c in contexts]
