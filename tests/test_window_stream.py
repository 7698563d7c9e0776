"""The streaming form of Window on TestStream: what it tells, when, and that no late row is lost."""

from datetime import timedelta

import apache_beam as beam
import orjson
import pyarrow as pa
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing import test_stream
from apache_beam.transforms.window import TimestampedValue

from tests.contracts import plain_contract
from tests.test_window_shard import discarding, early, row
from tests.window_oracle import SECOND, batch, differences, expected, micros
from tests.windowings import SIMPLE, fixed, session, sliding
from transforms.batch import with_column
from transforms.window_stream import WindowStream


def events(rows):
    """A batch as it is stored, of the contract `plain`."""
    found = batch(rows)
    columns = {"id": [str(r["id_hash"]) for r in rows], "text": ["t"] * len(rows), "origin": [f"s:{r['id_hash']}" for r in rows]}
    for name, values in columns.items():
        found = with_column(found, name, pa.array(values, pa.string()))
    return with_column(found, "d", found["at"].cast(pa.date32()))


def stream_of(steps):
    """A step is a time that Beam's watermark goes to, or (time of publication, rows); then the stream is drained."""
    stream = test_stream.TestStream()
    for step in steps:
        stream = stream.add_elements([TimestampedValue(events(step[1]), step[0])]) if isinstance(step, tuple) else stream.advance_watermark_to(step)
    return stream.advance_watermark_to_infinity()


GATHERED: dict[str, list] = {}


class Gather(beam.DoFn):
    """What the transform tells, in this process. assert_that does not see what comes at the end of time: on this runner a
    timer does not hold the watermark of what follows it."""

    def __init__(self, name: str):
        self.name = name

    def process(self, rows):
        GATHERED[self.name] += rows.to_pylist()


def streamed(contract, steps, shards=2, idle=30):
    """Rows of the outputs windows, refused and gone."""
    GATHERED.update(windows=[], refused=[], gone=[])
    with beam.Pipeline("BundleBasedDirectRunner", options=PipelineOptions(["--streaming"])) as pipeline:
        told = pipeline | stream_of(steps) | WindowStream(contract, shards, timedelta(seconds=idle))
        for name in GATHERED:
            getattr(told, name) | name >> beam.ParDo(Gather(name))
    return tuple(GATHERED.values())


def last_panes(told, gone):
    """{(key, start): row}, whatever the order in which they come."""
    last = {}
    for pane in told:
        place = pane["key"], micros(pane["window_start"])
        last[place] = max(pane, last.get(place, pane), key=lambda found: found["pane"])
    for session_ in gone:
        place = session_["key"], micros(session_["window_start"])
        if last[place]["pane"] == session_["pane"]:
            del last[place]
    return last


def check(windowing, steps, windows, late=(), gone=()):
    """windows: (key, start, end, pane, is_late, rows); late: origins; gone: (key, start)."""
    def second(moment):
        return micros(moment) // SECOND

    told, refused, taken = streamed(plain_contract(windows=windowing, disorder=timedelta(seconds=10)), steps)
    assert sorted((row["key"], second(row["window_start"]), second(row["window_end"]), row["pane"], row["is_late"], row["rows"]) for row in told) == sorted(windows)
    assert sorted(row["origin"] for row in refused) == sorted(late)
    assert sorted((row["key"], second(row["window_start"])) for row in taken) == sorted(gone)


LIVE = [0, (40, [row(30, ident=1), row(31, "b", ident=2)]), 75, (75, [row(55, watermark=59, ident=3), row(65, watermark=59, ident=4)]), 110]


@pytest.mark.parametrize("windowing, steps, windows, late, remark", [
    (fixed(60, SIMPLE), LIVE, [("a", 0, 60, 0, False, 2), ("b", 0, 60, 0, False, 1), ("a", 60, 120, 0, False, 1)], [], "each window once"),
    (fixed(60, SIMPLE), [*LIVE, (140, [row(50, watermark=60, ident=5), row(61, watermark=60, ident=6)])],
     [("a", 0, 60, 0, False, 2), ("b", 0, 60, 0, False, 1), ("a", 60, 120, 0, False, 2)], ["s:5"], "late by its column"),
    (fixed(60, SIMPLE, lateness=60), [*LIVE, (111, [row(50, watermark=60, ident=5)]), 150],
     [("a", 0, 60, 0, False, 2), ("a", 0, 60, 1, True, 3), ("b", 0, 60, 0, False, 1), ("a", 60, 120, 0, False, 1)], [], "within the lateness"),
    (discarding(fixed(60, SIMPLE, lateness=60)), [*LIVE, (111, [row(50, watermark=60, ident=5)]), 150],
     [("a", 0, 60, 0, False, 2), ("a", 0, 60, 1, True, 1), ("b", 0, 60, 0, False, 1), ("a", 60, 120, 0, False, 1)], [], "the late row alone"),
    (early(fixed(60, SIMPLE), 20), [0, (30, [row(15, watermark=15)]), (32, [row(16, watermark=22)]), 40, (50, [row(35, watermark=40)]), 55, 90, 130],
     [("a", 0, 60, 0, False, 2), ("a", 0, 60, 1, False, 3), ("a", 0, 60, 2, False, 3)], [], "twice early, then on time"),
    (discarding(early(fixed(60, SIMPLE), 20)), [0, (30, [row(15, watermark=15)]), (32, [row(16, watermark=22)]), 40, (50, [row(35, watermark=40)]), 55, 90, 130],
     [("a", 0, 60, 0, False, 2), ("a", 0, 60, 1, False, 1)], [], "nothing new on time"),
    (sliding(60, 30, SIMPLE), [0, (40, [row(35, watermark=30)]), (90, [row(75, watermark=70)]), 200],
     [("a", 0, 60, 0, False, 1), ("a", 30, 90, 0, False, 2), ("a", 60, 120, 0, False, 1)], [], "sliding"),
    (session(20, 600, SIMPLE), [0, (40, [row(30, watermark=30)]), (52, [row(45, watermark=42)]), (90, [row(80, watermark=80)]), 300],
     [("a", 30, 65, 0, False, 2), ("a", 80, 100, 0, False, 1)], [], "sessions"),
    (early(session(20, 600, SIMPLE), 10), [0, (40, [row(30, watermark=28)]), (45, [row(45, watermark=30)]), 46, (60, [row(60, watermark=45)]), 300],
     [("a", 30, 65, 0, False, 2), ("a", 30, 80, 1, False, 3), ("a", 30, 80, 2, False, 3)], [], "an early session grows"),
])
def test_what_is_told(windowing, steps, windows, late, remark):
    check(windowing, steps, windows, late)


