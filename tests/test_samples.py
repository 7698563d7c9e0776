"""The events of each shipped contract: valid rows in the order of their times, the same for the same seed."""

import json
from datetime import timedelta
from itertools import pairwise

import orjson
import pytest

from pipelines.tools.sequence import EPOCH, MICROSECOND, day, live, stream_of, unknown, written
from schemas.contract import load, shipped
from schemas.errors import Misconfigured
from tests.recount import at, reasons

ROWS = 1_500


@pytest.fixture(scope="module", params=shipped())
def sample(request):
    return load(request.param), list(stream_of(request.param, ROWS, 7)())


def test_exactly_so_many_events_the_same_for_the_same_seed(sample):
    contract, events = sample
    assert len(events) == ROWS and list(stream_of(contract.name, ROWS, 7)()) == events
    assert [len(list(stream_of(contract.name, rows, 3)())) for rows in (1, 2, 17)] == [1, 2, 17]


def test_in_the_order_of_their_times_with_ids_of_their_own(sample):
    contract, events = sample
    assert all(a.time <= b.time for a, b in pairwise(events))
    assert len({e.id for e in events}) == ROWS
    for event in events:
        assert event.row[contract.id] == event.id
        assert (at(contract, event.row) - EPOCH) // MICROSECOND == event.time


def test_every_row_is_one_of_the_contract_in_json(sample):
    contract, events = sample
    assert all(json.loads(orjson.dumps(e.row)) == e.row for e in events)
    assert set(reasons(contract, [orjson.dumps(e.row) for e in events])) == {None}


def test_what_is_no_shipped_contract_has_no_events():
    with pytest.raises(Misconfigured, match="census, "):
        stream_of("nothing", 1, 1)
    assert unknown("sample") and not unknown("census")


def test_times_are_written_to_the_microsecond():
    assert written(0) == "1970-01-01T00:00:00.000000Z" and written(1_772_409_600_000_001) == "2026-03-02T00:00:00.000001Z"
    assert str(day(86_400_000_000 - 1)) == "1970-01-01" and str(day(86_400_000_000)) == "1970-01-02"


def test_live_events_have_other_times_and_nothing_else(sample):
    contract, events = sample
    moved = list(live(stream_of(contract.name, ROWS, 7), contract.time, 1_772_409_600_000_000, 2_500.5)())
    assert [e.time - moved[0].time for e in moved[:4]] == [0, 2500, 5001, 7501] and moved[0].time == 1_772_409_600_000_000
    assert all((at(contract, e.row) - EPOCH) == timedelta(microseconds=e.time) for e in moved)
    assert [{**e.row, contract.time: 0} for e in moved] == [{**e.row, contract.time: 0} for e in events]
    assert set(reasons(contract, [orjson.dumps(e.row) for e in moved])) == {None}
