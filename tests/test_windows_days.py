"""Windows on a dataset of BigQuery are rebuilt some days at a time: which ones, and what is right wherever a rebuild dies. In memory, without a service."""

import random
from collections.abc import Iterable
from datetime import date, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.sinks.bigquery_windows import chunks
from schemas.windows import Windowing
from tests.test_rebuild import DAY, EPOCH, events
from tests.test_rebuild import KINDS as ALL_KINDS
from tests.test_rebuild import Lake as Memory
from tests.window_oracle import micros
from transforms.rebuild import rebuild


@given(st.lists(st.integers(0, 10), min_size=1, max_size=30), st.integers(1, 25))
@settings(max_examples=200)
def test_days_come_in_their_order_and_in_bounded_numbers(rows: list[int], most: int) -> None:
    days = [date(2026, 1, 1) + timedelta(days=n) for n in range(len(rows))]
    held = dict(zip(days, rows))
    found = list(chunks(days, held, most))
    assert [day for some in found for day in some] == days and all(some for some in found)
    assert all(len(some) == 1 or sum(held[day] for day in some) <= most for some in found)
    assert all(sum(held[day] for day in some) + held[after[0]] > most for some, after in zip(found, found[1:]))


class Partitions(Memory):
    """Events and windows in memory; the rows that change are loaded day by day, as on BigQuery."""

    def load(self, days: Iterable[date], most: int) -> bool:
        """Rebuilds, and dies after so many of the days that change; whether it came to the end."""
        changes = rebuild(self.read, list(days), self.old, self.windowing, "at")
        went = {(row["key"], micros(row["window_start"])) for row in changes.gone.to_pylist()}
        come = {(row["key"], micros(row["window_start"])): row for row in changes.rows.to_pylist()}
        for number, day in enumerate(sorted({start // DAY_MICROS for _, start in [*went, *come]}, reverse=True)):
            if number == most:
                return False
            self.table = {place: row for place, row in self.table.items() if place not in went or place[1] // DAY_MICROS != day}
            self.table |= {place: {k: v for k, v in row.items() if k not in ("key", "window_start")} for place, row in come.items() if place[1] // DAY_MICROS == day}
        return True


DAY_MICROS = DAY * 1_000_000


@given(st.integers(0, 10**6), st.sampled_from(ALL_KINDS), st.sampled_from([2, 8, 20]))
@settings(max_examples=40, deadline=None)
def test_a_rebuild_that_dies_between_days_is_put_right_by_the_next_one_of_them(seed: int, windowing: Windowing, most: int) -> None:
    chance, memory = random.Random(seed), Partitions(windowing)
    for _ in range(4):
        days = [EPOCH + timedelta(days=n) for n in chance.sample(range(-4, 8), chance.randint(1, 3))]
        memory.days.update({day: events(chance, day, most) for day in days})
        while not memory.load(days, chance.choice([0, 1, 2, 3, 100])):
            pass
        assert memory.wrong() == []


@given(st.integers(0, 10**6), st.sampled_from(ALL_KINDS), st.sampled_from([2, 8, 20]), st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_all_days_some_at_a_time_are_right_whatever_the_table_held(seed: int, windowing: Windowing, most: int, at_once: int) -> None:
    chance, memory = random.Random(seed), Partitions(windowing)
    days = [EPOCH + timedelta(days=n) for n in range(-4, 8)]
    memory.days.update({day: events(chance, day, most) for day in days})
    memory.load(days, 100)
    memory.days.update({day: events(chance, day, most) for day in chance.sample(days, 6)})
    for place in chance.sample(sorted(memory.table, key=str), len(memory.table) // 3):
        del memory.table[place]
    for some in chunks(days, {day: len(memory.days[day]) for day in days}, at_once):
        memory.load(some, 100)
    assert memory.wrong() == []
