"""A key folder's job half in Secret Manager, for workers that share no folder: projects/P/secrets/S/versions/N.

    {"master_key": base64 of 32 bytes, "failures_public_pem": PEM}

The private key that opens failures is no part of it. A pipeline carries the version's name alone; each process asks for the
payload when it first needs a key, and keeps it in memory. Versions never change, and `latest` is refused: under a running
job keys must stay as they are.
https://cloud.google.com/secret-manager/docs/access-secret-version
"""

import base64
import binascii
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import google_crc32c
from cryptography.hazmat.primitives import serialization
from google.api_core import exceptions
from google.cloud.secretmanager_v1 import SecretManagerServiceClient
from google.cloud.secretmanager_v1.services.secret_manager_service.transports import SecretManagerServiceGrpcTransport

from schemas.errors import Fault, Misconfigured, Transient
from transforms import channel
from transforms.channel import Service
from transforms.keys import MASTER, PUBLIC, Keys

VERSION = re.compile(r"projects/[^/]+/(locations/[^/]+/)?secrets/[A-Za-z0-9_-]{1,255}/versions/[0-9]+")
EMULATOR = "SECRET_MANAGER_EMULATOR_HOST"
_SECRETS = Service(SecretManagerServiceClient, SecretManagerServiceGrpcTransport, "secretmanager.googleapis.com",
                   "secretmanager.europe-west4.rep.googleapis.com", 8088, "--secrets_endpoint", "roles/secretmanager.secretAccessor", "keys", EMULATOR)
_SECONDS = 60.0
_WRONG = {  # what mends itself never
    exceptions.PermissionDenied: ("may not be read by this account", "grant it roles/secretmanager.secretAccessor on the secret"),
    exceptions.Unauthenticated: ("may not be read without credentials", "run as a service account with roles/secretmanager.secretAccessor"),
    exceptions.NotFound: ("is not there", "check the name: it ends in /versions/N"),
    exceptions.FailedPrecondition: ("is disabled or destroyed", "enable that version, or give another one"),
    exceptions.InvalidArgument: ("is no name that Secret Manager takes", "give projects/P/secrets/S/versions/N"),
}


class _Payload(NamedTuple):
    master: bytes
    public_pem: bytes


@dataclass(frozen=True)
class SecretKeys(Keys):
    """Keys of a secret's version; `folder` is its name.

    endpoint: "" for SECRET_MANAGER_EMULATOR_HOST where it is set, else the global one; HOST or HOST:PORT.
    """

    endpoint: str = ""

    def master(self) -> bytes:
        """32 bytes. Raises Misconfigured where the version cannot be read, Transient where Secret Manager did not answer."""
        return _payload(self.folder, self.endpoint).master

    def public_pem(self) -> bytes:
        """The public half that seals failures. Raises as master does."""
        return _payload(self.folder, self.endpoint).public_pem


def named(given: str) -> bool:
    """Whether --keys names a secret, rather than a folder."""
    return bool(re.match(r"projects/[^/]+/(locations/[^/]+/)?secrets/", given))


def open_secret(version: str, endpoint: str = "") -> SecretKeys:
    """The keys of a secret's version, read once to see that they are whole. Raises Misconfigured."""
    if not VERSION.fullmatch(version):
        raise Misconfigured([Fault(f"--keys={version}", "is no version of a secret",
                                   "give projects/P/secrets/S/versions/N with a number: `latest` may change under a running job")])
    found = SecretKeys(version, endpoint)
    try:
        found.master()
    except Transient as error:
        raise Misconfigured([Fault(f"--keys={version}", str(error), "check the network, and --secrets_endpoint")]) from None
    return found


def payload(folder: Path) -> bytes:
    """What a secret must hold so that jobs find the keys of this folder. Raises Misconfigured where the folder is not whole."""
    keys = Keys(str(folder))
    return json.dumps({"master_key": base64.b64encode(keys.master()).decode(), "failures_public_pem": keys.public_pem().decode()}).encode()


@lru_cache(maxsize=4)
def _payload(version: str, endpoint: str) -> _Payload:
    """A version's payload; asked once a process, for it never changes."""
    where = f"--keys={version}"
    try:
        answer = channel.connect(_SECRETS, endpoint).access_secret_version(name=version, retry=channel.again(_SECONDS), timeout=10.0).payload
    except tuple(_WRONG) as error:
        problem, remedy = _WRONG[type(error)]
        raise Misconfigured([Fault(where, problem, remedy)]) from None
    except (exceptions.GoogleAPICallError, exceptions.RetryError) as error:
        raise Transient(f"Secret Manager did not answer: {type(error).__name__}") from None
    if answer.data_crc32c != google_crc32c.value(answer.data):
        raise Transient("what Secret Manager answered was damaged on the way")
    try:
        content = json.loads(answer.data)
        found = _Payload(base64.b64decode(content["master_key"], validate=True), str(content["failures_public_pem"]).encode())
        serialization.load_pem_public_key(found.public_pem)
        if len(found.master) == 32 and content.keys() == {"master_key", "failures_public_pem"}:
            return found
    except (ValueError, TypeError, KeyError, binascii.Error):
        pass
    raise Misconfigured([Fault(where, f"does not hold {MASTER} and {PUBLIC} of a key folder, and nothing else",
                               "upload what `penstock keys DIR --secret=FILE` writes")])