def test_a_late_row_joins_sessions():
    steps = [0, (40, [row(30, watermark=25)]), (75, [row(62, watermark=55)]), 140, (141, [row(47, watermark=90, ident=5)]), 300]
    check(session(20, 600, SIMPLE, lateness=60), steps, [("a", 30, 50, 0, False, 1), ("a", 62, 82, 0, False, 1), ("a", 30, 82, 1, True, 3)], gone=[("a", 62)])


def test_a_replay_of_long_ago():
    """Windows close as the events go by, though all that Beam knows is later by far; and at the end, by idleness."""
    day = 10_000_000
    steps = [day, *((day + i, [row(i * 10, watermark=max(0, i * 10 - 20), ident=i)]) for i in range(12)), day + 11]
    check(fixed(60, SIMPLE), steps, [("a", 0, 60, 0, False, 6), ("a", 60, 120, 0, False, 6)])


@pytest.mark.parametrize("windowing", [fixed(60, SIMPLE), session(20, 600, SIMPLE)])
def test_rows_that_count_by_their_column_but_come_when_all_is_forgotten(windowing):
    """A worker that was behind: its rows travel whole, and the shard refuses those that it cannot count."""
    steps = [0, (40, [row(30, watermark=20)]), 100, (200, [row(180, watermark=190)]), 201, (202, [row(31, ident=7, watermark=20), row(195, ident=8, watermark=20)]), 400]
    want = [("a", 0, 60, 0, False, 1), ("a", 180, 240, 0, False, 2)] if windowing.kind == "fixed" else [("a", 30, 50, 0, False, 1), ("a", 180, 215, 0, False, 2)]
    check(windowing, steps, want, ["s:7"])


def test_rows_that_come_behind_the_watermark_of_beam():
    """Published long ago, and not expected any more: counted by key and cell."""
    steps = [0, (40, [row(30, watermark=20)]), (200, [row(180, watermark=190)]), 201, (45, [row(31, ident=7, watermark=20), row(32, ident=8, watermark=20)]), 400]
    check(fixed(60, SIMPLE), steps, [("a", 0, 60, 0, False, 1), ("a", 180, 240, 0, False, 1)], ["window:1970-01-01T00:00:31+00:00"] * 2)


def test_a_late_row_is_kept_as_it_is_stored():
    told, (found,), gone = streamed(plain_contract(windows=fixed(60, SIMPLE)), [(100, [row(30, watermark=60, ident=3)])])
    assert not told and not gone
    assert (found["stage"], found["reason"], found["field"], found["origin"]) == ("window", "late", "at", "s:3")
    assert orjson.loads(found["row"]) == {"id": "3", "at": "1970-01-01T00:00:30+00:00", "text": "t"}


@pytest.mark.parametrize("windowing", [early(sliding(60, 10, SIMPLE)), session(20, 60, SIMPLE)])
def test_state_and_timers_over_the_fn_api(windowing):
    """As workers of Dataflow speak it: coders of state and key, and a timer that sets the next one."""
    rows = [row(at, key, ident=at) for at in range(0, 200, 7) for key in "abc"]
    GATHERED.update(windows=[], refused=[], gone=[])
    with beam.Pipeline("FnApiRunner") as pipeline:
        told = (pipeline | beam.Create([events(rows[:20]), events(rows[20:])], reshuffle=False) | beam.Map(lambda found: TimestampedValue(found, 300))
                | WindowStream(plain_contract(windows=windowing), 2))
        for name in GATHERED:
            getattr(told, name) | name >> beam.ParDo(Gather(name))
    found = {place: (micros(last["window_end"]), last) for place, last in last_panes(GATHERED["windows"], GATHERED["gone"]).items()}
    assert differences(found, expected(rows, windowing), windowing) == [] and not GATHERED["refused"]


def test_a_contract_without_windows():
    with pytest.raises(ValueError):
        WindowStream(plain_contract())
