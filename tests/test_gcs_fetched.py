"""A range of an object, asked for once and again: what answers are taken for."""

from collections.abc import Iterator

import pytest

from pipelines.sources.gcs import Changed, client, fetched
from tests.gcs_emulator import MISSING, Gate, emulator


@pytest.fixture(scope="module")
def module_gate() -> Iterator[Gate]:
    with emulator() as bucket:
        if bucket is None:
            pytest.skip(MISSING)
        with Gate(bucket) as gate:
            yield gate


@pytest.fixture
def gate(module_gate: Gate) -> Gate:
    module_gate.refusal = 0
    module_gate.ranges.clear()
    return module_gate


def test_an_answer_that_is_cut_or_refused_for_a_while_is_asked_for_again(gate: Gate) -> None:
    content = bytes(range(250)) * 4_000
    generation = gate.behind.put("cut.ndjson", content)
    gate.cuts = gate.failures = 1
    assert fetched(client(gate.url), "gs://raw/cut.ndjson", generation, 1, len(content) - 1) == content[1:-1]
    assert gate.ranges == [("cut.ndjson", 1, len(content) - 2)] * 3 and gate.unpinned == gate.cuts == gate.failures == 0


@pytest.mark.parametrize(("status", "kind", "words"), [
    (403, PermissionError, "may not be read"), (404, Changed, "was replaced or deleted"), (412, Changed, "was replaced or deleted"),
    (416, Changed, "was replaced or deleted"), (400, OSError, "cannot be reached")])
def test_an_answer_that_is_no_content(gate: Gate, status: int, kind: type[OSError], words: str) -> None:
    generation = gate.behind.put("refused.ndjson", bytes(100))
    gate.refusal = status
    with pytest.raises(kind, match=words) as raised:
        fetched(client(gate.url), "gs://raw/refused.ndjson", generation, 0, 100)
    assert type(raised.value) is kind and raised.value.__cause__ is None


def test_an_object_that_is_shorter_than_it_was_listed(gate: Gate) -> None:
    generation = gate.behind.put("short.ndjson", bytes(100))
    with pytest.raises(Changed, match="is not as long as it was"):
        fetched(client(gate.url), "gs://raw/short.ndjson", generation, 0, 101)
