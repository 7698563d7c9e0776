"""People who do not exist: name, e-mail, phone, social security number and address of one draw belong together.

Domains, exchanges and networks are those set aside for examples (RFC 2606, exchange 555, RFC 2544 and 3849), so that no
message can reach anybody. Names come from schemas/census/names.txt.
"""

import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

Random = Callable[[], float]  # random.Random(seed).random: one answer on every version of Python

_NAMES = Path(__file__).parents[2] / "schemas" / "census" / "names.txt"
_PLAIN = str.maketrans({"ł": "l", "ø": "o", "đ": "d", "ı": "i", "ß": "ss"})
_DOMAINS = ("example.com", "example.org", "example.net", "mail.example.com", "post.example.org", "home.example.net")
_AREAS = ("205", "212", "213", "267", "303", "305", "312", "347", "404", "415", "469", "503", "512", "602", "612", "617", "646", "702",
          "713", "718", "773", "786", "801", "817", "832", "917", "919", "954", "971", "985")
_PHONES = ("({0}) 555-{1:04d}", "{0}-555-{1:04d}", "+1 {0} 555 {1:04d}", "+1-{0}-555-{1:04d}", "{0}.555.{1:04d}", "1 ({0}) 555-{1:04d}")


class Person(NamedTuple):
    """One made-up applicant; every value is a string that JSON takes without escapes."""

    name: str
    email: str
    phone: str
    ssn: str
    ip: str


def _slug(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name.lower().translate(_PLAIN))
    return "".join(c for c in plain if "a" <= c <= "z")


def _names() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """First and last names, each with its spelling in an address."""
    lists: dict[str, list[tuple[str, str]]] = {"first": [], "last": []}
    section = "first"
    for line in _NAMES.read_text("utf-8").splitlines():
        if line in lists:
            section = line
        elif not line.startswith("#"):
            lists[section] += [(name, _slug(name)) for name in line.split()]
    return lists["first"], lists["last"]


_FIRST, _LAST = _names()


def person(draw: Random) -> Person:
    """One person, from about fifteen draws."""
    first, first_slug = _FIRST[int(draw() * len(_FIRST))]
    last, last_slug = _LAST[int(draw() * len(_LAST))]
    style, number = draw(), int(draw() * 10_000)
    if style < 0.72:
        name = f"{first} {last}"
    elif style < 0.9:
        name = f"{first} {'ABCDEGHJKLMNPRSTW'[int(draw() * 17)]}. {last}"
    elif style < 0.95:
        name = f"{last}, {first}"
    else:
        name = f"{first} {last}-{_LAST[int(draw() * len(_LAST))][0]}"
    domain = _DOMAINS[int(draw() * len(_DOMAINS))]
    dot = ".", "_", ""
    email = f"{first_slug if number % 3 else first_slug[0]}{dot[number % 7 % 3]}{last_slug}{number % 100 if style < 0.6 else ''}@{domain}"
    area = 1 + int(draw() * 898)
    ssn = f"{area if area < 666 else area + 1:03d}-{1 + int(draw() * 99):02d}-{1 + int(draw() * 9999):04d}"
    where = int(draw() * 131_072)  # 198.18.0.0/15
    if style % 0.1 < 0.015:
        ip = f"2001:db8:{where % 9973:x}::{int(draw() * 65_535) + 1:x}"
    else:
        ip = f"198.{18 + (where >> 16)}.{where >> 8 & 255}.{where & 255}"
    return Person(name, email, phone(draw), ssn, ip)


def phone(draw: Random) -> str:
    """A telephone number of the exchange 555, in one of several notations."""
    return _PHONES[int(draw() * len(_PHONES))].format(_AREAS[int(draw() * len(_AREAS))], int(draw() * 10_000))


def card(draw: Random) -> str:
    """A card number that passes the Luhn check (ISO/IEC 7812-1), on prefixes that payment firms give out for tests."""
    digits = ("411111", "401288", "555555", "510510", "222300")[int(draw() * 5)] + f"{int(draw() * 10**9):09d}"
    total = sum(sum(divmod(int(d) * 2, 10)) if i % 2 == 0 else int(d) for i, d in enumerate(digits))
    digits += str(-total % 10)
    gap = (" ", "-", "")[int(draw() * 3)]
    return gap.join(digits[i:i + 4] for i in range(0, 16, 4))
