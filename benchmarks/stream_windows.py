"""Windows: microseconds a row of partials and panes (repeated runs) and of Window (bounded), beside Beam's stock parts per row.

    python -m benchmarks.stream_windows [--rows=30000] [--rounds=3]

Fixed windows of a minute, sliding ones of ten (a row falls into ten), sessions of a 20 s gap, over 100 keys, ten rows a key and
minute; count, sum, mean, least and greatest of a number. Stock parts are given one key and value a row, which is what they are
fastest with: GroupByKey and a loop over the group, or CombinePerKey with one CombineFn for all five. All must tell the same windows.
"""

import argparse
import logging
import random
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.transforms.window import FixedWindows, Sessions, SlidingWindows, TimestampedValue
from apache_beam.utils.timestamp import Duration, Timestamp

from schemas.windows import Measure, Windowing
from transforms.panes import Panes
from transforms.partials import partials
from transforms.window import Window

MEASURES = (Measure("rows", "count", None, None, "long"), *(Measure(kind, kind, "n", None, "double" if kind == "mean" else "long")
                                                         for kind in ("sum", "mean", "min", "max")))
DISORDER = 10_000_000  # microseconds that the watermark is behind
Told = set[tuple[object, ...]]  # key, start (us), measures
_TOLD: Told = set()


def _windowing(kind: str, size: int = 0, period: int = 0, gap: int = 0) -> Windowing:
    lengths = (timedelta(seconds=s) for s in (size, period, gap, 86_400 if gap else 0))
    return Windowing(kind, *lengths, ("key",), timedelta(), None, True, MEASURES, None)


KINDS = {"fixed": (_windowing("fixed", 60, 60), lambda: FixedWindows(60)),
         "sliding, 10 cells": (_windowing("sliding", 600, 60), lambda: SlidingWindows(600, 60)),
         "session": (_windowing("session", gap=20), lambda: Sessions(20))}


