"""Days whose events change: the windows table is made right by what rebuild says, and read no further than needed."""

import random
from collections import defaultdict
from datetime import date, timedelta

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.window_oracle import SECOND, batch, differences, expected, micros
from tests.windowings import SIMPLE, fixed, session, sliding
from transforms.rebuild import rebuild
from transforms.window import window_schema

DAY = 86_400
HOUR = 3600
EPOCH = date(1970, 1, 1)
KINDS = [fixed(HOUR, SIMPLE), fixed(7 * HOUR, SIMPLE), sliding(30 * HOUR, 6 * HOUR, SIMPLE), session(5 * HOUR, 24 * HOUR, SIMPLE), session(7 * HOUR, 15 * HOUR, SIMPLE),
         session(11 * HOUR, 200 * HOUR, SIMPLE), session(7 * HOUR, 7 * HOUR, SIMPLE, key=()), session(13 * HOUR, 40 * HOUR, SIMPLE, lateness=HOUR)]


class Lake:
    """Events by day, and the windows that were told of them."""

    def __init__(self, windowing):
        self.windowing, self.days, self.table, self.looked = windowing, defaultdict(list), {}, set()

    def read(self, first, last):
        self.looked |= {first + timedelta(days=n) for n in range((last - first).days + 1)}
        for day in sorted(self.days):
            if first <= day <= last:
                yield batch(self.days[day][::2])
                yield batch(self.days[day][1::2])

    def old(self, low, high):
        rows = [{"key": key, "window_start": at(start), **row} for (key, start), row in self.table.items() if start < high and micros(row["window_end"]) > low]
        return pa.RecordBatch.from_pylist(rows, window_schema(self.windowing))

    def change(self, changed):
        """{day: its events from now on}."""
        self.days.update(changed)
        self.looked = set()
        changes = rebuild(self.read, changed.keys(), self.old, self.windowing, "at")
        for row in changes.gone.to_pylist():
            del self.table[row["key"], micros(row["window_start"])]
        for row in changes.rows.to_pylist():
            place = row.pop("key"), micros(row.pop("window_start"))
            assert place not in self.table and row["pane"] == 0 and not row["is_late"]
            self.table[place] = row
        return changes

    def wrong(self):
        rows = [row for day in self.days.values() for row in day]
        return differences({place: (micros(row["window_end"]), row) for place, row in self.table.items()}, expected(rows, self.windowing), self.windowing)


def at(time):
    return pa.scalar(time, pa.timestamp("us", "UTC")).as_py()


def events(chance, day, most):
    rows = []
    for _ in range(chance.randint(0, most)):
        second = chance.choice([chance.randrange(DAY), chance.randrange(0, DAY, HOUR)])
        rows.append({"at": ((day - EPOCH).days * DAY + second) * SECOND, "watermark": None if chance.random() < 0.8 else (((day - EPOCH).days + 1) * DAY - chance.randrange(DAY)) * SECOND,
                     "id_hash": chance.randrange(10 ** 9), "key": chance.choice("abc"), "room": 1, "n": chance.choice([None, 1, 2]), "x": 1.0, "word": "w"})
    return rows


@settings(max_examples=120, deadline=None)
@given(st.integers(0, 10 ** 6), st.sampled_from(KINDS), st.sampled_from([2, 8, 20]))
def test_any_days_in_any_order(seed, windowing, most):
    chance = random.Random(seed)
    lake = Lake(windowing)
    for _ in range(6):
        days = [EPOCH + timedelta(days=n) for n in chance.sample(range(-4, 8), chance.randint(1, 3))]
        lake.change({day: events(chance, day, most) for day in days})
        assert lake.wrong() == []
    again = lake.change({day: lake.days[day] for day in days})
    assert lake.wrong() == [], "a second time changes nothing"
    assert sorted(again.gone["key"].to_pylist(), key=str) == sorted(again.rows["key"].to_pylist(), key=str)


def one(hour, key="a"):
    return {"at": int(hour * HOUR) * SECOND, "watermark": None, "id_hash": int(hour * 100), "key": key, "room": 1, "n": 1, "x": 1.0, "word": "w"}


def test_only_neighbouring_days_are_read():
    lake = Lake(session(1800, 24 * HOUR, SIMPLE))
    lake.change({EPOCH + timedelta(days=n): [one(24 * n + 12)] for n in range(10)})
    lake.change({EPOCH + timedelta(days=5): [one(24 * 5 + 13)]})
    assert lake.looked == {EPOCH + timedelta(days=n) for n in (4, 5, 6)} and lake.wrong() == []
    lake = Lake(fixed(HOUR, SIMPLE))
    lake.change({EPOCH: [one(3)]})
    assert lake.looked == {EPOCH}


