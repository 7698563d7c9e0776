"""What windows must be, told one row at a time in plain Python. It shares nothing with transforms but the names of columns.

A row is a dict: at and watermark (microseconds, watermark may be None), id_hash, and the columns that are measured.
"""

import json
import math
from collections import defaultdict
from datetime import datetime, timedelta, timezone

import pyarrow as pa

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
SECOND = 1_000_000
SCHEMA = pa.schema([("at", pa.timestamp("us", "UTC")), ("watermark", pa.timestamp("us", "UTC")), ("id_hash", pa.int64()), ("key", pa.string()),
                    ("room", pa.int32()), ("n", pa.int64()), ("x", pa.float64()), ("word", pa.string())])


def us(length):
    return length // timedelta(microseconds=1)


def micros(moment):
    return us(moment - EPOCH)


def batch(rows):
    return pa.RecordBatch.from_arrays([pa.array([row.get(f.name) for row in rows], f.type) for f in SCHEMA], schema=SCHEMA)


def key_of(row, windowing):
    values = [row.get(name) for name in windowing.key]
    if not values:
        return None
    if len(values) > 1:
        return json.dumps(values, separators=(",", ":"), ensure_ascii=False)
    return None if values[0] is None else str(values[0])


def ends_of(row, windowing):
    """The ends of the windows that a row falls into, late or not."""
    if windowing.kind == "session":
        return [row["at"] + us(windowing.gap)]
    size, period = us(windowing.size), us(windowing.period)
    start, ends = row["at"] // period * period, []
    while start > row["at"] - size:
        ends.append(start + size)
        start -= period
    return ends


def taken(row, end, windowing):
    return row["watermark"] is None or end + us(windowing.lateness) > row["watermark"]


def is_late(row, windowing):
    return not any(taken(row, end, windowing) for end in ends_of(row, windowing))


def expected(rows, windowing):
    """{(key, start): (end, {measure: value})}; rows of windows as if no more were to come."""
    inside = defaultdict(list)
    if windowing.kind != "session":
        for row in rows:
            for end in ends_of(row, windowing):
                if taken(row, end, windowing):
                    inside[key_of(row, windowing), end - us(windowing.size), end].append(row)
    else:
        keyed = defaultdict(list)
        for row in rows:
            if not is_late(row, windowing):
                keyed[key_of(row, windowing)].append(row)
        for key, own in keyed.items():
            for session in sessions(own, us(windowing.gap), us(windowing.max_length)):
                times = [row["at"] for row in session]
                inside[key, min(times), max(times) + us(windowing.gap)] = session
    return {(key, start): (end, {m.name: measured(m, own) for m in windowing.measures}) for (key, start, end), own in inside.items()}


def sessions(rows, gap, most):
    cells = defaultdict(list)
    for row in rows:
        cells[row["at"] // gap].append(row)
    found = []
    for number in sorted(cells):
        cell = cells[number]
        if found:
            start, end = min(r["at"] for r in found[-1]), max(r["at"] for r in found[-1])
            if min(r["at"] for r in cell) - end < gap and max(r["at"] for r in cell) - start < most:
                found[-1] = found[-1] + cell
                continue
        found.append(cell)
    return found


def measured(measure, rows):
    if measure.kind == "count":
        return len(rows)
    own = [row for row in rows if row[measure.field] is not None]
    values = [row[measure.field] for row in own]
    if measure.kind == "distinct":
        return len(set(values))
    if not values:
        return None
    ordered = sorted(own, key=lambda row: (row["at"], row["id_hash"]))
    return {"sum": lambda: sum(values) if isinstance(values[0], int) else math.fsum(values), "mean": lambda: math.fsum(values) / len(values),
            "min": lambda: min(values), "max": lambda: max(values), "quantile": lambda: sorted(values)[math.floor(measure.at * (len(values) - 1))],
            "first": lambda: ordered[0][measure.field], "last": lambda: ordered[-1][measure.field]}[measure.kind]()


def told(batches):
    """Window rows as the oracle tells them."""
    found = {}
    for rows in batches:
        for row in rows.to_pylist():
            place = row.pop("key"), micros(row.pop("window_start"))
            assert place not in found, "a window is told once"
            end = micros(row.pop("window_end"))
            del row["pane"], row["is_late"]
            found[place] = (end, row)
    return found


def differences(got, want, windowing):
    """What differs between two answers; floats may differ by 1e-9 of the sums behind them, quantiles by 1 %."""
    found = [("only here", place) for place in got.keys() - want.keys()] + [("missing", place) for place in want.keys() - got.keys()]
    for place in got.keys() & want.keys():
        (end, values), (right_end, right) = got[place], want[place]
        if end != right_end:
            found.append(("end", place, end, right_end))
        for m in windowing.measures:
            a, b = values[m.name], right[m.name]
            within = 0.0100001 * abs(b) if m.kind == "quantile" and b is not None else 1e-6 if m.kind in ("sum", "mean") and isinstance(b, float) else 0
            if (a is None) != (b is None) or (a is not None and (abs(a - b) > within if within else a != b)):
                found.append((m.name, place, a, b))
    return found
