"""Secret Manager on this machine, over gRPC as Google's, as far as reading a version goes: python -m tests.secret_server --payload=FILE

It enforces what the service enforces: the name's form, the version's state; it answers with a checksum, and goes wrong on request.
"""

import collections
import re
from typing import Any

import google_crc32c
import grpc
from google.cloud.secretmanager_v1 import types

from tests import grpc_serving
from tests.grpc_serving import of_a_file

Code = grpc.StatusCode
SERVICE = "google.cloud.secretmanager.v1.SecretManagerService"
VERSION = "projects/test-project/secrets/penstock-keys/versions/1"
DAMAGED = "damaged"


class Service:
    """Versions by name. calls: the names asked for; faults: what befalls the next calls, each a status or DAMAGED."""

    def __init__(self, payload: bytes, version: str = VERSION) -> None:
        self.versions: dict[str, bytes | None] = {version: payload}  # None: disabled
        self.calls: list[str] = []
        self.faults: collections.deque[Any] = collections.deque()

    def access_secret_version(self, request: types.AccessSecretVersionRequest, context: grpc.ServicerContext) -> types.AccessSecretVersionResponse:
        self.calls.append(request.name)
        fault = self.faults.popleft() if self.faults else None
        if isinstance(fault, grpc.StatusCode):
            context.abort(fault, "as asked")
        if not re.fullmatch(r"projects/[^/]+/secrets/[A-Za-z0-9_-]{1,255}/versions/([0-9]+|latest)", request.name):
            context.abort(Code.INVALID_ARGUMENT, "The provided Secret Version ID does not match the expected format.")
        if request.name not in self.versions:
            context.abort(Code.NOT_FOUND, f"Secret Version [{request.name}] not found.")
        payload = self.versions[request.name]
        if payload is None:
            context.abort(Code.FAILED_PRECONDITION, f"Secret Version [{request.name}] is in DISABLED state.")
        checksum = google_crc32c.value(payload)
        return types.AccessSecretVersionResponse(name=request.name, payload=types.SecretPayload(
            data=payload[:-1] + b"?" if fault == DAMAGED else payload, data_crc32c=checksum))


def serve(service: Service, port: int = 0) -> tuple[grpc.Server, str]:
    """(the server, started, its HOST:PORT)."""
    return grpc_serving.serve(SERVICE, {"AccessSecretVersion": (service.access_secret_version, types.AccessSecretVersionRequest, types.AccessSecretVersionResponse)}, port)


def main() -> None:
    of_a_file(__doc__, "payload", 8088, lambda content, port: serve(Service(content), port), lambda address: f"Secret Manager at {address}, with {VERSION}")


if __name__ == "__main__":
    main()
