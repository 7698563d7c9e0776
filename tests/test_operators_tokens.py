"""The transformations of DLP that replace a value: hashes, tokens, words."""

import base64
import hashlib
import hmac
from datetime import date, datetime, timezone
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.operators.dictionary import Dictionary
from transforms.operators.hash import Hash
from transforms.operators.infotype import InfoTypeName
from transforms.operators.mac import hmac_sha256
from transforms.operators.redact import Redact
from transforms.operators.replace import Replace
from transforms.operators.token import Token

KEY = bytes(range(32))
UTC = timezone.utc


def test_hash_is_hmac_sha256_in_base64() -> None:
    expected = base64.b64encode(hmac.new(KEY, "Zoë".encode(), hashlib.sha256).digest()).decode()
    assert Hash(KEY)(["Zoë", 7, "7", 7.0, True, date(2026, 1, 1)])[0] == expected
    got = Hash(KEY)([7, "7", 7.0, True, date(2026, 1, 1)])
    assert got[0] == got[1] and len(str(got[0])) == 44 and got[2:] == [None, None, None]
    assert Hash(KEY)(["a"]) != Hash(KEY[::-1])(["a"])


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_hmac_is_the_standard_librarys(key: bytes, message: bytes) -> None:
    mac = hmac_sha256(key)
    assert mac(message) == mac(message) == hmac.digest(key, message, "sha256")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.text(), st.one_of(st.none(), st.text(), st.integers(-(2**63), 2**63 - 1))), max_size=6), st.sampled_from(["", "TOK"]))
def test_token_comes_back(pairs: list[tuple[str, str | int | None]], name: str) -> None:
    token, values, contexts = Token(KEY, name), [v for v, _ in pairs], [c for _, c in pairs]
    tokens = [str(t) for t in token(values, contexts)]
    assert token.reverse(tokens, contexts) == values
    assert tokens == token(values, contexts), "deterministic"


def test_token_has_the_form_of_dlps() -> None:
    raw = base64.b64decode(str(Token(KEY)(["Zoë"])[0]), validate=True)
    assert raw[0] == 1 and len(raw) == 17 + len("Zoë".encode())
    marked, bare = Token(KEY, "TOK")(["x"])[0], Token(KEY)(["x"])[0]
    assert marked == f"TOK({len(str(bare))}):{bare}"


def test_token_takes_any_value_as_its_text() -> None:
    values = [7, 1.5, True, date(2026, 3, 4), datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC), ""]
    tokens = [str(t) for t in Token(KEY)(values)]
    assert Token(KEY).reverse(tokens) == ["7", "1.5", "true", "2026-03-04", "2026-03-04T05:06:07Z", ""]


def test_token_of_another_context_or_key_does_not_open() -> None:
    token = str(Token(KEY)(["secret"], ["a"])[0])
    tokens, contexts = [token] * 4, ["a", "b", None, 97]
    assert Token(KEY).reverse(tokens, contexts) == ["secret", None, None, None]
    assert Token(KEY[::-1]).reverse([token], ["a"]) == [None]
    assert len({Token(KEY)(["x"], [c])[0] for c in ("1", 1, None)}) == 3


@pytest.mark.parametrize("forged", ["", "AQ==", "not base64!", "é", "A", "AQ" * 40, "=" * 8])
def test_token_forged(forged: str) -> None:
    assert Token(KEY).reverse([forged]) == [None]


def test_token_altered_anywhere_does_not_open() -> None:
    raw = base64.b64decode(str(Token(KEY)(["secret"])[0]))
    altered = [base64.b64encode(raw[:i] + bytes([raw[i] ^ 1]) + raw[i + 1:]).decode() for i in range(len(raw))]
    assert Token(KEY).reverse(altered) == [None] * len(raw)
    token = base64.b64encode(raw).decode()
    assert Token(KEY).reverse([token + "\n", " " + token, token]) == [None, None, "secret"], "one spelling a token"


def test_token_key_is_not_the_fpe_key_of_the_same_wrapped_key() -> None:
    token = base64.b64decode(str(Token(KEY * 2)(["x"])[0]))[1:]
    assert token != AESSIV(KEY * 2).encrypt(b"x", None)


def test_replacements() -> None:
    values: list[Any] = ["a", 1, date(2026, 1, 1)]
    assert Replace(7)(values) == [7, 7, 7]
    assert Redact()(values) == ["", "", ""]
    assert InfoTypeName()(values, None, "EMAIL_ADDRESS") == ["[EMAIL_ADDRESS]"] * 3
    assert InfoTypeName()(values) == [None] * 3, "a whole field has no infoType"


def test_dictionary() -> None:
    words = ("anna", "bert", "carl")
    keyed = Dictionary(words, KEY)
    values = [f"v{i}" for i in range(3000)]
    drawn = keyed(values)
    assert keyed.deterministic and keyed(values) == drawn and Dictionary(words, KEY[::-1])(values) != drawn
    assert all(900 < drawn.count(w) < 1100 for w in words), "about a third each"
    turns = iter([2, 0, 1])
    random = Dictionary(words, below=lambda n: next(turns))
    assert not random.deterministic and random(["x", "x", "x"]) == ["carl", "anna", "bert"]
    assert set(Dictionary(words)(values)) == set(words)
