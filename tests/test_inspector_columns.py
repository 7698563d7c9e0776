"""What the detectors find in a column is what they find in its texts; and which texts are an identifier as a whole."""

import itertools

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.test_detectors import CLEAN, FOUND
from tests.test_inspector import CARD, EMAIL, IBAN, PHONE, SSN, build, code, hotword
from transforms.detectors.inspector import Inspector
from transforms.detectors.registry import INFO_TYPES
from transforms.detectors.sieve import LARGE


def test_find_column_answers_only_for_rows_with_findings() -> None:
    inspector = build(EMAIL, SSN)
    texts = ["clean", None, "a@x.org", "", "ssn 123-45-6789", "12 345"]
    found = inspector.find_column(pa.array(texts))
    assert [(row, [f.info_type for f in findings]) for row, findings in found] == [(2, [EMAIL]), (4, [SSN])]
    assert all(findings == inspector.find(str(texts[row])) for row, findings in found)
    assert inspector.find_column(pa.array([], pa.string())) == []
    assert inspector.find_column(pa.array([None, None], pa.string())) == []
    assert [row for row, _ in inspector.find_column(pa.array(texts).slice(2, 3))] == [0, 2]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), max_size=20), st.sampled_from(["call (212) 555-0142", "Dr. Jane Doe", "é 10.1.2.3"])), max_size=5))
def test_a_column_is_its_texts(texts: list[str | None]) -> None:
    one_by_one = [(row, found) for row, text in enumerate(texts) if text is not None and (found := EVERY.find(text))]
    assert EVERY.find_column(pa.array(texts, pa.string())) == one_by_one


EVERY = build(*INFO_TYPES)
LIKELY = build(*INFO_TYPES, min_likelihood="LIKELY")
RULED = build(PHONE, "PERSON_NAME", custom_info_types=[code()], min_likelihood="LIKELY",
              rule_set=[{"info_types": [{"name": PHONE}], "rules": [hotword("ring", 20, relative_likelihood=3)]}])  # fmt: skip
PIECES = [row[1] for row in (*FOUND, *CLEAN)]


@pytest.mark.parametrize("inspector", [EVERY, LIKELY, RULED], ids=["every", "likely", "ruled"])
@pytest.mark.parametrize("glue", [" ", ", é ", "\n", " ring "])
@pytest.mark.parametrize("rare", [True, False])
def test_a_large_column_is_its_texts(inspector: Inspector, glue: str, rare: bool) -> None:
    """A large column is sifted in another way than a small one; rare: its first rows hold nothing."""
    clean: list[str | None] = [None, *["clean"] * 1500]
    told: list[str | None] = [*PIECES, *(a + glue + b for a, b in itertools.pairwise(PIECES)), *(glue + p for p in PIECES)]
    column = clean + told if rare else told + clean
    assert len(column) >= LARGE
    one_by_one = [(row, found) for row, text in enumerate(column) if text is not None and (found := inspector.find(text))]
    assert one_by_one
    assert inspector.find_column(pa.array(column)) == one_by_one
    small = [inspector.whole(pa.array(column[at : at + 100])).to_pylist() for at in range(0, len(column), 100)]
    assert inspector.whole(pa.array(column)).to_pylist() == list(itertools.chain.from_iterable(small))


@pytest.mark.parametrize(("value", "one"), [
    ("123-45-6789", True), ("4111 1111 1111 1111", True), ("jane@x.org", True), ("10.1.2.3", True), (" GB82 WEST 1234 5698 7654 32\n", True),
    ("+1 212 555 0142", True), ("(212) 555-0142", True), ("00:1a:2b:3c:4d:5e", True),
    ("550e8400-e29b-41d4-a716-446655440000", False), ("deadbeefcafe0123", False), ("app-0000012", False), ("1000000001", False), ("2125550142", False),
    ("123456789", False), ("20210303-17", False), ("x jane@x.org", False), ("", False), (None, False),
])  # fmt: skip
def test_whole(value: str | None, one: bool) -> None:
    inspector = build(SSN, CARD, EMAIL, IBAN, PHONE, "IP_ADDRESS", "MAC_ADDRESS", "US_PASSPORT", "US_DRIVERS_LICENSE_NUMBER")
    assert inspector.whole(pa.array([value, "clean"], pa.string())).to_pylist() == [one, False]


def test_nothing_is_found_where_nothing_can_be_likely_enough() -> None:
    nothing = build("FIRST_NAME", min_likelihood="VERY_LIKELY")
    texts = ["Jane", "Jane Doe"] * LARGE
    assert nothing.find("Jane Doe") == [] and nothing.find_column(pa.array(texts)) == []
    assert not any(nothing.whole(pa.array(texts)).to_pylist())
