"""States of measures: exact where they say so, near where they are sketches, the same in any order of merging."""

import math
import subprocess
import sys
from datetime import date, datetime, timezone

import numpy as np
import pyarrow as pa
import pytest

from schemas.arrow import arrow_type
from schemas.windows import Measure
from transforms import sketches
from transforms.groups import dense, grouped, ranked
from transforms.measures import lift, merge, read

MOST = 2 ** 63 - 1
NOON = datetime(2026, 3, 4, 12, tzinfo=timezone.utc)


def measured(kind, type_, values, stored="long", at=None, times=None, ties=None, parts=1):
    """The measure of one group of rows, merged in so many parts and then once more."""
    measure = Measure("m", kind, "v", at, type_)
    column = pa.array(values, arrow_type(stored))
    times, ties = (np.array(given if given is not None else range(len(values)), np.int64) for given in (times, ties))
    lifted = lift(pa.RecordBatch.from_arrays([column], ["v"]), [measure], times, ties)
    by_part = merge(lifted, grouped(np.arange(len(values)) % parts))
    result = read(measure, merge(by_part, grouped(np.zeros(parts, np.int64))))
    assert result.type == arrow_type(type_) and len(result) == 1
    return result[0].as_py()


@pytest.mark.parametrize("kind, type_, values, stored, want", [
    ("sum", "long", [1, None, 5], "long", 6), ("sum", "long", [None], "long", None), ("sum", "long", [-1] * 9, "int", -9), ("sum", "long", [-1, 1], "long", 0),
    ("sum", "long", [MOST, 1, -1], "long", MOST), ("sum", "long", [MOST, 1], "long", None), ("sum", "long", [-MOST - 1, -1], "long", None),
    ("sum", "long", [-MOST - 1, -1, 1], "long", -MOST - 1), ("sum", "long", [2 ** 53, 1], "long", 2 ** 53 + 1),
    ("sum", "double", [0.5, 0.25, None], "double", 0.75), ("sum", "double", [float("nan"), float("inf"), 1.0], "double", 1.0), ("sum", "double", [float("nan")], "float", None),
    ("mean", "double", [1, 2, None], "int", 1.5), ("mean", "double", [-1] * 5, "long", -1.0), ("mean", "double", [MOST, MOST], "long", float(MOST)),
    ("mean", "double", [], "long", None), ("mean", "double", [0.5, 1.5], "float", 1.0),
    ("min", "long", [3, None, -MOST - 1], "long", -MOST - 1), ("min", "long", [MOST], "long", MOST), ("max", "long", [-MOST - 1], "long", -MOST - 1),
    ("max", "int", [3, None, 7], "int", 7), ("min", "int", [None, None], "int", None), ("max", "double", [None], "double", None),
    ("max", "float", [1.5, float("inf"), float("nan")], "float", 1.5), ("min", "double", [-0.5, 3.0], "double", -0.5),
    ("min", "string", ["é", "z", None], "string", "z"), ("max", "string", ["é", "z", None], "string", "é"), ("max", "string", [None], "string", None),
    ("min", "string", [None, None], "string", None), ("max", "string", ["", None], "string", ""),
    ("max", "date", [date(2026, 3, 4), date(2025, 1, 1), None], "date", date(2026, 3, 4)), ("min", "timestamp-micros", [NOON, None], "timestamp-micros", NOON),
    ("distinct", "long", [1, 1, None, 2], "long", 2), ("distinct", "long", [None], "long", 0), ("distinct", "long", [0.0, -0.0, 1.5, float("nan")], "double", 2),
    ("distinct", "long", ["a", "", None, "a"], "string", 2), ("distinct", "long", [True, False, None, True], "boolean", 2), ("distinct", "long", [NOON, NOON], "timestamp-micros", 1),
    ("distinct", "long", [date(2026, 3, 4), date(2026, 3, 5)], "date", 2),
])
def test_values(kind, type_, values, stored, want):
    for parts in range(1, max(2, len(values))) if values else ():
        assert measured(kind, type_, values, stored, parts=parts) == want


