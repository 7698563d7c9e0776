"""Repeated runs: after each one the table holds what the oracle says, whatever order, whatever fails, whenever it is killed."""

import gzip
import pickle
import random
import re
from datetime import datetime

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.contract import SHIPPED
from tests.window_oracle import SECOND, batch, differences, expected, micros
from tests.windowings import COUNT, SIMPLE, fixed, session, sliding
from transforms.pane_chunks import Chunks, Held
from transforms.panes import Panes, since
from transforms.partials import partials
from transforms.soonest import Soonest
from transforms.window import window_schema, windows

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


@settings(max_examples=120, deadline=None)
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


def row(time, key="a", n=1):
    return {"at": int(time * SECOND), "id_hash": int(time * 10), "key": key, "room": 1, "n": n, "x": 1.0, "word": "w"}


def told(stream, rows, watermark):
    """(what went, what came) of one run: starts in seconds; of what came also end, pane, is_late and rows."""
    gone, rows_ = [], []
    write = stream.write

    def noted(changes):
        gone.extend(sorted(micros(r["window_start"]) // SECOND for r in changes.gone.to_pylist()))
        rows_.extend(sorted((micros(r["window_start"]) // SECOND, micros(r["window_end"]) // SECOND, r["pane"], r["is_late"], r["rows"]) for r in changes.rows.to_pylist()))
        write(changes)

    stream.write = noted
    stream.run(rows, watermark * SECOND)
    stream.write = write
    assert stream.wrong() == []
    return gone, rows_


def test_a_window_that_is_written_anew_counts_its_panes():
    stream = Stream(fixed(20, SIMPLE, lateness=30))
    assert told(stream, [row(5)], 10) == ([], [])
    assert told(stream, [row(25)], 20) == ([], [(0, 20, 0, False, 1)])
    assert told(stream, [row(6), row(7)], 21) == ([0], [(0, 20, 1, True, 3)])
    assert told(stream, [row(8, "b")], 22) == ([], [(0, 20, 0, True, 1)]), "the first row of its key came late"
    stream.killed(from_clock=True)
    assert told(stream, [row(9), row(10, "b")], 49) == ([0, 0], [(0, 20, 1, True, 2), (0, 20, 2, True, 4), (20, 40, 0, False, 1)])
    assert told(stream, [row(9)], 50) == ([0], [(0, 20, 3, True, 5)])
    assert told(stream, [row(9)], 51) == ([], []), "past its lateness a row counts no more"


def test_a_late_row_that_joins_two_sessions_that_were_written():
    stream = Stream(session(10, 60, SIMPLE, lateness=100))
    assert told(stream, [row(0), row(15)], 30) == ([], [(0, 10, 0, False, 1), (15, 25, 0, False, 1)])
    assert told(stream, [row(8)], 31) == ([0, 15], [(0, 25, 1, True, 3)])


def test_a_late_row_inside_a_session_that_was_written():
    stream = Stream(session(10, 60, SIMPLE, lateness=100))
    assert told(stream, [row(0), row(9), row(0, "b")], 30) == ([], [(0, 10, 0, False, 1), (0, 19, 0, False, 2)])
    assert told(stream, [row(5)], 31) == ([0], [(0, 19, 1, True, 3)]), "the other key's row stays"


def test_a_late_row_before_a_session_moves_its_start():
    stream = Stream(session(10, 60, SIMPLE, lateness=100))
    told(stream, [row(15)], 30)
    assert told(stream, [row(8)], 31) == ([15], [(8, 25, 0, True, 2)])


def test_a_late_row_that_opens_a_session_again():
    stream = Stream(session(10, 60, SIMPLE, lateness=100))
    assert told(stream, [row(0)], 11) == ([], [(0, 10, 0, False, 1)])
    assert told(stream, [row(9)], 12) == ([0], []), "it has not ended: it is not in the table"
    stream.killed(from_clock=False)
    assert told(stream, [], 19) == ([], [(0, 19, 0, False, 2)])


def test_a_session_that_never_ends_is_cut_and_forgotten():
    stream = Stream(session(10, 30, SIMPLE))
    written = [told(stream, [row(t)], t) for t in range(0, 600, 5)]
    assert sum(len(rows) for _, rows in written) == 19 and all(not gone for gone, _ in written)
    assert stream.low >= (595 - 30 - 20) * SECOND, "what is over is forgotten"


def test_a_cut_session_takes_nothing_of_the_next():
    """Killed while the session that is held starts at the very edge from which rows are read again."""
    stream = Stream(session(10, 30, SIMPLE))
    told(stream, [row(t) for t in (0, 9, 18, 27, 30, 39, 48)], 51)
    assert stream.low == 30 * SECOND and list(stream.table) == [("a", 0)]
    stream.killed(from_clock=False)
    assert told(stream, [], 58) == ([], [(30, 58, 0, False, 3)])


def test_memory_is_bounded():
    for windowing in (sliding(40, 10, SIMPLE, lateness=20), session(10, 60, SIMPLE, lateness=20)):
        panes, sizes = Panes(windowing), []
        panes.add(partials(batch([row(t, "stays") for t in range(0, 1000, 5)]), windowing, "at")[0])
        for t in range(0, 1000, 3):
            panes.add(partials(batch([row(t, str(t))]), windowing, "at")[0])
            panes.due(t * SECOND)
            panes.settle()
            if t % 30 == 0:
                sizes.append(len(pickle.dumps(panes)))
        assert max(sizes[20:]) < 1.2 * max(sizes[:12])


def test_the_watermark_never_goes_back():
    stream = Stream(fixed(20, SIMPLE))
    told(stream, [row(5)], 20)
    stream.panes.due(0)
    stream.panes.settle()
    assert stream.panes.watermark == 20 * SECOND


def test_nothing_is_done_before_settle():
    panes = Panes(fixed(20, SIMPLE))
    panes.add(partials(batch([row(5)]), panes.windowing, "at")[0])
    assert [panes.due(20 * SECOND).rows["rows"].to_pylist() for _ in range(2)] == [[1], [1]]
    assert panes.low() is None and panes.watermark is None
    panes.drop()
    panes.settle()
    assert panes.watermark is None and panes.due(20 * SECOND).rows.num_rows == 0


def test_the_access_log_has_3052_visits():
    """The sessions of the log by address, half an hour apart, in order of time and 60 s out of order, killed on the way."""
    with gzip.open(SHIPPED / "weblog" / "apache_logs.txt.gz", "rt", encoding="utf-8") as lines:
        found = [re.match(r"(\S+) \S+ \S+ \[([^\]]+)\]", line).groups() for line in lines]
    rows = [{"at": micros(datetime.strptime(time, "%d/%b/%Y:%H:%M:%S %z")), "id_hash": n, "key": ip, "room": 1, "n": 1, "x": 1.0, "word": "w"} for n, (ip, time) in enumerate(found)]
    windowing = session(1800, 86_400, (COUNT,))
    assert len(rows) == 10_000 and windows([partials(batch(rows), windowing, "at")[0]], windowing).num_rows == 3_052
    chance = random.Random(5)
    rows.sort(key=lambda r: r["at"] + chance.random() * 60 * SECOND)
    stream = Stream(windowing)
    greatest = -FOR_EVER
    for start in range(0, len(rows), 500):
        greatest = max(greatest, *(r["at"] for r in rows[start:start + 500]))
        stream.run(rows[start:start + 500], greatest - 60 * SECOND)
        if start % 2000 == 0:
            stream.killed(from_clock=start % 4000 == 0)
    stream.run([], 2 ** 60)
    assert len(stream.table) == 3_052 and sum(r["rows"] for r in stream.table.values()) == 10_000 and {r["pane"] for r in stream.table.values()} == {0}


def test_soonest():
    chance, soonest, numbers = random.Random(3), Soonest(), {}
    for _ in range(3000):
        key, number = chance.choice(["a", "b", None, "c", 5]), chance.randrange(100)
        if chance.random() < 0.2:
            soonest.drop(key)
            numbers.pop(key, None)
        else:
            soonest.put(key, number)
            numbers[key] = number
        limit = chance.randrange(100)
        assert sorted(map(str, soonest.upto(limit))) == sorted(str(k) for k, n in numbers.items() if n <= limit)
        assert soonest.least() == min(numbers.values(), default=None)


def test_chunks():
    """Many puts and drops of random keys: what comes back is what was put last."""
    chance, chunks, want = random.Random(3), Chunks(), {}
    for turn in range(400):
        keys = chance.sample("abcdefghijklmnop", chance.randint(1, 5))
        sizes = [chance.randint(0, 3) for _ in keys]
        part = pa.RecordBatch.from_pydict({"key": [k for k, n in zip(keys, sizes) for _ in range(n)], "turn": pa.array([turn] * sum(sizes), pa.int64())})
        stops = [sum(sizes[:i + 1]) for i in range(len(keys))]
        chunks.put(part, {k: Held(stop - n, stop) for k, n, stop in zip(keys, sizes, stops) if n})
        want |= {k: [turn] * n for k, n in zip(keys, sizes) if n}
        gone = chance.choice("abcdefghijklmnop")
        chunks.drop(gone)
        want.pop(gone, None)
        found = {}
        for b in chunks.of("abcdefghijklmnop"):
            for r in b.to_pylist():
                found.setdefault(r["key"], []).append(r["turn"])
        assert found == want
