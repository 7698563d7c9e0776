"""Windowings that tests build by hand, and rows for them."""

from datetime import timedelta

from hypothesis import strategies as st

from schemas.windows import Measure, Windowing
from tests.window_oracle import SECOND

COUNT = Measure("rows", "count", None, None, "long")
SIMPLE = (COUNT, Measure("total", "sum", "n", None, "long"))
ALL = (*SIMPLE, Measure("total_x", "sum", "x", None, "double"), Measure("mean_n", "mean", "n", None, "double"), Measure("mean_x", "mean", "x", None, "double"),
       Measure("least_n", "min", "n", None, "long"), Measure("most_x", "max", "x", None, "double"), Measure("least_word", "min", "word", None, "string"),
       Measure("most_word", "max", "word", None, "string"), Measure("words", "distinct", "word", None, "long"), Measure("numbers", "distinct", "n", None, "long"),
       Measure("half", "quantile", "x", 0.5, "double"), Measure("high", "quantile", "n", 0.9, "double"), Measure("first_word", "first", "word", None, "string"),
       Measure("last_n", "last", "n", None, "long"))


def fixed(size=60, measures=ALL, **changed):
    return windowing("fixed", measures, size=size, period=size, **changed)


def sliding(size=60, period=10, measures=ALL, **changed):
    return windowing("sliding", measures, size=size, period=period, **changed)


def session(gap=10, max_length=60, measures=ALL, **changed):
    return windowing("session", measures, gap=gap, max_length=max_length, **changed)


def windowing(kind, measures, size=0, period=0, gap=0, max_length=0, lateness=0, key=("key",)):
    lengths = [timedelta(seconds=s) for s in (size, period, gap, max_length)]
    return Windowing(kind, *lengths, key, timedelta(seconds=lateness), None, True, measures, None)


KINDS = [fixed(), fixed(7, lateness=20), sliding(), sliding(30, 15, lateness=5), session(), session(7, 20), session(10, 1000, lateness=30),
         session(10, 10), fixed(key=()), session(key=("key", "room")), sliding(key=("room",))]


def rows(most=200, least=-100, size=40):
    """Lists of rows within some minutes around the epoch; times repeat, ids do not."""
    a_row = st.fixed_dictionaries({
        "at": st.integers(least * 10, most * 10).map(lambda t: t * SECOND // 10), "watermark": st.none() | st.integers(least, most).map(lambda t: t * SECOND),
        "key": st.sampled_from(["a", "b", "ü", None]), "room": st.sampled_from([1, 2, None]), "n": st.none() | st.integers(-5, 1000),
        "x": st.none() | st.floats(-1000, 1000, allow_subnormal=False), "word": st.sampled_from(["", "a", "b", "é", "z", None])})
    return st.lists(a_row, max_size=size).map(lambda listed: [row | {"id_hash": i * 7919 % 101 - 50} for i, row in enumerate(listed)])
