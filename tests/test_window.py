"""Windows by partials against the oracle; in any batches, in any order, and through Beam."""

import random

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.testing.util import assert_that
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.window_oracle import SECOND, batch, differences, expected, is_late, told
from tests.windowings import KINDS, SIMPLE, fixed, rows, session, sliding
from transforms.partials import combined, partials
from transforms.window import Window, window_schema, windows


def cut(listed, seed):
    """The rows in batches of any size, in any order."""
    chance = random.Random(seed)
    listed = chance.sample(listed, len(listed))
    while listed:
        n = chance.randint(1, len(listed))
        yield batch(listed[:n])
        listed = listed[n:]


@settings(max_examples=160, deadline=None)
@given(rows(), st.sampled_from(KINDS), st.integers(0, 1000))
def test_any_batches_in_any_order(listed, windowing, seed):
    cuts = [partials(b, windowing, "at") for b in cut(listed, seed)]
    parts = [part for part, _ in cuts]
    assert sum(int(late.sum()) for _, late in cuts) == sum(is_late(row, windowing) for row in listed)
    found = windows(parts, windowing)
    assert found.schema == window_schema(windowing)
    want = expected(listed, windowing)
    assert differences(told([found]), want, windowing) == []
    if parts:
        assert differences(told([windows([combined(parts, windowing)], windowing)]), want, windowing) == []


@settings(max_examples=100, deadline=None)
@given(rows(), st.sampled_from(KINDS), st.integers(0, 1000))
def test_partials_combine_to_the_same_in_any_order(listed, windowing, seed):
    whole = combined([partials(batch(listed), windowing, "at")[0]], windowing)
    parts = [partials(b, windowing, "at")[0] for b in cut(listed, seed)]
    while len(parts) > 1:
        parts = [combined(parts[:2], windowing), *parts[2:]] if seed % 2 else [*parts[:-2], combined(parts[-2:], windowing)]
    for part in (combined([part], windowing) for part in parts):
        assert part.schema == whole.schema
        for name in whole.schema.names:
            if name == "sum:x":
                assert part[name].to_pylist() == pytest.approx(whole[name].to_pylist(), rel=1e-9, abs=1e-9)
            else:
                assert part[name].equals(whole[name]), name


def row(at, key="a", n=1, watermark=None, ident=0):
    return {"at": int(at * SECOND), "watermark": None if watermark is None else int(watermark * SECOND), "id_hash": ident, "key": key, "room": 1, "n": n, "x": 1.0,
            "word": "w"}


def spans(listed, windowing):
    found = windows([partials(batch(listed), windowing, "at")[0]], windowing)
    return sorted((key, start // SECOND, end // SECOND, values["rows"]) for (key, start), (end, values) in told([found]).items())


@pytest.mark.parametrize("windowing, times, want, remark", [
    (fixed(60, SIMPLE), [0, 59.999999, 60], [(0, 60, 2), (60, 120, 1)], "an end is not inside"),
    (fixed(60, SIMPLE), [-1], [(-60, 0, 1)], "before the epoch"),
    (sliding(60, 20, SIMPLE), [59], [(0, 60, 1), (20, 80, 1), (40, 100, 1)], "three windows hold it"),
    (session(10, 60, SIMPLE), [0, 9.999999, 25], [(0, 19, 2), (25, 35, 1)], "less than a gap apart"),
    (session(10, 60, SIMPLE), [0, 10], [(0, 10, 1), (10, 20, 1)], "a gap apart"),
    (session(10, 30, SIMPLE), [0, 9, 18, 27, 36, 45], [(0, 37, 4), (36, 55, 2)], "no session spans max_length"),
    (session(10, 30, SIMPLE), [0, 9, 18, 27, 30], [(0, 37, 4), (30, 40, 1)], "nor is it max_length long"),
])
def test_edges(windowing, times, want, remark):
    assert spans([row(t) for t in times], windowing) == [("a", *w) for w in want], remark


@pytest.mark.parametrize("windowing, watermark, late", [
    (fixed(60, SIMPLE), 59, False), (fixed(60, SIMPLE), 60, True), (fixed(60, SIMPLE, lateness=30), 89, False), (fixed(60, SIMPLE, lateness=30), 90, True),
    (session(10, 60, SIMPLE), 39, False), (session(10, 60, SIMPLE), 40, True), (sliding(60, 20, SIMPLE), 79, False), (sliding(60, 20, SIMPLE), 80, True)])
def test_late(windowing, watermark, late):
    part, mask = partials(batch([row(30, watermark=watermark)]), windowing, "at")
    assert mask.tolist() == [late] and part.num_rows == (not late)


def test_a_row_counts_in_those_of_its_windows_that_still_take_it():
    assert spans([row(59, watermark=70)], sliding(60, 20, SIMPLE)) == [("a", 20, 80, 1), ("a", 40, 100, 1)]


def test_keys_of_several_columns_are_json():
    listed = [row(0), row(0, None), row(0, 'quo"te')]
    assert sorted(w[0] for w in spans(listed, fixed(60, SIMPLE, key=("key", "room")))) == ['["a",1]', '["quo\\"te",1]', "[null,1]"]
    assert [w[0] for w in spans(listed, fixed(60, SIMPLE, key=("room",)))] == ["1"]
    assert [w[0] for w in spans(listed, fixed(60, SIMPLE, key=()))] == [None]


def test_keys_of_other_types_are_text():
    rows_ = batch([row(0)]).append_column("flag", pa.array([True])).append_column("day", pa.array([1], pa.date32()))
    keyed = [windows([partials(rows_, fixed(60, SIMPLE, key=key), "at")[0]], fixed(60, SIMPLE))["key"].to_pylist() for key in (("flag",), ("day",), ("day", "flag"))]
    assert keyed == [["true"], ["1970-01-02"], ['["1970-01-02",true]']]


def test_a_thousand_windows_a_row_in_slabs():
    windowing = sliding(1000, 1, SIMPLE)
    listed = [row(i * 0.7, n=i, key=str(i % 3)) for i in range(1100)]
    got = told([windows([partials(batch(listed), windowing, "at")[0]], windowing)])
    assert differences(got, expected(listed, windowing), windowing) == []


def test_times_far_apart():
    windowing = session(1, 60, SIMPLE)
    listed = [row(0), row(250_000_000_000), row(-60_000_000_000), row(250_000_000_000.5)]
    assert differences(told([windows([partials(batch(listed), windowing, "at")[0]], windowing)]), expected(listed, windowing), windowing) == []


@pytest.mark.parametrize("held", [100_000, 10])
@pytest.mark.parametrize("windowing", [KINDS[0], KINDS[2], KINDS[6]])
def test_transform(windowing, held):
    """held: fewer partials than a bundle has go on before it ends, and count once all the same."""
    chance = random.Random(5)
    listed = [row(chance.randint(-100, 4000) / 10, chance.choice("abcdefgh"), i, ident=i) for i in range(400)]
    want = expected(listed, windowing)

    def check(batches):
        assert differences(told(batches), want, windowing) == []

    with beam.Pipeline("FnApiRunner") as pipeline:
        assert_that(pipeline | beam.Create(list(cut(listed, 3)), reshuffle=False) | Window(windowing, "at", held=held), check)


def test_without_rows():
    windowing = session()
    part, late = partials(batch([]), windowing, "at")
    assert part.num_rows == 0 and late.tolist() == []
    assert combined([part], windowing).num_rows == 0
    assert windows([part], windowing).schema == window_schema(windowing) == windows([], windowing).schema