def events(rows: int) -> pa.RecordBatch:
    """Rows in the order of their event times, a little disordered, as they are stored: key, n, at, id_hash, watermark (null)."""
    draw = random.Random(7)
    at = np.arange(rows) * (60_000_000 // 1_000) + np.array([draw.randrange(5_000) * 1_000 for _ in range(rows)])  # Beam's windows know milliseconds only
    keys = [f"key-{draw.randrange(100):03}" for _ in range(rows)]
    return pa.RecordBatch.from_arrays(
        [pa.array(keys), pa.array([draw.randrange(1_000) for _ in range(rows)]), pa.array(at, pa.int64()).cast(pa.timestamp("us", "UTC")),
         pa.array(np.arange(rows)), pa.nulls(rows, pa.timestamp("us", "UTC"))], ["key", "n", "at", "id_hash", "watermark"])


def told(rows: pa.RecordBatch) -> Told:
    """Window rows as the variants are compared by."""
    starts = rows["window_start"].cast(pa.int64()).to_pylist()
    return set(zip(rows["key"].to_pylist(), starts, *(rows[m.name].to_pylist() for m in MEASURES)))


def panes(batch: pa.RecordBatch, windowing: Windowing, rows: int) -> tuple[float, Told]:
    """(CPU seconds, windows) of runs of so many rows, the watermark following; at the end all windows are closed."""
    parts = [batch.slice(first, rows) for first in range(0, batch.num_rows, rows)]
    greatest = np.maximum.accumulate([int(part["at"].cast(pa.int64()).to_numpy().max()) for part in parts])
    kept, out = Panes(windowing), []
    began = time.process_time()
    for part, time_ in zip(parts, greatest.tolist()):
        lifted, _ = partials(part, windowing, "at")
        kept.add(lifted)
        out.append(kept.due(time_ - DISORDER).rows)
        kept.settle()
    out.append(kept.due(int(greatest[-1]) + 10**10).rows)
    took = time.process_time() - began
    return took, set().union(*map(told, out))


def bounded(batch: pa.RecordBatch, windowing: Windowing, rows: int) -> tuple[float, Told]:
    """The same of the transform Window on FnApiRunner, the pipeline's own cost included."""
    _BATCHES[:] = [batch.slice(first, rows) for first in range(0, batch.num_rows, rows)]
    return _timed(lambda p: p | beam.Create([0]) | beam.FlatMap(_batches).with_output_types(pa.RecordBatch) | Window(windowing, "at") | beam.Map(_keep))


def stock(batch: pa.RecordBatch, fn: object, combine: bool) -> tuple[float, Told]:
    """Stock parts on FnApiRunner: a row is an element."""
    listed = list(zip(batch["key"].to_pylist(), batch["n"].to_pylist(), batch["at"].cast(pa.int64()).to_pylist()))

    def add(pipeline: beam.Pipeline) -> None:
        rows = (pipeline | beam.Create([0]) | beam.FlatMap(_rows).with_output_types(tuple[str, int])
                | beam.WindowInto(fn, allowed_lateness=Duration(0)))
        grouped = rows | beam.CombinePerKey(_Five()) if combine else rows | beam.GroupByKey() | beam.MapTuple(lambda key, ns: (key, _five(ns)))
        grouped | beam.Map(_tell)

    _ROWS[:] = listed
    return _timed(add)


_BATCHES: list[pa.RecordBatch] = []  # taken from the process: elements of Create are encoded first
_ROWS: list[tuple[str, int, int]] = []


def _batches(_: int) -> list[pa.RecordBatch]:  # a lambda would be pickled by value, and the batches with it
    return _BATCHES


def _rows(_: int) -> Iterator[TimestampedValue]:
    for key, n, at in _ROWS:
        yield TimestampedValue((key, n), Timestamp(micros=at))


def _five(ns: Iterable[int]) -> tuple[int, int, float, int, int]:
    found = list(ns)
    return len(found), sum(found), sum(found) / len(found), min(found), max(found)


class _Five(beam.CombineFn):
    def create_accumulator(self) -> tuple[int, int, int, int]:
        return 0, 0, 1 << 62, -(1 << 62)

    def add_input(self, held: tuple[int, int, int, int], n: int) -> tuple[int, int, int, int]:
        return held[0] + 1, held[1] + n, min(held[2], n), max(held[3], n)

    def merge_accumulators(self, accumulators: Iterable[tuple[int, int, int, int]]) -> tuple[int, int, int, int]:
        counts, sums, least, most = zip(*accumulators)
        return sum(counts), sum(sums), min(least), max(most)

    def extract_output(self, held: tuple[int, int, int, int]) -> tuple[int, int, float, int, int]:
        return held[0], held[1], held[1] / held[0], held[2], held[3]


def _keep(rows: pa.RecordBatch) -> None:
    _TOLD.update(told(rows))


def _tell(element: tuple[str, tuple[int, int, float, int, int]], window: object = beam.DoFn.WindowParam) -> None:
    _TOLD.add((element[0], window.start.micros, *element[1]))  # type: ignore[attr-defined]


def _timed(add: Callable[[beam.Pipeline], object]) -> tuple[float, Told]:
    _TOLD.clear()
    pipeline = beam.Pipeline("FnApiRunner")
    add(pipeline)
    began = time.process_time()
    pipeline.run().wait_until_finish()
    return time.process_time() - began, set(_TOLD)


def table(rows: int, rounds: int) -> list[dict[str, object]]:
    """Medians of the rounds, all variants in each. Prints the table. Raises SystemExit where two told different windows."""
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
    batch, many, results = events(rows), events(10 * rows), []
    print(f"\nWindows, CPU us a row ({rows:,} rows, 100 keys; median of {rounds})")
    print(f"{'':20}{'panes of 200':>14}{'of 5,000':>10}{'Window':>9}{'of 10 x rows':>14}{'GroupByKey':>12}{'CombinePerKey':>15}{'best stock / Window of 10 x rows':>34}")
    for kind, (windowing, fn) in KINDS.items():
        took: dict[str, list[float]] = {}
        for _ in range(rounds):
            variants = {"panes_200": panes(batch, windowing, 200), "panes_5000": panes(batch, windowing, 5_000), "window": bounded(batch, windowing, 5_000),
                        "group": stock(batch, fn(), False), "combine": stock(batch, fn(), True)}
            if len({frozenset(found) for _, found in variants.values()}) != 1:
                raise SystemExit(f"{kind}: the variants told different windows: { {name: len(found) for name, (_, found) in variants.items()} }")
            for name, (seconds, _) in variants.items():
                took.setdefault(name, []).append(seconds / rows * 1e6)
            took.setdefault("window_10x", []).append(bounded(many, windowing, 5_000)[0] / many.num_rows * 1e6)
        middle = {name: statistics.median(each) for name, each in took.items()}
        results.append({"kind": kind, "rows": rows, **middle})
        print(f"{kind:20}{middle['panes_200']:14.1f}{middle['panes_5000']:10.1f}{middle['window']:9.1f}{middle['window_10x']:14.1f}{middle['group']:12.1f}"
              f"{middle['combine']:15.1f}{min(middle['group'], middle['combine']) / middle['window_10x']:34.0f}", flush=True)
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    from benchmarks.stream_windows import table as table_of  # what is born in __main__ is pickled by value

    table_of(given.rows, given.rounds)
