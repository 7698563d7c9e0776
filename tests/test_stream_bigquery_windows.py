"""Windows in a table where rows are only ever added: what stands is what a table shows whose rows may be deleted."""

import random
from types import SimpleNamespace

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.sinks.bigquery import Dataset
from pipelines.sinks.bigquery_stream_windows import EDGES, Told
from tests.test_panes import FOR_EVER, KINDS, SECOND, Stream, arrivals, at, row
from tests.window_oracle import batch, micros
from tests.windowings import SIMPLE, session
from transforms.panes import Panes, since
from transforms.partials import partials


class Appended(Stream):
    """Keeps beside the table one that nothing is deleted from: `log`."""

    def __init__(self, windowing) -> None:
        super().__init__(windowing)
        self.told, self.log = self._new(), []

    def _new(self) -> Told:
        return Told(None, Dataset("p", "d"), SimpleNamespace(windows=self.windowing, version="1"))

    def write(self, changes) -> None:
        rows = self.told.rows(changes)
        assert self.told.rows(changes).equals(rows), "a commit that failed leaves no trace"
        super().write(changes)
        self.log += rows.to_pylist()
        self.told.settle(self.watermark)

    def latest(self) -> dict:
        """As windows_latest has it."""
        last: dict = {}
        for one in self.log:
            last_pane = last.get((one["key"], one["window_start"]), {"pane": -1})["pane"]
            assert one["pane"] != last_pane, "no two rows of one window have one pane"
            if one["pane"] > last_pane:
                last[one["key"], one["window_start"]] = one
        return {(key, micros(start)): one for (key, start), one in last.items() if one["window_end"] > start}

    def killed(self, from_clock) -> None:
        """A new process reads the table."""
        self.panes, self.told = Panes(self.windowing), self._new()
        if self.watermark is None:
            return
        low = since(self.windowing, self.watermark)
        stored = [r for r in self.rows if r["at"] >= low]
        kept = [{name: one[name] for name in EDGES.names} for one in self.log if micros(one["window_start"]) >= self.told.low(low)]
        written = self.told.noted([pa.RecordBatch.from_pylist(kept, EDGES)], low)
        self.panes.restore(low, self.watermark, [partials(batch(stored), self.windowing, "at")[0]], written)


def same(stream: Appended) -> None:
    plain = {place: {k: v for k, v in one.items() if k not in ("key", "window_start", "pane", "is_late")} for place, one in stream.latest().items()}
    assert plain == {place: {k: v for k, v in one.items() if k not in ("pane", "is_late")} for place, one in stream.table.items()}


@settings(max_examples=120, deadline=None, derandomize=True)
@given(st.integers(0, 10 ** 6), st.sampled_from(KINDS), st.sampled_from([3, 12, 40]), st.sampled_from([0, 20, 100]))
def test_what_stands_is_the_table_after_every_run(seed, windowing, step, disorder) -> None:
    chance = random.Random(seed)
    stream = Appended(windowing)
    for rows, watermark in [*arrivals(chance, chance.randint(1, 80), step, disorder), ([], FOR_EVER)]:
        if chance.random() < 0.2:
            stream.killed(True)
        stream.run(rows, watermark)
        same(stream)
        assert stream.wrong() == []


@pytest.mark.parametrize("killed", [False, True])
def test_a_session_that_goes_comes_back_and_goes_again(killed) -> None:
    stream = Appended(session(10, 60, SIMPLE, lateness=100))
    for rows, watermark in (([row(0), row(15)], 30), ([row(24), row(8)], 31), ([], 34), ([row(33)], 35), ([], 43)):
        stream.run(rows, watermark * SECOND)
        same(stream)
        if killed:
            stream.killed(True)
    assert [(micros(o["window_start"]) // SECOND, micros(o["window_end"]) // SECOND, o["pane"], o["rows"]) for o in stream.log] == [
        (0, 10, 0, 1), (15, 25, 0, 1), (0, 0, 1, 0), (15, 15, 1, 0), (0, 34, 2, 4), (0, 0, 3, 0), (0, 43, 4, 5)]
    assert stream.latest().keys() == {("a", 0)} and at(0) == stream.log[0]["window_start"]
