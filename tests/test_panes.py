"""Repeated runs: after each one the table holds what the oracle says, whatever order, whatever fails, whenever it is killed."""

import random

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.window_oracle import SECOND, batch, differences, expected, micros
from tests.windowings import SIMPLE, fixed, session, sliding
from transforms.panes import Panes, since
from transforms.partials import partials
from transforms.window import window_schema

FOR_EVER = 10_000_000 * SECOND
KINDS = [fixed(20, SIMPLE), fixed(20, SIMPLE, lateness=30), sliding(40, 10, SIMPLE), sliding(40, 10, SIMPLE, lateness=25), session(10, 60, SIMPLE),
         session(10, 10_000, SIMPLE, lateness=40), session(10, 25, SIMPLE, lateness=20), session(7, 30, SIMPLE, key=()), session(10, 10, SIMPLE)]


class Stream:
    """What a job does around Panes: it stores rows, keeps the windows table, fails, and is killed."""

    def __init__(self, windowing):
        self.windowing, self.panes, self.table, self.rows = windowing, Panes(windowing), {}, []
        self.watermark, self.low = None, None

    def run(self, rows, watermark, fails=False):
        rows = [row | {"watermark": self.watermark} for row in rows]
        for piece in (rows[:len(rows) // 2], rows[len(rows) // 2:]):
            self.panes.add(partials(batch(piece), self.windowing, "at")[0])
        changes = self.panes.due(watermark)
        if fails:
            self.panes.drop()
            return
        self.write(changes)
        self.panes.settle()
        self.rows += rows
        self.watermark, self.low = watermark, self.panes.low()

    def write(self, changes):
        for row in changes.gone.to_pylist():
            del self.table[row["key"], micros(row["window_start"])]
        for row in changes.rows.to_pylist():
            place = row.pop("key"), micros(row.pop("window_start"))
            assert place not in self.table, "a row is deleted before it is written anew"
            self.table[place] = row

    def killed(self, from_clock):
        """A new process reads the tables."""
        self.panes = Panes(self.windowing)
        if self.watermark is None:
            return
        low = since(self.windowing, self.watermark) if from_clock else self.low
        assert low <= self.low, "since is never later than low"
        stored = [row for row in self.rows if row["at"] >= low]
        written = [row | {"key": key, "window_start": at(start)} for (key, start), row in self.table.items() if micros(row["window_end"]) > low]
        self.panes.restore(low, self.watermark, [partials(batch(stored), self.windowing, "at")[0]], pa.RecordBatch.from_pylist(written, window_schema(self.windowing)))

    def wrong(self):
        """What the table holds that the oracle does not, of the windows that the watermark has passed."""
        want = {place: told for place, told in expected(self.rows, self.windowing).items() if told[0] <= self.watermark}
        return differences({place: (micros(row["window_end"]), row) for place, row in self.table.items()}, want, self.windowing)


def at(time):
    return pa.scalar(time, pa.timestamp("us", "UTC")).as_py()


def arrivals(chance, rows, step, disorder, keys="abc"):
    """(rows, watermark) a run: event times go on by up to `step`, rows arrive up to `disorder` after their time, and the
    watermark follows at a distance that may be too short."""
    time, listed = 0, []
    for ident in range(rows):
        time += chance.randint(0, step * SECOND)
        listed.append({"at": time // 100_000 * 100_000, "watermark": None, "id_hash": ident, "key": chance.choice(keys), "room": 1, "n": chance.choice([None, 1, 2, 30]),
                       "x": 1.0, "word": "w"})
    listed.sort(key=lambda row: row["at"] + chance.random() * disorder * SECOND)
    distance, watermark, greatest = chance.choice([0, disorder / 3, disorder]), -FOR_EVER, -FOR_EVER
    while listed:
        n = chance.randint(1, 12)
        run, listed = listed[:n], listed[n:]
        greatest = max(greatest, *(row["at"] for row in run))
        watermark = max(watermark, int(greatest - distance * SECOND))
        yield run, watermark


@settings(max_examples=250, deadline=None)
@given(st.integers(0, 10 ** 6), st.sampled_from(KINDS), st.sampled_from([3, 12, 40]), st.sampled_from([0, 20, 100]))
def test_tables_are_right_after_every_run(seed, windowing, step, disorder):
    chance = random.Random(seed)
    steady, shaken = Stream(windowing), Stream(windowing)
    runs = [*arrivals(chance, chance.randint(1, 80), step, disorder), ([], FOR_EVER)]
    for rows, watermark in runs:
        steady.run(rows, watermark)
        for _ in range(chance.choice([0, 0, 1, 2])):
            shaken.run(rows[:chance.randint(0, len(rows))], chance.randint(shaken.watermark or 0, max(watermark, shaken.watermark or 0)), fails=True)
        if chance.random() < 0.2:
            shaken.killed(chance.random() < 0.5)
        shaken.run(rows, watermark)
        assert shaken.table == steady.table, "failures and kills leave no trace"
        assert steady.wrong() == []
    assert steady.panes.due(FOR_EVER + 1).rows.num_rows == 0
