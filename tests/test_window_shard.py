"""Shards of windows in the streaming graph, and their clock, without Beam."""

import random
from dataclasses import replace
from datetime import timedelta

import pytest
from apache_beam.transforms.window import GlobalWindow
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.window_oracle import SECOND, batch, differences, expected, micros
from tests.windowings import SIMPLE, fixed, session, sliding
from transforms.panes import Panes
from transforms.partials import partials
from transforms.window_clock import FOR_EVER, LAST, LONG_AGO, Clock
from transforms.window_firing import fire, soonest, still_open
from transforms.window_shard import Shard

KINDS = [fixed(20, SIMPLE), fixed(20, SIMPLE, lateness=30), sliding(40, 10, SIMPLE), sliding(40, 10, SIMPLE, lateness=25), session(10, 60, SIMPLE),
         session(10, 10_000, SIMPLE, lateness=40), session(10, 25, SIMPLE, lateness=20), session(7, 30, SIMPLE, key=()), session(10, 10, SIMPLE)]


def early(windowing, seconds=15):
    return replace(windowing, early=timedelta(seconds=seconds))


def discarding(windowing):
    return replace(windowing, accumulating=False)


def row(at, key="a", n=1, watermark=None, ident=0):
    return {"at": int(at * SECOND), "watermark": None if watermark is None else int(watermark * SECOND), "id_hash": ident, "key": key, "room": 1, "n": n, "x": 1.0, "word": "w"}


# The clock

def test_the_end_of_time():
    assert GlobalWindow().max_timestamp().micros == LAST
    assert Clock().heard(0, 0, 10).at(LAST, 0, 0) == FOR_EVER


@pytest.mark.parametrize("heard, time, want, remark", [
    ([(100, 30)], 100, 30, "as far as the rows say"),
    ([(100, 30)], 99, LONG_AGO, "not before all is in that was published before them"),
    ([(100, 95)], 100, 90, "never nearer to Beam's than the disorder"),
    ([(100, 95)], 105, 95, "which Beam's leaves behind"),
    ([(100, 30), (200, 20)], 200, 30, "never back"),
    ([(100, 30)], 120, 30, "stands while a shard may only be slow"),
    ([(100, 30)], 125, 35, "walks where it is idle"),
    ([(100, 30), (120, 31)], 125, 31, "is not idle"),
])
def test_watermark_of_a_shard(heard, time, want, remark):
    clock = Clock()
    for at, watermark in heard:
        clock = clock.heard(at, watermark, FOR_EVER)
    assert clock.at(time, 10, 20) == want, remark


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 10 ** 6), st.integers(0, 2 * 10 ** 6), st.integers(0, 2 * 10 ** 6)), min_size=1), st.data())
def test_what_is_due_is_due_when_the_timer_fires(heard, data):
    clock, disorder, idle = Clock(), 5000, 7000
    for at, watermark, due in heard:
        clock = clock.heard(at, watermark, due)
        time = clock.next(disorder, idle)
        assert time is not None and time % 1000 == 0
        if data.draw(st.booleans()):
            found = clock.at(time, disorder, idle)
            assert clock.due <= found <= time - disorder
            clock = clock.settled(time, found, FOR_EVER)
            assert clock.next(disorder, idle) is None and clock.watermark == found
            assert clock.at(time + 1, disorder, idle) >= found


def test_a_steady_stream_puts_no_firing_off():
    clock = Clock().heard(100_000, 50_000, 40_000)
    first = clock.next(10_000, 20_000)
    for at in range(101_000, 200_000, 1000):
        clock = clock.heard(at, at - 50_000, 90_000)
    assert first == clock.next(10_000, 20_000) == 100_000
    clock = clock.settled(100_000, clock.at(100_000, 10_000, 20_000), 90_000)
    assert clock.watermark == 50_000 and clock.next(10_000, 20_000) == 199_000, "the rows that make it due are the last ones that it knows"


# Shards, without Beam

