"""Keys out of Secret Manager: the same as those of the folder, read on use, never pickled; and everything that may be wrong with a version."""

import base64
import json
import pickle
from collections.abc import Iterator

import grpc
import pytest

from pipelines import secret_keys
from pipelines.__main__ import main
from pipelines.keyfolder import open_keys
from pipelines.secret_keys import SecretKeys, open_secret, payload
from schemas.errors import Misconfigured, Transient
from tests.secret_server import DAMAGED, VERSION, Service, serve
from transforms.keys import PRIVATE, Keys

Code = grpc.StatusCode


class Secrets:
    def __init__(self, content: bytes) -> None:
        self.service = Service(content)
        self.server, self.endpoint = serve(self.service)


@pytest.fixture
def secrets(key_folder) -> Iterator[Secrets]:
    made = Secrets(payload(key_folder))
    yield made
    made.server.stop(0)


def faults(secrets: Secrets, version: str = VERSION) -> str:
    with pytest.raises(Misconfigured) as told:
        open_secret(version, secrets.endpoint)
    (fault,) = told.value.faults
    return str(fault)


def test_the_keys_are_those_of_the_folder(secrets, key_folder) -> None:
    folder, found = Keys(str(key_folder)), open_keys(VERSION, endpoint=secrets.endpoint)
    assert (found.derive("row digests"), found.unwrap("k", b"w", 16), found.public_pem()) == (folder.derive("row digests"), folder.unwrap("k", b"w", 16), folder.public_pem())
    assert secrets.service.calls == [VERSION], "read once a process"


def test_the_payload_never_holds_the_private_key(key_folder) -> None:
    assert json.loads(payload(key_folder)).keys() == {"master_key", "failures_public_pem"} and b"PRIVATE" not in payload(key_folder)


def test_no_key_is_pickled(secrets, key_folder) -> None:
    found = open_secret(VERSION, secrets.endpoint)
    found.public_pem()
    pickled = pickle.dumps(found)
    master = Keys(str(key_folder)).master()
    assert master not in pickled and base64.b64encode(master) not in pickled and b"PUBLIC KEY" not in pickled and VERSION.encode() in pickled
    assert pickle.loads(pickled) == found


def test_what_passes_is_tried_again(secrets, key_folder) -> None:
    secrets.service.faults.extend([Code.UNAVAILABLE, Code.INTERNAL])
    assert SecretKeys(VERSION, secrets.endpoint).master() == Keys(str(key_folder)).master()
    assert len(secrets.service.calls) == 3


def test_damage_on_the_way_is_noticed_and_not_kept(secrets) -> None:
    secrets.service.faults.append(DAMAGED)
    with pytest.raises(Transient, match="damaged"):
        SecretKeys(VERSION, secrets.endpoint).master()
    assert len(SecretKeys(VERSION, secrets.endpoint).master()) == 32
    secrets.service.faults.append(DAMAGED)
    secret_keys._payload.cache_clear()
    assert "damaged" in faults(secrets)


@pytest.mark.parametrize(("status", "expected"), [
    (Code.PERMISSION_DENIED, "secretAccessor on the secret"), (Code.UNAUTHENTICATED, "without credentials"), (Code.NOT_FOUND, "is not there"),
    (Code.FAILED_PRECONDITION, "disabled or destroyed"), (Code.UNIMPLEMENTED, "did not answer"),
])
def test_what_does_not_pass_is_told(secrets, status, expected) -> None:
    secrets.service.faults.append(status)
    assert expected in faults(secrets)


@pytest.mark.parametrize("version", [VERSION.replace("/1", "/latest"), VERSION.rsplit("/", 2)[0], VERSION + "/x"])
def test_a_version_has_a_number(secrets, version) -> None:
    assert "is no version of a secret" in faults(secrets, version) and not secrets.service.calls


@pytest.mark.parametrize("change", [
    lambda whole: {**whole, "master_key": "AAAA"}, lambda whole: {**whole, "master_key": "?"}, lambda whole: {**whole, "failures_public_pem": "x"},
    lambda whole: {"master_key": whole["master_key"]}, lambda whole: {**whole, "private": "x"}, lambda whole: [whole], lambda whole: 7,
])
def test_a_payload_is_whole(secrets, key_folder, change) -> None:
    secrets.service.versions[VERSION] = json.dumps(change(json.loads(payload(key_folder)))).encode()
    told = faults(secrets)
    assert "does not hold master.key" in told and json.loads(payload(key_folder))["master_key"] not in told


@pytest.mark.parametrize("endpoint", ["http://localhost:1", "secrets.example.com:443"])
def test_keys_go_nowhere_else(endpoint) -> None:
    with pytest.raises(Misconfigured, match="--secrets_endpoint"):
        open_secret(VERSION, endpoint)


def test_the_command_writes_what_is_uploaded(tmp_path, capsys) -> None:
    folder, upload = tmp_path / "keys", tmp_path / "payload.json"
    assert main(["keys", str(folder), f"--secret={upload}"]) == 0
    assert "gcloud secrets create" in capsys.readouterr().out
    assert upload.read_bytes() == payload(folder) and upload.stat().st_mode & 0o777 == 0o600
    assert main(["keys", str(folder), f"--secret={upload}"]) == 2 and "is there already" in capsys.readouterr().err
    before = (folder / PRIVATE).read_bytes()
    assert main(["keys", str(folder), f"--secret={tmp_path / 'again.json'}"]) == 0
    assert (folder / PRIVATE).read_bytes() == before and (tmp_path / "again.json").read_bytes() == upload.read_bytes()
    assert main(["keys", str(folder)]) == 2
