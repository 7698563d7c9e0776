"""Failures that only the private key opens."""

from datetime import date

import pytest

from schemas.errors import Misconfigured, Reason, Stage
from transforms import keys
from transforms.batch import refused_rows
from transforms.keys import Keys
from transforms.seal import NotOurs, private_key, seal, unseal


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("k") / "keys"
    keys.make(folder)
    return folder


def sealed(folder, row=b"secret row"):
    refused = refused_rows(Stage.DECODE, [(Reason.MALFORMED, None, "f:0", None, row), (Reason.CONFLICT, "id", "f:9", date(2026, 3, 4), None)])
    return seal(refused, "run-1", Keys(str(folder)).public_pem())


def test_opens_with_the_private_key_alone(folder) -> None:
    failure = sealed(folder)[:1].to_pylist()[0]
    assert b"secret" not in failure["sealed"]
    unwrap = private_key((folder / keys.PRIVATE).read_bytes())
    assert unseal(failure["sealed"], "run-1", "decode", "malformed", "f:0", unwrap) == b"secret row"
    assert {k: failure[k] for k in ("run", "stage", "reason", "field", "origin", "attempt", "d")} == {
        "run": "run-1", "stage": "decode", "reason": "malformed", "field": None, "origin": "f:0", "attempt": 1, "d": None}
    assert failure["key"] == keys.name_of((folder / keys.PUBLIC).read_bytes())


def test_a_row_without_content_stays_without(folder) -> None:
    failure = sealed(folder).to_pylist()[1]
    assert failure["sealed"] is None and failure["d"] == date(2026, 3, 4)


@pytest.mark.parametrize("bound", [("run-2", "decode", "malformed", "f:0"), ("run-1", "infer", "malformed", "f:0"),
                                   ("run-1", "decode", "conflict", "f:0"), ("run-1", "decode", "malformed", "f:1")])
def test_bound_to_what_it_says_of_itself(folder, bound) -> None:
    unwrap = private_key((folder / keys.PRIVATE).read_bytes())
    with pytest.raises(NotOurs):
        unseal(sealed(folder)["sealed"][0].as_py(), *bound, unwrap)


@pytest.mark.parametrize("at", [0, 4, 10, 400, -1])
def test_a_changed_byte_is_noticed(folder, at) -> None:
    unwrap = private_key((folder / keys.PRIVATE).read_bytes())
    broken = bytearray(sealed(folder)["sealed"][0].as_py())
    broken[at] ^= 1
    with pytest.raises(NotOurs):
        unseal(bytes(broken), "run-1", "decode", "malformed", "f:0", unwrap)


def test_another_key_does_not_open(folder, tmp_path) -> None:
    keys.make(tmp_path / "other")
    unwrap = private_key((tmp_path / "other" / keys.PRIVATE).read_bytes())
    with pytest.raises(NotOurs):
        unseal(sealed(folder)["sealed"][0].as_py(), "run-1", "decode", "malformed", "f:0", unwrap)


def test_key_folder_is_private_and_never_overwritten(folder) -> None:
    assert folder.stat().st_mode & 0o777 == 0o700
    assert all(p.stat().st_mode & 0o777 == 0o600 for p in folder.iterdir())
    with pytest.raises(Misconfigured):
        keys.make(folder)


def test_wrapped_keys_are_derived_by_name_and_bytes(folder) -> None:
    ring = Keys(str(folder))
    assert ring.unwrap("k1", b"w", 32) == ring.unwrap("k1", b"w", 32)
    assert len({ring.unwrap("k1", b"w", 32), ring.unwrap("k2", b"w", 32), ring.unwrap("k1", b"v", 32), ring.derive("row digests")}) == 4
    assert len(ring.unwrap("k1", b"w", 64)) == 64
