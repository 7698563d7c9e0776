"""Cloud KMS on this machine, over gRPC as Google's, as far as asymmetric decryption goes: python -m tests.kms_server --private_key=FILE

It enforces what the service enforces: the key's name, state and size, and the checksum of what it is sent; it answers with
checksums of its own, and goes wrong on request.
"""

import collections
from typing import Any

import google_crc32c
import grpc
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from google.cloud.kms_v1 import types

from tests import grpc_serving
from tests.grpc_serving import of_a_file

Code = grpc.StatusCode
SERVICE = "google.cloud.kms.v1.KeyManagementService"
VERSION = "projects/test-project/locations/global/keyRings/penstock/cryptoKeys/failures/cryptoKeyVersions/1"
UNVERIFIED, DAMAGED = "unverified", "damaged"


class Service:
    """One key version. calls: how often it was asked; faults: what befalls the next calls, each a status, UNVERIFIED (it did not
    look at the checksum sent) or DAMAGED (the answer is hurt on its way).
    """

    def __init__(self, pem: bytes, version: str = VERSION, enabled: bool = True) -> None:
        private = serialization.load_pem_private_key(pem, None)
        assert isinstance(private, rsa.RSAPrivateKey)
        self.private, self.version, self.enabled, self.calls = private, version, enabled, 0
        self.faults: collections.deque[Any] = collections.deque()

    def asymmetric_decrypt(self, request: types.AsymmetricDecryptRequest, context: grpc.ServicerContext) -> types.AsymmetricDecryptResponse:
        self.calls += 1
        fault = self.faults.popleft() if self.faults else None
        if isinstance(fault, grpc.StatusCode):
            context.abort(fault, "as asked")
        if request.name != self.version:
            context.abort(Code.NOT_FOUND, f"CryptoKeyVersion {request.name} not found.")
        if not self.enabled:
            context.abort(Code.FAILED_PRECONDITION, f"{self.version} is not enabled, current state is: DISABLED.")
        told = request.ciphertext_crc32c
        if told is not None and told != google_crc32c.value(request.ciphertext):
            context.abort(Code.INVALID_ARGUMENT, "The checksum in field ciphertext_crc32c did not match the data in field ciphertext.")
        if len(request.ciphertext) != self.private.key_size // 8:
            context.abort(Code.INVALID_ARGUMENT, f"ciphertext has {len(request.ciphertext)} bytes, {self.private.key_size // 8} expected.")
        try:
            plain = self.private.decrypt(request.ciphertext, padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None))
        except ValueError:
            context.abort(Code.INVALID_ARGUMENT, "Decryption failed: the ciphertext is invalid.")
        checksum = google_crc32c.value(plain)
        return types.AsymmetricDecryptResponse(
            plaintext=bytes([plain[0] ^ 1]) + plain[1:] if fault == DAMAGED else plain, plaintext_crc32c=checksum,
            verified_ciphertext_crc32c=told is not None and fault != UNVERIFIED, protection_level=types.ProtectionLevel.SOFTWARE)


def serve(service: Service, port: int = 0) -> tuple[grpc.Server, str]:
    """(the server, started, its HOST:PORT)."""
    return grpc_serving.serve(SERVICE, {"AsymmetricDecrypt": (service.asymmetric_decrypt, types.AsymmetricDecryptRequest, types.AsymmetricDecryptResponse)}, port)


def main() -> None:
    of_a_file(__doc__, "private_key", 8087, lambda content, port: serve(Service(content), port), lambda address: f"Cloud KMS at {address}, with the key {VERSION}")


if __name__ == "__main__":
    main()
