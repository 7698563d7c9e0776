"""Which ids the census contract takes: common forms of an id, and no form of an identifier."""

import re

import pytest

from schemas.contract import load

PATTERN = re.compile(load("census").field("application_id").pattern or "")


@pytest.mark.parametrize("good", ["A0000042-f71377dc", "A0001702-abcdefab", "app-0000012", "app_7", "application-2026-000123", "APP0001", "17", "0000123", "C-1",
                                  "6f1ed002-ab5d-4b5e-9b3a-0c1d2e3f4a5b", "9f86d081884c7d659a2feaa0c55ad015"])
def test_an_id(good) -> None:
    assert PATTERN.fullmatch(good)


@pytest.mark.parametrize(("bad", "remark"), [
    ("510113000", "a bare SSN"), ("510-11-3000", "an SSN"), ("C40010000", "a passport"), ("D6100000", "a driver's licence"), ("1930-04-01", "a birth date"),
    ("4111111111111111", "a card"), ("4155550134", "a phone"), ("415-555-0134", "a phone"), ("10.1.2.3", "an IP address"), ("jane@example.com", "an e-mail"),
    ("Jane Doe", "a name"), ("Jane-Doe", "a name"), ("Doe", "a name"), ("00:1a:2b:3c:4d:5e", "a MAC address"), ("AA-BB-CC-DD-EE-FF", "a MAC address"),
    ("", "nothing"), ("a b", "a space"), ("app-1\n", "a line end")])
def test_no_id(bad, remark) -> None:
    assert not PATTERN.fullmatch(bad), remark
