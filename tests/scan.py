"""Looks for secrets in bytes, however they are written: in clear, in another letter case, in pieces, encoded, packed."""

import base64
import binascii
import bz2
import io
import json
import re
import sqlite3
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SHORTEST = 8  # bytes of a needle: shorter ones stand everywhere by chance
_BITS = 22
_MIX = np.uint64(0x9E3779B97F4A7C15)
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{24,}={0,2}")
_DEEPEST = 4


def forms(secret: str | bytes) -> set[bytes]:
    """A text, or a key, as it may stand in an output, in lower case: a scan ignores case."""
    plain = secret.encode() if isinstance(secret, str) else secret
    found = {plain, plain.hex().encode(), "".join(f"\\x{b:02x}" for b in plain).encode(), repr(plain)[2:-1].encode()}
    if isinstance(secret, str):
        found |= {quote(secret, safe="").encode(), quote_plus(secret).encode(), secret.encode("utf-16-le"), secret.encode("utf-16-be"),
                  json.dumps(secret)[1:-1].encode(), "".join(f"\\u{ord(c):04x}" for c in secret).encode()}
    for shift in range(3):  # what stands before the secret decides where its bits fall
        text = base64.b64encode(b"\0" * shift + plain)
        inner = text[-(-shift * 8 // 6):(shift + len(plain)) * 8 // 6]
        found |= {inner, inner.translate(bytes.maketrans(b"+/", b"-_"))}
    return {f.lower() for f in found if len(f) >= SHORTEST}


def pieces(secret: str | bytes) -> set[str | bytes]:
    """The secret, its letters and digits alone, and its halves where they are long enough to be known again."""
    if isinstance(secret, bytes):
        return {secret, secret[:len(secret) // 2], secret[len(secret) // 2:]}
    bare = "".join(c for c in secret if c.isalnum())
    half = len(secret) // 2
    return {secret, bare if len(bare) > SHORTEST else secret, *((secret[:half], secret[half:]) if half > SHORTEST else ())}


class Scan:
    """Finds secrets, given as label -> secret. A piece that several secrets share tells none of them and is left out."""

    def __init__(self, secrets: Mapping[str, str | bytes]) -> None:
        shared = Counter(p for secret in secrets.values() for p in pieces(secret))
        self._needles: dict[bytes, list[tuple[bytes, str]]] = {}
        for label, secret in secrets.items():
            for piece in pieces(secret):
                for form in forms(piece) if shared[piece] == 1 else ():
                    self._needles.setdefault(form[:SHORTEST], []).append((form, label))
        self._known = np.zeros(1 << _BITS, bool)
        self._known[_hashes(b"".join(self._needles))[::SHORTEST]] = True

    def of(self, outputs: Mapping[str, bytes]) -> set[tuple[str, str]]:
        """(name of an output, label of a secret in it) for all there are."""
        return {(name, label) for name, content in outputs.items() for view in views(content) for label in self.labels(view)}

    def labels(self, content: bytes) -> set[str]:
        """The secrets that stand in these bytes. Linear: eight bytes at each place are looked up at once."""
        text = content.lower()
        if len(text) < SHORTEST:
            return set()
        return {label for at in np.flatnonzero(self._known[_hashes(text)]).tolist()
                for needle, label in self._needles.get(text[at:at + SHORTEST], ()) if text.startswith(needle, at)}


def _hashes(text: bytes) -> "np.typing.NDArray[np.uint64]":
    """A number below 1 << _BITS for the eight bytes at each place."""
    windows = np.lib.stride_tricks.sliding_window_view(np.frombuffer(text, np.uint8), SHORTEST)
    hashes: np.typing.NDArray[np.uint64] = (np.ascontiguousarray(windows).view("<u8").ravel() * _MIX) >> np.uint64(64 - _BITS)
    return hashes


def views(content: bytes, depth: int = 0) -> Iterator[bytes]:
    """The bytes, and what is packed in them: the values of Parquet and SQLite, gzip, zlib, bz2, and base64 of any of them."""
    yield content
    if depth == _DEEPEST:
        return
    inside: Iterable[bytes] = ()
    if b"PAR1" in content[:2_000]:  # of an upload, some lines stand before it
        inside = [_parquet(content[content.index(b"PAR1"):content.rindex(b"PAR1") + 4])]
    elif content.startswith(b"SQLite format 3"):
        inside = [_sqlite(content)]
    elif packed := _unpacked(content):
        inside = [packed]
    else:
        inside = filter(None, map(_decoded, _BASE64.findall(content)))
    for each in inside:
        yield from views(each, depth + 1)


def _parquet(content: bytes) -> bytes:
    try:
        table = pq.read_table(io.BytesIO(content))
    except (pa.ArrowInvalid, OSError):  # it was copied while it was being written
        return b""
    return _joined(value for column in table.columns for value in column.to_pylist())


def _sqlite(content: bytes) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "copy"
        path.write_bytes(content[:18] + b"\1\1" + content[20:])  # no longer in WAL mode: there is no such file beside the copy
        connection = sqlite3.connect(path)
        try:
            tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            return _joined(value for table in tables for row in connection.execute(f'SELECT * FROM "{table}"') for value in row)
        except sqlite3.DatabaseError:  # it was copied while it was being written
            return b""
        finally:
            connection.close()


def _joined(values: Iterable[object]) -> bytes:
    return b"\n".join(v if isinstance(v, bytes) else str(v).encode("utf-8", "surrogatepass") for v in values)


def _unpacked(content: bytes) -> bytes | None:
    try:
        if content.startswith(b"BZh"):
            return bz2.decompress(content)
        if content.startswith((b"\x1f\x8b", b"\x78\x9c", b"\x78\xda", b"\x78\x01")):
            return zlib.decompressobj(47).decompress(content)
    except (OSError, ValueError, zlib.error):
        pass
    return None


def _decoded(text: bytes) -> bytes | None:
    """What is packed behind base64; text behind it is found by its form."""
    plain = text.rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
    try:
        return _unpacked(base64.b64decode(plain + b"=" * (-len(plain) % 4)))
    except binascii.Error:
        return None
