"""The order in which events are sent: disorder within its bound, held back beyond it, copies after their first."""

import json
from collections import Counter
from datetime import timedelta

import pytest

from pipelines.tools.samples.sample import Sample
from pipelines.tools.sequence import Mix, sequence
from schemas.contract import load
from tests.recount import recount

CONTRACT = load("census")
SECOND = 1_000_000


def stream(rows: int, apart: int = SECOND):
    return lambda: (Sample(f"A{i:07d}-00000000", i * apart, {"application_id": f"A{i:07d}-00000000", "submitted_at": "2026-03-02T00:00:00Z", "age": 20 + i % 60})
                    for i in range(rows))


def test_nothing_asked_for_nothing_done():
    lines = list(sequence(stream(100), CONTRACT, Mix(), 1))
    assert [line.sample for line in lines] == list(stream(100)()) and {line.fate for line in lines} == {"stored"}
    assert [json.loads(line.body) for line in lines] == [line.sample.row for line in lines] and not any(line.held for line in lines)


def test_one_seed_one_sequence():
    mix = Mix(0.05, 0.02, 0.02, 100, timedelta(seconds=30), 0.02, timedelta(minutes=3))
    assert list(sequence(stream(500), CONTRACT, mix, 1)) == list(sequence(stream(500), CONTRACT, mix, 1))
    assert list(sequence(stream(500), CONTRACT, mix, 1)) != list(sequence(stream(500), CONTRACT, mix, 2))


def behind(lines):
    """How far each first copy stands behind the greatest time before it, in microseconds; whether it was held."""
    greatest, found = 0, []
    for line in lines:
        if line.fate == "stored":
            found.append((max(greatest - line.sample.time, 0), line.held))
            greatest = max(greatest, line.sample.time)
    return found


@pytest.mark.parametrize("seconds", [0, 1, 60, 10_000])
def test_disorder_stays_within_its_bound_and_uses_it(seconds):
    found = behind(sequence(stream(2_000), CONTRACT, Mix(disorder=timedelta(seconds=seconds)), 3))
    assert len(found) == 2_000 and max(b for b, _ in found) <= seconds * SECOND
    if seconds >= 60:
        assert max(b for b, _ in found) > min(seconds, 1_900) * SECOND * 0.8


@pytest.mark.parametrize("disorder", [0, 60])
def test_held_back_events_come_far_behind_and_no_others(disorder):
    mix = Mix(disorder=timedelta(seconds=disorder), late=0.05, hold=timedelta(seconds=500))
    lines = list(sequence(stream(5_000), CONTRACT, mix, 4))
    assert sorted(line.sample.time for line in lines) == [s.time for s in stream(5_000)()]
    found = behind(lines)
    assert 150 < sum(held for _, held in found) < 300
    assert all(500 * SECOND <= b < 700 * SECOND if held else b <= disorder * SECOND for b, held in found)


def test_what_cannot_be_held_long_enough_is_not_held():
    assert not any(held for _, held in behind(sequence(stream(500), CONTRACT, Mix(late=1.0, hold=timedelta(seconds=500)), 4)))
    found = behind(sequence(stream(501), CONTRACT, Mix(late=1.0, hold=timedelta(seconds=500)), 4))
    assert sum(held for _, held in found) == 1 and found[-1] == (500 * SECOND, True)


def test_events_held_across_a_gap_wait_for_one_that_is_far_on():
    times = [0, 1, 2, 1_000_000, 1_000_001, 1_000_600]
    gapped = [Sample(s.id, time * SECOND, s.row) for s, time in zip(stream(6)(), times)]
    found = behind(sequence(lambda: iter(gapped), CONTRACT, Mix(late=1.0, hold=timedelta(seconds=500)), 4))
    assert [held for _, held in found] == [False, True, True, True, True, True]
    assert all(b >= 500 * SECOND for b, held in found if held)


def test_copies_come_after_their_first_one_kind_an_event():
    mix = Mix(repeats=0.1, conflicts=0.05, broken=0.05, near=50, disorder=timedelta(seconds=20), late=0.01, hold=timedelta(seconds=100))
    lines = list(sequence(stream(4_000), CONTRACT, mix, 5))
    at, extra, distances, firsts = {}, {}, [], 0
    for line in lines:
        if line.fate == "stored":
            at[line.sample.id] = firsts
            firsts += 1
        else:
            assert line.sample.id in at and line.sample.id not in extra and not line.held
            extra[line.sample.id] = line.fate
            distances.append(firsts - 1 - at[line.sample.id])
    assert firsts == 4_000 and min(distances) == 0 and 40 <= max(distances) < 50
    fates, _ = recount(CONTRACT, [line.body for line in lines])
    assert fates == Counter(line.fate for line in lines)
    broken = sum(n for fate, n in fates.items() if fate not in ("stored", "repeated", "conflict"))
    assert 340 < fates["repeated"] < 460 and 150 < fates["conflict"] < 250 and 150 < broken < 250


def test_the_books_do_not_depend_on_the_order_of_arrival():
    lines = [line.body for line in sequence(stream(1_000), CONTRACT, Mix(0.2, 0.2, 0.1), 6)]
    assert recount(CONTRACT, lines) == recount(CONTRACT, lines[::-1])


def test_all_shares_at_their_most():
    fates = Counter(line.fate for line in sequence(stream(300), CONTRACT, Mix(repeats=1.0), 1))
    assert fates == {"stored": 300, "repeated": 300}
