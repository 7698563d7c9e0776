"""Rows made wrong: Decode refuses each for the reason that is told, and a conflict for none."""

import json
from random import Random

import orjson
import pytest

from pipelines.tools.flaws import Flaws
from pipelines.tools.sequence import stream_of
from schemas.contract import load, shipped
from tests.recount import reasons


@pytest.fixture(scope="module", params=shipped())
def rows(request):
    return load(request.param), [e.row for e in stream_of(request.param, 200, 5)()]


def test_each_way_has_its_reason(rows):
    contract, rows = rows
    flaws, draw = Flaws(contract), Random(1).random
    made = [flaws.broken(row, draw) for row in rows for _ in flaws.ways]
    assert reasons(contract, [line for line, _ in made]) == [str(reason) for _, reason in made]
    assert {str(reason) for _, reason in made} >= {"malformed", "wrong_type", "missing_field"} | ({"unknown_field"} if contract.unknown_fields == "refuse" else set())
    assert not any(b"\n" in line or not line.strip() for line, _ in made)


def test_a_conflict_is_a_valid_row_with_the_id_and_the_time_and_other_content(rows):
    contract, rows = rows
    flaws, draw = Flaws(contract), Random(2).random
    made = [flaws.conflicting(row, draw) for row in rows]
    assert set(reasons(contract, made)) == {None}
    changed = set()
    for row, line in zip(rows, made):
        other = json.loads(line)
        differing = {name for name in row.keys() | other.keys() if row.get(name) != other.get(name)}
        assert len(differing) == 1 and not differing & {contract.id, contract.time}
        changed |= differing
    assert len(changed) > 1


def test_a_row_cut_anywhere_is_broken(rows):
    contract, rows = rows
    cut = Flaws(contract).ways[0][1]
    line = orjson.dumps(rows[0])
    made = {cut(rows[0], lambda i=i: i / 500) for i in range(500)}
    assert all(line.startswith(m) and 0 < len(m) < len(line) for m in made)
    assert set(reasons(contract, sorted(made))) == {"malformed"}