def test_a_session_over_many_days():
    """An hour without rows in the middle of five days of traffic: read back to its start, and on to its end."""
    lake = Lake(session(3 * HOUR, 1000 * HOUR, SIMPLE))
    lake.change({EPOCH + timedelta(days=n): [one(24 * n + h) for h in range(0, 24, 2)] for n in range(5)})
    assert len(lake.table) == 1
    lake.change({EPOCH + timedelta(days=2): []})
    assert lake.wrong() == [] and len(lake.table) == 2
    lake.change({EPOCH + timedelta(days=2): [one(48 + h) for h in range(0, 24, 2)]})
    assert lake.wrong() == [] and len(lake.table) == 1


def test_far_days_are_not_read_between():
    lake = Lake(session(1800, 24 * HOUR, SIMPLE))
    lake.change({EPOCH + timedelta(days=n): [one(24 * n + 12)] for n in (0, 1000)})
    assert lake.wrong() == [] and len(lake.looked) == 6


def test_a_table_without_windows_yet():
    """Sessions that a stream has not closed are no row of the table: the walk finds their start in the events."""
    lake = Lake(session(7 * HOUR, 15 * HOUR, SIMPLE))
    lake.days[EPOCH] = [one(h) for h in (0, 3, 9, 14, 18, 22)]
    lake.change({EPOCH + timedelta(days=1): [one(24 + h) for h in (1, 5, 9)]})
    assert lake.wrong() == []
    lake = Lake(session(7 * HOUR, 15 * HOUR, SIMPLE))
    for n in range(5):
        lake.days[EPOCH + timedelta(days=n)] = [one(24 * n + h) for h in (1, 7, 13, 19)]
    lake.change({EPOCH + timedelta(days=5): [one(24 * 5 + 1)]})
    assert lake.wrong() == [] and EPOCH in lake.looked, "read back to where they begin"


def test_traffic_without_end_is_not_read_to_its_end():
    """Sessions are cut by their length: the walk stops where one starts where one started before."""
    lake = Lake(session(3 * HOUR, 12 * HOUR, SIMPLE))
    days = {EPOCH + timedelta(days=n): [one(24 * n + h) for h in range(24)] for n in range(30)}
    lake.change(days)
    assert lake.wrong() == []
    lake.change({EPOCH + timedelta(days=9): days[EPOCH + timedelta(days=9)]})
    assert lake.wrong() == [] and lake.looked <= {EPOCH + timedelta(days=n) for n in (8, 9, 10)}


def test_other_rows_in_a_session_that_keeps_its_edges():
    lake = Lake(session(3 * HOUR, 24 * HOUR, SIMPLE))
    lake.change({EPOCH: [one(5), one(6), one(7)]})
    lake.change({EPOCH: [one(5), one(7)]})
    assert lake.wrong() == [] and [row["rows"] for row in lake.table.values()] == [2]


def test_a_cell_over_midnight_decides_what_came_before():
    """A cell joins or not by its last row: 22:00 joins, 22:00 with 00:30 would make the session too long."""
    lake = Lake(session(7 * HOUR, 15 * HOUR, SIMPLE))
    lake.change({EPOCH: [one(8), one(14), one(20), one(22)], EPOCH + timedelta(days=1): [one(24.5)]})
    assert len(lake.table) == 2
    lake.change({EPOCH + timedelta(days=1): []})
    assert lake.wrong() == [] and len(lake.table) == 1
    lake.change({EPOCH + timedelta(days=1): [one(24.5)]})
    assert lake.wrong() == [] and len(lake.table) == 2


def test_what_was_never_windowed_is_left_alone():
    lake = Lake(session(HOUR, 15 * HOUR, SIMPLE))
    lake.days.update({EPOCH + timedelta(days=n): [one(24 * n + 12)] for n in range(20)})
    lake.change({EPOCH + timedelta(days=5): [one(24 * 5 + 12), one(24 * 5 + 13)]})
    assert len(lake.table) == 2 and lake.looked == {EPOCH + timedelta(days=n) for n in (4, 5, 6)}


def test_a_day_that_is_emptied():
    for windowing in (session(HOUR, 12 * HOUR, SIMPLE), fixed(HOUR, SIMPLE)):
        lake = Lake(windowing)
        lake.change({EPOCH: [one(5), one(5, "b")]})
        assert len(lake.table) == 2
        lake.change({EPOCH: []})
        assert lake.table == {} and lake.change({EPOCH: []}).gone.num_rows == 0
