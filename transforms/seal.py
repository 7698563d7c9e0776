"""Seal: refused rows so that the job which writes them cannot read them.

Each batch gets a fresh AES-256-GCM data key, wrapped by RSA-OAEP (SHA-256, RFC 8017) with a public key; the private half
opens it, from a file or in Cloud KMS (RSA_DECRYPT_OAEP_3072_SHA256). A sealed row is

    "PS1" | length of the wrapped key (2 bytes, big endian) | wrapped key | nonce (12 bytes) | ciphertext and tag

and is bound to its run, stage, reason and origin (additional data), so that it cannot be passed off as another's.
"""

import secrets
from collections.abc import Callable, Iterator

import apache_beam as beam
import pyarrow as pa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from schemas.arrow import arrow_schema
from schemas.tables import FAILURES
from transforms.keys import name_of
from transforms.run_id import RunId, told

SCHEMA = arrow_schema(FAILURES)
_MAGIC = b"PS1"
_OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)


class NotOurs(Exception):
    """A sealed row that this key does not open."""


def seal(refused: pa.RecordBatch, run: str, public_pem: bytes) -> pa.RecordBatch:
    """REFUSED rows as rows of the failures table (schemas.tables.FAILURES)."""
    public = serialization.load_pem_public_key(public_pem)
    if not isinstance(public, rsa.RSAPublicKey):
        raise TypeError("the public key that seals failures is not an RSA key")
    data_key = secrets.token_bytes(32)
    wrapped = public.encrypt(data_key, _OAEP)
    head = _MAGIC + len(wrapped).to_bytes(2, "big") + wrapped
    cipher = AESGCM(data_key)
    sealed = []
    for row in refused.select(["stage", "reason", "origin", "row"]).to_pylist():
        nonce = secrets.token_bytes(12)
        sealed.append(None if row["row"] is None else
                      head + nonce + cipher.encrypt(nonce, row["row"], _bound(run, row["stage"], row["reason"], row["origin"])))
    rows = refused.num_rows
    columns = {name: refused[name] for name in ("stage", "reason", "field", "origin", "attempt", "d")}
    columns |= {"run": pa.array([run] * rows), "sealed": pa.array(sealed, pa.binary()), "key": pa.array([name_of(public_pem)] * rows)}
    return pa.RecordBatch.from_arrays([columns[name] for name in SCHEMA.names], schema=SCHEMA)


Unwrap = Callable[[bytes], bytes]


def private_key(pem: bytes) -> Unwrap:
    """The function that unwraps a data key with a private key in PEM. Raises ValueError where it is not one."""
    private = serialization.load_pem_private_key(pem, None)
    if not isinstance(private, rsa.RSAPrivateKey):
        raise ValueError("not an RSA private key")
    return lambda wrapped: private.decrypt(wrapped, _OAEP)


def unseal(sealed: bytes, run: str, stage: str, reason: str, origin: str, unwrap: Unwrap) -> bytes:
    """The row as it was read. Raises NotOurs where the key, the row or what it is bound to does not fit."""
    size = int.from_bytes(sealed[3:5], "big")
    wrapped, nonce, ciphertext = sealed[5:5 + size], sealed[5 + size:17 + size], sealed[17 + size:]
    if not sealed.startswith(_MAGIC) or len(ciphertext) < 16:
        raise NotOurs
    try:
        return AESGCM(unwrap(wrapped)).decrypt(nonce, ciphertext, _bound(run, stage, reason, origin))
    except (InvalidTag, ValueError):
        raise NotOurs from None


def _bound(*parts: str) -> bytes:
    return b"\x1f".join(part.encode() for part in parts)


class Seal(beam.PTransform):
    """REFUSED batches to batches of the failures table. Holds the public half alone."""

    def __init__(self, run: RunId, public_pem: bytes) -> None:
        super().__init__()
        self.run, self.public_pem = run, public_pem

    def expand(self, refused: beam.PCollection[pa.RecordBatch]) -> beam.PCollection[pa.RecordBatch]:
        return refused | "Encrypt" >> beam.ParDo(_SealFn(self.run, self.public_pem)).with_output_types(pa.RecordBatch)


class _SealFn(beam.DoFn):
    def __init__(self, run: RunId, public_pem: bytes) -> None:
        self.run, self.public_pem = run, public_pem

    def process(self, refused: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        yield seal(refused, told(self.run), self.public_pem)
