"""The private key in Cloud KMS: what opens, what does not, what is tried again; by Google's own client over gRPC."""

from typing import Any

import google_crc32c
import pytest
from google.api_core import exceptions
from google.cloud.kms_v1 import AsymmetricDecryptRequest

from pipelines.kms import connect, unwrapper
from pipelines.private_key import Remembered, Unanswered, opener
from schemas.errors import Misconfigured
from tests.kms_server import DAMAGED, UNVERIFIED, VERSION, Code, Service, serve
from transforms import keys
from transforms.batch import refused_rows
from transforms.seal import NotOurs, private_key, seal, unseal


@pytest.fixture(scope="module")
def pems(tmp_path_factory) -> tuple[bytes, bytes]:
    """(public, private) of a key of its own, as the key folder makes them."""
    folder = tmp_path_factory.mktemp("kms") / "keys"
    keys.make(folder)
    return (folder / keys.PUBLIC).read_bytes(), (folder / keys.PRIVATE).read_bytes()


@pytest.fixture
def kms(pems):
    """(service, HOST:PORT)."""
    service = Service(pems[1])
    server, address = serve(service)
    yield service, address
    server.stop(0)


def sealed(pem: bytes) -> dict[str, Any]:
    return seal(refused_rows("decode", [("malformed", None, "f:0", None, b"as it was read")]), "r1", pem).to_pylist()[0]


def bound(row: dict[str, Any]) -> list[Any]:
    return [row[name] for name in ("sealed", "run", "stage", "reason", "origin")]


def wrapped(row: dict[str, Any]) -> bytes:
    return row["sealed"][5:5 + int.from_bytes(row["sealed"][3:5], "big")]


def test_a_key_version_opens_what_the_file_opens_and_is_asked_once_a_batch(kms, pems) -> None:
    service, address = kms
    unwrap = opener(VERSION, address)
    row = sealed(pems[0])
    assert unseal(*bound(row), unwrap) == b"as it was read" == unseal(*bound(row), private_key(pems[1]))
    asked = service.calls  # more than once where this machine was so slow that it was tried again
    assert [unseal(*bound(row), unwrap) for _ in range(3)] == [b"as it was read"] * 3 and service.calls == asked > 0


def test_what_another_key_sealed_is_not_opened_nor_asked_for_twice(kms, pems, key_folder) -> None:
    service, address = kms
    unwrap, row = opener(VERSION, address), sealed((key_folder / keys.PUBLIC).read_bytes())
    asked = []
    for _ in range(2):
        with pytest.raises(NotOurs):
            unseal(*bound(row), unwrap)
        asked.append(service.calls)
    with pytest.raises(ValueError):
        unwrap(b"too short to be asked for")
    assert asked[0] == asked[1] == service.calls > 0


@pytest.mark.parametrize("faults", [[Code.UNAVAILABLE], [Code.RESOURCE_EXHAUSTED, Code.INTERNAL], [UNVERIFIED], [DAMAGED, UNVERIFIED]])
def test_what_passes_is_tried_again(kms, pems, faults) -> None:
    service, address = kms
    service.faults.extend(faults)
    assert len(unwrapper(VERSION, address)(wrapped(sealed(pems[0])))) == 32
    assert service.calls > len(faults) and not service.faults


@pytest.mark.parametrize("faults", [[DAMAGED] * 3, [UNVERIFIED] * 3, [Code.UNAVAILABLE] * 50, [Code.UNIMPLEMENTED]])
def test_what_does_not_pass_is_no_answer(kms, pems, faults) -> None:
    service, address = kms
    service.faults.extend(faults)
    with pytest.raises(Unanswered) as raised:
        unwrapper(VERSION, address, seconds=0.7)(wrapped(sealed(pems[0])))
    assert raised.value.__cause__ is None


@pytest.mark.parametrize(("change", "word"), [
    ({"enabled": False}, "disabled"), ({"version": VERSION.replace("penstock", "other")}, "not there"),
    ({"faults": Code.PERMISSION_DENIED}, "roles/cloudkms.cryptoKeyDecrypter"), ({"faults": Code.UNAUTHENTICATED}, "credentials")])
def test_a_key_that_cannot_be_used_is_said(kms, pems, change, word) -> None:
    service, address = kms
    for name, value in change.items():
        if name == "faults":
            service.faults.append(value)
        else:
            setattr(service, name, value)
    with pytest.raises(Misconfigured, match=word):
        opener(VERSION, address)(wrapped(sealed(pems[0])))
    assert service.calls and not service.faults


@pytest.mark.parametrize(("given", "endpoint", "word"), [
    ("projects/p/cryptoKeys/k", "", "no key version"), (VERSION.removesuffix("/cryptoKeyVersions/1"), "", "no key version"),
    (VERSION, "kms.example.com:443", "neither an endpoint"), (VERSION, "http://localhost:1", "neither an endpoint"),
    ("/nowhere/key.pem", "", "cannot be read"), (__file__, "", "not an RSA private key")])
def test_what_is_no_key_is_refused(given, endpoint, word) -> None:
    with pytest.raises(Misconfigured, match=word):
        opener(given, endpoint)


def test_no_more_keys_are_remembered_than_said() -> None:
    asked: list[bytes] = []

    def unwrap(wrapped: bytes) -> bytes:
        asked.append(wrapped)
        return wrapped

    remembered = Remembered(unwrap, kept=2)
    assert [remembered(k) for k in (b"a", b"b", b"a", b"c", b"a")] == [b"a", b"b", b"a", b"c", b"a"]
    assert asked == [b"a", b"b", b"c", b"a"]


def test_the_server_checks_what_the_service_checks(kms, pems) -> None:
    _, address = kms
    client, text = connect(address), wrapped(sealed(pems[0]))
    answer = client.asymmetric_decrypt(AsymmetricDecryptRequest(name=VERSION, ciphertext=text))
    assert not answer.verified_ciphertext_crc32c and answer.plaintext_crc32c == google_crc32c.value(answer.plaintext)
    for request, error in ((AsymmetricDecryptRequest(name=VERSION, ciphertext=text, ciphertext_crc32c=1), exceptions.InvalidArgument),
                           (AsymmetricDecryptRequest(name=VERSION, ciphertext=text[:-1]), exceptions.InvalidArgument),
                           (AsymmetricDecryptRequest(name=VERSION, ciphertext=text[::-1]), exceptions.InvalidArgument),
                           (AsymmetricDecryptRequest(name=VERSION + "0", ciphertext=text), exceptions.NotFound)):
        with pytest.raises(error):
            client.asymmetric_decrypt(request)