class Table:
    """The panes of a shard as a reader finds them who takes the last one of each window."""

    def __init__(self, windowing):
        self.windowing, self.shard, self.watermark, self.due, self.new = windowing, Shard(), LONG_AGO, FOR_EVER, []
        self.rows, self.last, self.panes, self.sums, self.firings = [], {}, {}, {}, 0

    def add(self, rows):
        part, late = partials(batch(rows), self.windowing, "at")
        if part.num_rows:
            self.new.append(part)
            self.due = min(self.due, soonest(part, self.watermark if self.firings else -FOR_EVER, self.windowing))
        self.rows += [row for row, is_late in zip(rows, late) if not is_late]

    def fire(self, watermark):
        firing = fire(self.shard, self.new, self.watermark, watermark, self.windowing)
        for row in firing.gone.to_pylist():
            place = row["key"], micros(row["window_start"])
            assert row["pane"] == self.panes[place] == self.last.pop(place)["pane"], "a session is taken back once"
        seen = set()
        for row in firing.rows.to_pylist():
            place = row.pop("key"), micros(row.pop("window_start"))
            assert place not in seen, "a firing tells a window once"
            seen.add(place)
            assert row["pane"] == self.panes.get(place, -1) + 1, "panes of a window count up, also where it was gone"
            self.panes[place] = row["pane"]
            assert not row["is_late"] or micros(row["window_end"]) <= watermark
            self.last[place] = row
            rows, total = self.sums.get(place, (0, 0))
            self.sums[place] = rows + row["rows"], total + (row["total"] or 0)
        assert firing.due > watermark or watermark == FOR_EVER
        self.shard, self.watermark, self.due, self.new, self.firings = firing.shard, watermark, firing.due, [], self.firings + 1
        return firing

    def finish(self):
        """Fires what is due until nothing is."""
        while self.due < FOR_EVER:
            self.fire(max(self.due, self.watermark))
        assert self.shard == Shard() and not self.new, "nothing is held that can change no more"

    def found(self):
        return {place: (micros(row["window_end"]), row) for place, row in self.last.items()}


def arrivals(chance, rows, step, disorder, keys="abc"):
    """(rows, watermark as the run began, watermark after it): event times go on, rows come up to `disorder` late, and the
    watermark follows at a distance that may be too short."""
    time, listed = 0, []
    for ident in range(rows):
        time += chance.randint(0, step * SECOND)
        listed.append({"at": time // 100_000 * 100_000, "watermark": None, "id_hash": ident, "key": chance.choice(keys), "room": 1,
                       "n": chance.choice([None, 1, 2, 30]), "x": 1.0, "word": "w"})
    listed.sort(key=lambda row: row["at"] + chance.random() * disorder * SECOND)
    distance, watermark, greatest = chance.choice([0, disorder / 3, disorder]), None, LONG_AGO
    while listed:
        n = chance.randint(1, 12)
        run, listed = listed[:n], listed[n:]
        greatest = max(greatest, *(row["at"] for row in run))
        after = max(LONG_AGO if watermark is None else watermark, int(greatest - distance * SECOND))
        yield [row | {"watermark": watermark} for row in run], watermark, after
        watermark = after



CASES = given(st.integers(0, 10 ** 6), st.sampled_from(KINDS), st.sampled_from([3, 12, 40]), st.sampled_from([0, 20, 100]))


@settings(max_examples=80, deadline=None, derandomize=True)
@CASES
@example(8086, KINDS[6], 3, 20)  # late rows part a session elsewhere: its end changes though it got none of them
def test_every_firing_is_as_the_repeated_runs(seed, windowing, step, disorder):
    chance = random.Random(seed)
    table, panes = Table(windowing), Panes(windowing)
    for rows, _, watermark in [*arrivals(chance, chance.randint(1, 80), step, disorder), ([], None, FOR_EVER)]:
        table.add(rows)
        panes.add(partials(batch(rows), windowing, "at")[0])
        firing, changes = table.fire(watermark), panes.due(watermark)
        panes.settle()
        told, want = ([row | {"pane": 0} for row in found.rows.to_pylist()] for found in (firing, changes))
        assert sorted(told, key=str) == sorted(want, key=str), "the same windows, on time and late"
        whole = expected(table.rows, windowing)
        reopened = {place for place, told in whole.items() if told[0] > watermark}
        found = {place: told for place, told in table.found().items() if place not in reopened}
        assert differences(found, {place: told for place, told in whole.items() if place not in reopened}, windowing) == []
    assert table.shard == Shard() and table.due == FOR_EVER


