import subprocess
import sys
from datetime import date, timedelta

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.deduplicate import CONFLICT, KEEP, REPEAT, deduplicate
from transforms.marks import Marks, joined, merged
from transforms.seen import Failed, Seen

DAY = 86_400_000_000


def marks(rows: list[tuple[int, int, int]]) -> Marks:
    columns = list(zip(*rows)) or [(), (), ()]
    return Marks(*(np.array(c, np.int64) for c in columns))


def by_id(rows: list[tuple[int, int, int]]) -> Marks:
    return marks(sorted(rows, key=lambda r: r[0]))


class Tables:
    """What is stored, by day; counts how often a day is read."""

    def __init__(self, rows: list[tuple[int, int, int]]) -> None:
        self.rows, self.read = rows, []

    def load(self, day: date) -> Marks:
        self.read.append(day)
        return by_id([r for r in self.rows if r[2] // DAY == (day - date(1970, 1, 1)).days])

    def days(self) -> list[date]:
        return [date(1970, 1, 1) + timedelta(days=d) for d in {r[2] // DAY for r in self.rows}]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 2), st.integers(0, 9 * DAY)), max_size=60), st.lists(st.integers(1, 9), min_size=1), st.data())
def test_runs_with_what_was_seen_are_one_run_over_all(rows, sizes, data) -> None:
    """Whatever the sizes of the runs, restarts and forgetting in between: the verdicts are those on all rows at once."""
    horizon = timedelta(days=2)
    kept: list[tuple[int, int, int]] = []
    tables = Tables(kept)
    seen, verdicts, start, turn = Seen(tables.load, (), horizon), [], 0, 0
    while start < len(rows):
        run = rows[start:start + sizes[turn % len(sizes)]]
        start, turn = start + len(run), turn + 1
        found = deduplicate(marks(run), horizon, seen.copies(marks(run)))
        verdicts += found.tolist()
        new = [row for row, verdict in zip(run, found) if verdict == KEEP]
        kept += new
        if new:
            seen.add(marks(new))
        match data.draw(st.integers(0, 3)):
            case 0:
                seen.forget(data.draw(st.integers(0, 20 * DAY)))
            case 1:
                seen = Seen(tables.load, tables.days(), horizon)
    assert verdicts == deduplicate(marks(rows), horizon).tolist()


@settings(max_examples=200, deadline=None, derandomize=True)
@given(*[st.lists(st.tuples(st.integers(0, 9), st.integers(0, 99), st.integers(0, 99)), max_size=30)] * 2)
def test_two_that_are_merged_are_joined(first, second) -> None:
    both = by_id(first), by_id(second)
    assert [column.tolist() for column in merged(*both)] == [column.tolist() for column in joined(both)]


GROWING = """
from pathlib import Path
import numpy as np
from datetime import timedelta
from transforms.marks import Marks
from transforms.seen import Seen
def resident():
    return next(int(line.split()[1]) * 1024 for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
seen, draw, most = Seen(lambda day: None, [], timedelta(days=1)), np.random.default_rng(1), 0
def run(number):
    seen.add(Marks(*draw.integers(-2**62, 2**62, (2, 2_000)), np.full(2_000, number)))
for number in range(40):
    run(number)
start = resident() - seen.rows() * 24
for number in range(40, 600):
    run(number)
    most = max(most, resident() - start - seen.rows() * 24)
print(most)
"""


def test_what_is_held_takes_24_bytes_a_row_and_no_more() -> None:
    """Though what is held is merged again and again: the heap keeps no holes where the parts were."""
    done = subprocess.run([sys.executable, "-c", GROWING], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 8_000_000, "of 29 MB at the end"


def test_a_day_is_read_once_and_only_when_a_row_needs_it() -> None:
    tables = Tables([(1, 1, 5 * DAY), (2, 1, 20 * DAY)])
    seen = Seen(tables.load, tables.days(), timedelta(days=1))
    assert seen.copies(marks([(1, 1, 10 * DAY)])) is None and tables.read == []
    for _ in range(3):
        found = seen.copies(marks([(1, 1, 5 * DAY + 7), (9, 9, 5 * DAY)]))
        assert found is not None and found.ids.tolist() == [1]
    assert tables.read == [date(1970, 1, 6)]


def test_memory_is_bounded_by_the_horizon_and_the_answers_are_not() -> None:
    tables = Tables([])
    seen = Seen(tables.load, (), timedelta(days=1))
    most = 0
    for day in range(200):
        rows = [(day * 1_000 + i, 1, day * DAY + i) for i in range(100)]
        tables.rows += rows
        seen.add(marks(rows))
        seen.forget(day * DAY)
        most = max(most, seen.rows())
    assert most <= 300
    old = marks([(3_005, 1, 3 * DAY + 5), (4_005, 2, 4 * DAY + 5), (77, 1, 4 * DAY)])
    assert deduplicate(old, timedelta(days=1), seen.copies(old)).tolist() == [REPEAT, CONFLICT, KEEP]


def test_a_day_and_a_half_are_kept_of_a_horizon_of_a_day() -> None:
    tables = Tables([])
    seen = Seen(tables.load, (), timedelta(days=1))
    most, hour = 0, DAY // 24
    for at in range(24 * 5):
        rows = [(at * 10 + i, 1, at * hour + i) for i in range(10)]
        assert [seen.copies(marks(rows)) for _ in range(100)] == [None] * 100, "many runs an hour"
        tables.rows += rows
        seen.add(marks(rows))
        seen.forget(at * hour)
        most = max(most, seen.rows())
    assert 10 * 24 < most <= 10 * (24 + 12 + 1) and tables.read == []
    assert deduplicate(marks([(950, 1, 95 * hour)]), timedelta(days=1), seen.copies(marks([(950, 1, 95 * hour)]))).tolist() == [REPEAT]


def test_stragglers_have_their_days_read_once_for_as_long_as_they_go_on() -> None:
    tables = Tables([(n, 1, n * DAY // 4) for n in range(40)])
    seen = Seen(tables.load, tables.days(), timedelta(hours=12))
    for n in range(300):
        now = marks([(n % 12, 1, (n % 12) * DAY // 4), (39, 1, 39 * DAY // 4)] if n < 60 else [(39, 1, 39 * DAY // 4)])
        assert deduplicate(now, timedelta(hours=12), seen.copies(now)).tolist() == [REPEAT] * len(now.ids)
        seen.forget(39 * DAY // 4)
        if n == 59:
            assert len(tables.read) == len(set(tables.read)), "each day once"
    assert seen.rows() <= 6, "and are forgotten then"


def test_failures_are_known_again() -> None:
    failed = Failed(f"s:{i}" for i in range(0, 1_000, 2))
    assert failed.among(["s:4", "s:5", "t:4"]) == [True, False, False]
    failed.add(f"s:{i}" for i in range(100_000, 160_000))
    assert failed.among(["s:4", "s:5", "s:123456", "s:99999"]) == [True, False, True, False]
    assert Failed([]).among(["s:1"]) == [False] and Failed([]).among([]) == []
