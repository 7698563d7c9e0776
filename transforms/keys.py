"""A folder of keys that stands for Cloud KMS where there is no cloud.

    DIR/master.key            32 random bytes: every data key is derived from it, as KMS would unwrap one
    DIR/failures.public.pem   seals refused rows; jobs read this half alone
    DIR/failures.private.pem  opens them; only `open` and `replay` read it

A template names a key as DLP takes it: a KMS key and the data key wrapped with it. Offline the wrapped key is not
unwrapped (only KMS can) but derived: HKDF-SHA256 (RFC 5869) over the master key, with the KMS key's name and the wrapped
bytes as info. Same folder, same template, same data key; another folder, another key.
"""

import hashlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from schemas.errors import Fault, Misconfigured

MASTER, PUBLIC, PRIVATE = "master.key", "failures.public.pem", "failures.private.pem"


def make(folder: Path) -> None:
    """Makes a new key folder (mode 0700, files 0600). Raises Misconfigured where one stands already."""
    if (folder / MASTER).exists() or (folder / PRIVATE).exists():
        raise Misconfigured([Fault(str(folder), "holds keys already", "give another folder; keys are never overwritten")])
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    # RSA 3072 with SHA-256 is what Cloud KMS offers as RSA_DECRYPT_OAEP_3072_SHA256, so the private half may live there.
    private = rsa.generate_private_key(public_exponent=65537, key_size=3072)
    _write(folder / PRIVATE, private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    _write(folder / PUBLIC, private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    _write(folder / MASTER, secrets.token_bytes(32))  # last: a folder with a master key is whole


def _write(path: Path, content: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


@dataclass(frozen=True)
class Keys:
    """A key folder by its path; what it holds is read on use, so that no key rides in a pickled pipeline."""

    folder: str

    def master(self) -> bytes:
        """32 bytes. Raises Misconfigured where the folder holds none."""
        try:
            return (Path(self.folder) / MASTER).read_bytes()
        except OSError:
            raise Misconfigured([Fault(f"--keys={self.folder}", "holds no master.key", "make a key folder with `penstock keys DIR`")]) from None

    def derive(self, purpose: str, size: int = 32) -> bytes:
        """A key of `size` bytes for one purpose (HKDF-SHA256, RFC 5869)."""
        return HKDF(algorithm=hashes.SHA256(), length=size, salt=None, info=purpose.encode()).derive(self.master())

    def unwrap(self, crypto_key_name: str, wrapped_key: bytes, size: int) -> bytes:
        """The data key (`size` bytes) that stands for this wrapped key; see the module's text."""
        return self.derive(f"kms\x00{crypto_key_name}\x00{wrapped_key.hex()}", size)

    def public_pem(self) -> bytes:
        """The public half that seals failures. Raises Misconfigured where the folder holds none."""
        try:
            return (Path(self.folder) / PUBLIC).read_bytes()
        except OSError:
            raise Misconfigured([Fault(f"--keys={self.folder}", f"holds no {PUBLIC}", "make a key folder with `penstock keys DIR`")]) from None


def name_of(public_pem: bytes) -> str:
    """A short name for a public key: the first 16 hex digits of the SHA-256 of its DER form."""
    der = serialization.load_pem_public_key(public_pem).public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()[:16]