@settings(max_examples=80, deadline=None, derandomize=True)
@CASES
@example(1748, KINDS[6], 3, 100)  # a session is joined to another, and later it is one again
def test_firing_no_sooner_than_due_and_early(seed, windowing, step, disorder):
    chance = random.Random(seed)
    windowing = chance.choice([windowing, early(windowing)])
    table = Table(windowing)
    for rows, _, watermark in arrivals(chance, chance.randint(1, 80), step, disorder):
        table.add(rows)
        if watermark >= table.due:
            table.fire(watermark)
    table.finish()
    assert differences(table.found(), expected(table.rows, windowing), windowing) == []


@settings(max_examples=80, deadline=None, derandomize=True)
@CASES
def test_discarding_tells_each_row_once(seed, windowing, step, disorder):
    chance = random.Random(seed)
    windowing = discarding(chance.choice([windowing, early(windowing)]))
    table = Table(windowing)
    for rows, _, watermark in arrivals(chance, chance.randint(1, 80), step, disorder):
        table.add(rows)
        if watermark >= table.due:
            table.fire(watermark)
    table.finish()
    want = {place: (values["rows"], values["total"] or 0) for place, (_, values) in expected(table.rows, windowing).items()}
    if windowing.kind == "session":
        assert [sum(sums) for sums in zip(*table.sums.values())] == [sum(sums) for sums in zip(*want.values())]
    else:
        assert table.sums == want


@pytest.mark.parametrize("windowing", [windowing for kind in (fixed(20, SIMPLE, lateness=15), sliding(40, 10, SIMPLE, lateness=15), session(10, 60, SIMPLE, lateness=15))
                                       for windowing in (kind, early(kind), discarding(kind), early(discarding(kind)))])
def test_state_is_bounded(windowing):
    table, most = Table(windowing), 0
    for second in range(0, 800, 2):
        table.add([row(second, key=key, watermark=second - 30) for key in "ab"])
        if (second - 30) * SECOND >= table.due:
            table.fire((second - 30) * SECOND)
        most = max(most, sum(part.num_rows for part in table.shard if part is not None))
    assert most <= 150, "two keys of 45 seconds; sessions, of a minute more"
    table.finish()


def test_an_early_moment_is_due_though_nothing_comes():
    table = Table(early(fixed(60, SIMPLE), 25))
    table.add([row(31, watermark=0)])
    table.fire(26 * SECOND)
    table.add([row(58, watermark=26)])
    table.fire(40 * SECOND)
    assert table.due == 50 * SECOND and [found["rows"] for found in table.fire(50 * SECOND).rows.to_pylist()] == [2]


@pytest.mark.parametrize("windowing, watermark, at, first, want, remark", [
    (fixed(60, SIMPLE), 59, 30, None, [60], "open"), (fixed(60, SIMPLE), 60, 30, None, [], "forgotten"), (fixed(60, SIMPLE, lateness=30), 89, 30, None, [60], "late, and taken"),
    (sliding(60, 20, SIMPLE), 70, 59, None, [80], "some of its windows are forgotten"),
    (session(10, 60, SIMPLE), 39, 30, None, [0], "open"), (session(10, 60, SIMPLE), 40, 30, None, [], "forgotten")])
def test_partials_that_come_too_late(windowing, watermark, at, first, want, remark):
    part, _ = partials(batch([row(at)]), windowing, "at")
    taken, over = still_open(part, watermark * SECOND, windowing)
    assert [end // SECOND for end in taken["first"].to_pylist()] == want and over.num_rows == (not want), remark
