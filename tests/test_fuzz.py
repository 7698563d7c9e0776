"""10,000 mutated rows and files (`make fuzz` runs 100,000, and bounds their time and memory)."""

from pathlib import Path
from random import Random

import pytest

from schemas.contract import load
from tests import fuzz
from transforms.formats.block import Block


def test_books_balance_whatever_comes(tmp_path: Path) -> None:
    fates = fuzz.run(10_000, 11, tmp_path)
    assert fates["stored"] > 5_000 and fates["malformed"] > 5_000
    assert all(fates[fate] for fate in ("too_large", "wrong_type", "unknown_field", "out_of_range", "read: malformed", "read: truncated"))


def test_every_item_can_be_made_again() -> None:
    bases = fuzz.Bases(load("census"))
    assert list(fuzz.items(bases, 300, 100, 5)) == [item for item in fuzz.items(bases, 0, 400, 5) if item[0] >= 300]
    assert [len(parts) for _, _, parts in fuzz.items(bases, 0, 100, 5)] == [30, 30, 30] + [1] * 10


@pytest.mark.parametrize("mutation", fuzz.MUTATIONS, ids=lambda m: m.__name__)
def test_mutations_change_something_and_take_anything(mutation: object) -> None:
    content = b'{"a":"1,0e"}\n' * 20
    assert len({mutation(content, Random(seed)) for seed in range(50)}) > 5  # type: ignore[operator]
    assert isinstance(mutation(b"", Random(1)), bytes)  # type: ignore[operator]


def test_the_check_notices_a_lost_row(tmp_path: Path) -> None:
    books = fuzz.Books(load("census"), tmp_path)
    lost = Block("p", "csv", 0, 0, 3, b"a\nb\n", b"id\n")
    with pytest.raises(AssertionError, match="3 rows became 0 and 2 refused"):
        books._decode(lost)
