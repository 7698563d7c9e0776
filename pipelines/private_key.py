"""The private key that opens failures: a file, or a key version of Cloud KMS."""

import re
from collections import OrderedDict
from pathlib import Path

from schemas.errors import Fault, Misconfigured, Transient
from transforms.seal import Unwrap, private_key

VERSION = re.compile(r"projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+/cryptoKeyVersions/[0-9]+")
_KEPT = 10_000  # data keys: each seals a batch of rows, and asking for one takes milliseconds


class Unanswered(Transient):
    """Nobody answered whether the key opens something. Its text holds no data."""


def opener(given: str, kms_endpoint: str = "") -> Unwrap:
    """What unwraps data keys. given: a path, or projects/.../cryptoKeyVersions/N. Raises Misconfigured."""
    if given.startswith("projects/") and not Path(given).exists():
        if not VERSION.fullmatch(given):
            raise Misconfigured([Fault("--private_key", "is no key version", "give projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/N")])
        from pipelines import kms  # takes a second to import

        return Remembered(kms.unwrapper(given, kms_endpoint))
    try:
        return Remembered(private_key(Path(given).read_bytes()))
    except OSError:
        problem = "cannot be read"
    except (ValueError, TypeError):
        problem = "is not an RSA private key in PEM"
    raise Misconfigured([Fault("--private_key", problem, "give failures.private.pem of the key folder, or a key version of Cloud KMS")])


class Remembered:
    """Asks once for each wrapped key, also where it is not opened; the latest are kept, in the memory of this process alone."""

    def __init__(self, unwrap: Unwrap, kept: int = _KEPT) -> None:
        self._unwrap, self._most = unwrap, kept
        self._known: OrderedDict[bytes, bytes | None] = OrderedDict()

    def __call__(self, wrapped: bytes) -> bytes:
        """Raises ValueError where the key does not open it, and what the other raises."""
        if wrapped not in self._known:
            try:
                self._known[wrapped] = self._unwrap(wrapped)
            except ValueError:
                self._known[wrapped] = None
            if len(self._known) > self._most:
                self._known.popitem(last=False)
        found = self._known[wrapped]
        if found is None:
            raise ValueError("another key wrapped it")
        return found
