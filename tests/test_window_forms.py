"""Window has three forms: of a batch, of repeated runs on one machine, and of the streaming graph. On the same rows with the
same column `watermark` they tell the same windows, those of the oracle."""

import random
from datetime import timedelta

import apache_beam as beam
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.contracts import plain_contract
from tests.test_window_shard import arrivals, early
from tests.test_window_stream import GATHERED, Gather, last_panes, streamed
from tests.window_oracle import SECOND, batch, differences, expected, is_late, micros
from tests.windowings import ALL, SIMPLE, fixed, session, sliding
from transforms.panes import Panes
from transforms.partials import partials
from transforms.window import Window
from transforms.window_clock import FOR_EVER

KINDS = [fixed(20, ALL, lateness=30), sliding(40, 10, ALL, lateness=25), session(10, 10_000, ALL, lateness=40), session(10, 25, ALL),
         fixed(7, SIMPLE, key=()), session(7, 30, SIMPLE, key=("key", "room")), sliding(30, 15, SIMPLE)]
DISORDER = 100  # seconds, as far as rows run behind


def bounded(windowing, runs):
    """{(key, start): (end, row)} of the batch form."""
    GATHERED.update(windows=[])
    with beam.Pipeline("FnApiRunner") as pipeline:
        (pipeline | beam.Create([batch(rows) for rows, _, _ in runs], reshuffle=False) | Window(windowing, "at", 3) | beam.ParDo(Gather("windows")))
    return last(GATHERED["windows"])


def repeated(windowing, runs):
    """The table that repeated runs leave."""
    panes, table = Panes(windowing), {}
    for rows, _, watermark in [*runs, ([], None, FOR_EVER)]:
        panes.add(partials(batch(rows), windowing, "at")[0])
        changes = panes.due(watermark)
        panes.settle()
        for row in changes.gone.to_pylist():
            del table[row["key"], micros(row["window_start"])]
        table |= last(changes.rows.to_pylist())
    return table


def stream(windowing, runs, away):
    """The last panes of the streaming graph, and the late rows; away: how many seconds after its watermark a run is published."""
    steps = []
    for rows, watermark, after in runs:
        published = (after if watermark is None else watermark) // SECOND + 1 + DISORDER + away
        steps += [published] if not steps or published > steps[-1][0] else []
        steps.append((published, rows))
    contract = plain_contract(windows=windowing, disorder=timedelta(seconds=DISORDER))
    told, refused, gone = streamed(contract, steps, 3)
    return last(last_panes(told, gone).values()), [row["origin"] for row in refused]


def last(rows):
    found = {}
    for row in rows:
        found[row["key"], micros(row["window_start"])] = micros(row["window_end"]), row
    return found


@settings(max_examples=10, deadline=None, derandomize=True, phases=[Phase.generate])  # an example takes too long to be made smaller
@given(st.integers(0, 10 ** 6), st.sampled_from(KINDS), st.sampled_from([0, 40, 100]), st.sampled_from([0, 10 ** 8]), st.booleans())
def test_three_forms_one_answer(seed, windowing, disorder, away, told_early):
    chance = random.Random(seed)
    runs = [(rows, watermark, after) for rows, watermark, after in arrivals(chance, 150, 3, disorder)]
    rows = [row for run, _, _ in runs for row in run]
    want = expected(rows, windowing)
    assert differences(bounded(windowing, runs), want, windowing) == []
    assert differences(repeated(windowing, runs), want, windowing) == []
    found, late = stream(early(windowing) if told_early else windowing, runs, away)
    assert sorted(late) == sorted(f"s:{row['id_hash']}" for row in rows if is_late(row, windowing))
    assert differences(found, want, windowing) == []