@pytest.mark.parametrize("values, times, ties, first, last", [
    ([5, 6, 7], [3, 1, 2], [0, 0, 0], 6, 5), ([5, 6, 7], [1, 1, 1], [3, -MOST - 1, MOST], 6, 7), ([None, 6, None], [0, 1, 2], [0, 0, 0], 6, 6),
    ([5, 6], [-MOST // 2, MOST // 2], [1, 1], 5, 6), ([None, None], [0, 1], [0, 0], None, None)])
def test_first_and_last(values, times, ties, first, last):
    for order in (slice(None), slice(None, None, -1)):
        for parts in (1, 2):
            given = {"times": times[order], "ties": ties[order], "parts": parts}
            assert measured("first", "long", values[order], **given) == first
            assert measured("last", "long", values[order], **given) == last
            assert measured("first", "string", [v and str(v) for v in values[order]], "string", **given) == (first and str(first))


def test_distinct_is_exact_below_k_and_near_above():
    assert measured("distinct", "long", list(range(sketches.K - 1)) * 2) == sketches.K - 1
    errors = []
    for n in (2_000, 20_000, 200_000):
        for start in (0, 10 ** 12):
            errors.append(measured("distinct", "long", range(start, start + n), parts=3) / n - 1)
        errors.append(measured("distinct", "long", [f"machine-{i}" for i in range(n)], "string", parts=3) / n - 1)
    assert max(map(abs, errors)) < 0.1 and math.sqrt(sum(e * e for e in errors) / len(errors)) < 0.045


def test_hashes_do_not_change():
    """Partials of several processes meet, and of several versions: the first three of SplitMix64, and BLAKE2b."""
    assert sketches.hashed_numbers(np.array([0, 1, -1], np.int64)).tolist() == [16294208416658607535, 10451216379200822465, 16490336266968443936]
    assert sketches.hashed_texts(pa.array(["", "ü"])).tolist() == [13020603013274838756, 3976460501203677525]
    code = "import pyarrow as pa; from transforms.sketches import hashed_texts; print(hashed_texts(pa.array(['a'])).tolist())"
    told = {subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": seed, "PYTHONPATH": "."}, capture_output=True, text=True, check=True).stdout for seed in ("1", "2")}
    assert told == {f"{sketches.hashed_texts(pa.array(['a'])).tolist()}\n"}


@pytest.mark.parametrize("at", [0.001, 0.05, 0.5, 0.95, 0.999])
def test_quantiles_are_within_one_percent(at):
    chance = np.random.default_rng(7)
    for values in (chance.lognormal(0, 3, 5_000), -chance.lognormal(0, 3, 5_000), chance.normal(0, 1e-9, 5_000), chance.integers(-50, 50, 5_000).astype(float),
                   np.array([0.0]), np.array([1.7e308, 1.7976931348623157e308, 1e-300, 2.3e-308]), chance.uniform(0.99, 1.01, 501)):
        want = np.sort(values)[math.floor(at * (len(values) - 1))]
        for parts in (1, 3):
            got = measured("quantile", "double", values.tolist(), "double", at=at, parts=min(parts, len(values)))
            assert abs(got - want) <= 0.0100001 * abs(want)


def test_quantile_without_values():
    assert measured("quantile", "double", [None, float("nan")], "double", at=0.5) is None
    assert measured("quantile", "double", [None, 7, None], "int", at=0.5) == pytest.approx(7, rel=0.01)


def test_measures_of_one_column_share_states():
    measures = [Measure("rows", "count", None, None, "long"), Measure("a", "sum", "v", None, "long"), Measure("b", "mean", "v", None, "double"),
                Measure("c", "quantile", "v", 0.5, "double"), Measure("d", "quantile", "v", 0.9, "double")]
    batch = pa.RecordBatch.from_arrays([pa.array([1, 2, 3])], ["v"])
    assert list(lift(batch, measures, np.arange(3), None)) == ["rows", "n:v", "sum:v", "sketch:v"]


def test_dictionaries_and_slices():
    column = pa.array(["x", "a", None, "b", "a"]).dictionary_encode()
    measures = [Measure("least", "min", "v", None, "string"), Measure("words", "distinct", "v", None, "long"), Measure("first", "first", "v", None, "string")]
    states = lift(pa.RecordBatch.from_arrays([column], ["v"]).slice(1, 3), measures, np.arange(3), np.arange(3))
    states = merge(states, grouped(np.array([0, 0, 1])))
    assert [read(m, states).to_pylist() for m in measures] == [["a", "b"], [1, 1], ["a", "b"]]
    again = merge({name: state.slice(1, 1) for name, state in states.items()}, grouped(np.zeros(1, np.int64)))
    assert [read(m, again).to_pylist() for m in measures] == [["b"], [1], ["b"]]


def test_groups():
    groups = grouped(np.array([7, -1, 7, 3]))
    assert (groups.order.tolist(), groups.starts.tolist(), groups.of.tolist()) == ([1, 3, 0, 2], [0, 1, 2], [0, 1, 2, 2])
    assert groups.rows().tolist() == [1, 3, 0] and groups.by_row().tolist() == [2, 0, 2, 1]
    codes, most = dense(np.array([5, 3, 5]))
    assert codes.tolist() == [2, 0, 2] and most == 3
    assert dense(np.array([10 ** 15, 0, 5]))[0].tolist() == [2, 0, 1]
    codes, texts = ranked(pa.array(["b", None, "a", "b"]))
    assert codes.tolist() == [1, 2, 0, 1] and texts.to_pylist() == ["a", "b", None]
