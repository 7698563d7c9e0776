"""The private key that opens failures, where it lives in Cloud KMS: it never leaves it, and KMS keeps account of who asks.

An asymmetric key for decryption, RSA_DECRYPT_OAEP_3072_SHA256 (cloud.google.com/kms/docs/encrypt-decrypt-rsa), asked with
checksums both ways (cloud.google.com/kms/docs/data-integrity-guidelines). What passes is data keys, never rows.
"""

from typing import cast

import google_crc32c
from google.api_core import exceptions
from google.cloud.kms_v1 import AsymmetricDecryptRequest, KeyManagementServiceClient
from google.cloud.kms_v1.services.key_management_service.transports import KeyManagementServiceGrpcTransport

from pipelines.private_key import Unanswered
from schemas.errors import Fault, Misconfigured
from transforms import channel
from transforms.channel import Service
from transforms.seal import Unwrap

_KMS = Service(KeyManagementServiceClient, KeyManagementServiceGrpcTransport, "cloudkms.googleapis.com", "cloudkms.europe-west1.rep.googleapis.com", 8087,
               "--kms_endpoint", "roles/cloudkms.cryptoKeyDecrypter", "data keys")
_SIZES = (256, 384, 512)  # bytes that RSA of 2048, 3072 and 4096 bits wraps to
_TRIES = 3  # of a call whose checksums do not fit
_WRONG = {  # what mends itself never
    exceptions.PermissionDenied: ("may not be used by this account", "grant it roles/cloudkms.cryptoKeyDecrypter on the key"),
    exceptions.Unauthenticated: ("may not be used without credentials", "run as a service account with roles/cloudkms.cryptoKeyDecrypter"),
    exceptions.NotFound: ("is not there", "check the name: it ends in /cryptoKeyVersions/N"),
    exceptions.FailedPrecondition: ("is disabled, destroyed, or no key for decryption", "enable that version, or give another one"),
}


def unwrapper(version: str, endpoint: str = "", seconds: float = 60.0) -> Unwrap:
    """The function that unwraps a data key by this version of a key. endpoint: "" (the global one), HOST or HOST:PORT.

    It raises ValueError for what the key does not open, Misconfigured where the key cannot be used at all, and Unanswered
    where KMS did not answer within so many seconds.
    """
    client = connect(endpoint)
    again = channel.again(seconds)

    def unwrap(wrapped: bytes) -> bytes:
        if len(wrapped) not in _SIZES:
            raise ValueError("no wrapped key")
        request = AsymmetricDecryptRequest(name=version, ciphertext=wrapped, ciphertext_crc32c=google_crc32c.value(wrapped))
        for _ in range(_TRIES):
            try:
                answer = client.asymmetric_decrypt(request, retry=again, timeout=min(seconds, 10.0))
            except exceptions.InvalidArgument:
                raise ValueError("another key wrapped it") from None
            except tuple(_WRONG) as error:
                problem, remedy = _WRONG[type(error)]
                raise Misconfigured([Fault("--private_key", f"the key {problem}", remedy)]) from None
            except (exceptions.GoogleAPICallError, exceptions.RetryError) as error:
                raise Unanswered(f"Cloud KMS did not answer: {type(error).__name__}") from None
            if answer.verified_ciphertext_crc32c and answer.plaintext_crc32c == google_crc32c.value(answer.plaintext):
                return bytes(answer.plaintext)
        raise Unanswered("what Cloud KMS was sent, or what it answered, was damaged on the way")

    return unwrap


def connect(endpoint: str) -> KeyManagementServiceClient:
    """A client. Raises Misconfigured."""
    return cast(KeyManagementServiceClient, channel.connect(_KMS, endpoint))
