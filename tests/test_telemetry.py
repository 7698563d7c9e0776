"""The telemetry contract as it is shipped: its data are the published ones, nothing stays in clear, and its windows find the labelled failures."""

import gzip
import hashlib
import itertools
import json
import math
import re
import subprocess
import sys
from collections import Counter
from datetime import datetime, timedelta, timezone

import pyarrow as pa
import pytest

from pipelines.tools.samples import telemetry
from schemas.contract import SHIPPED, load
from transforms.columns import Typing
from transforms.decode import Digest, decode
from transforms.engines.local import LocalEngine
from transforms.formats.block import Block
from transforms.onnx import OnnxHandler
from transforms.partials import partials
from transforms.window import windows

FOLDER = SHIPPED / "telemetry"
READINGS = 22_695
HOUR = timedelta(hours=1)
CONTRACT = load("telemetry")
NAMES = set(re.findall(r"\w{2,}", "".join(line for line in (SHIPPED / "census" / "names.txt").read_text("utf-8").splitlines(True) if line[0] != "#")))


def published() -> list[tuple[str, str]]:
    """Lines of the file as (time, value)."""
    lines = gzip.decompress((FOLDER / "readings.csv.gz").read_bytes()).decode("ascii").splitlines()
    return [tuple(line.split(",")) for line in lines[1:]]


def labelled() -> list[tuple[datetime, datetime]]:
    (spans,) = json.loads((FOLDER / "labels.json").read_text()).values()
    return [tuple(datetime.fromisoformat(t).replace(tzinfo=timezone.utc) for t in span) for span in spans]


def hours(rows: int) -> dict[datetime, dict[str, float]]:
    """Measures of the contract by hour, worked out apart from the package; p95 is the pair of readings beside that rank."""
    values: dict[datetime, list[tuple[int, float]]] = {}
    for sample in telemetry.events(rows, 3):
        moment = datetime.fromisoformat(sample.row["measured_at"].replace("Z", "+00:00"))
        values.setdefault(moment.replace(minute=0, second=0), []).append((sample.time, sample.row["value"]))
    return {start: {"readings": len(own), "mean": sum(v for _, v in own) / len(own), "lowest": min(v for _, v in own), "highest": max(v for _, v in own),
                    "opening": own[0][1], "closing": own[-1][1], "p95": around([v for _, v in own], 0.95)} for start, own in values.items()}


def around(values: list[float], at: float) -> tuple[float, float]:
    """The values of the two ranks beside at * (n - 1)."""
    rank = at * (len(values) - 1)
    return sorted(values)[math.floor(rank)], sorted(values)[math.ceil(rank)]


@pytest.fixture(scope="module")
def told() -> pa.RecordBatch:
    """The contract's windows of the whole series, from batches that are out of order."""
    lines = [json.dumps(s.row) + "\n" for s in telemetry.events(READINGS, 3)]
    parts = []
    for start, stop in ((12_000, READINGS), (0, 5_005), (5_005, 12_000)):
        own = lines[start:stop]
        block = Block("s", "ndjson", 0, start, len(own), "".join(own).encode())
        batch, refused = decode(block, CONTRACT, Typing(CONTRACT), Digest(CONTRACT, b"k" * 32))
        assert (batch.num_rows, refused.num_rows) == (len(own), 0)  # every reading is inside the domain
        parts.append(partials(batch, CONTRACT.windows, CONTRACT.time)[0])
    return windows(parts, CONTRACT.windows)


@pytest.fixture(scope="module")
def scored(told) -> dict[datetime, float]:
    """The model's answer for each hour of the series."""
    handler = OnnxHandler(CONTRACT.windows.model)
    return dict(zip(told["window_start"].to_pylist(), map(float, handler.run_inference(told, handler.load_model())), strict=True))


@pytest.fixture(scope="module")
def stored(ring) -> list[dict]:
    """The shipped sample after Decode and the local engine."""
    data = (FOLDER / "sample.ndjson").read_bytes()
    batch, refused = decode(Block("s", "ndjson", 0, 0, data.count(b"\n"), data), CONTRACT, Typing(CONTRACT), Digest(CONTRACT, b"k" * 32))
    assert refused.num_rows == 0
    engine = LocalEngine(CONTRACT, ring)
    assert engine.faults() == []
    started = engine.start()
    started.setup()
    kept, refusals = started.deidentify(batch)
    assert refusals == []
    return kept.to_pylist()


def test_the_data_are_the_published_ones() -> None:
    raw = gzip.decompress((FOLDER / "readings.csv.gz").read_bytes())
    assert hashlib.sha256(raw).hexdigest() == "92bf5b87fc7f9bba8ca0b7ec63ccaac8cb4a1371a258e8c29a10ae9c018d82a4"
    assert len(published()) == READINGS and len(labelled()) == 4
    assert "Numenta" in (FOLDER / "NAB.LICENSE.txt").read_text()


def test_the_contract_says_what_the_files_say() -> None:
    assert (CONTRACT.name, CONTRACT.version, CONTRACT.id, CONTRACT.time) == ("telemetry", "1.0", "reading_id", "measured_at")
    assert {f.name: f.privacy for f in CONTRACT.fields} == {"reading_id": "public", "measured_at": "public", "machine": "public", "value": "public",
                                                            "operator": "identifier", "remark": "free_text"}
    w = CONTRACT.windows
    assert (w.kind, w.size, w.key, w.lateness, CONTRACT.disorder) == ("fixed", HOUR, ("machine",), HOUR, timedelta(seconds=60))
    assert [(m.kind, m.field) for m in w.measures] == [("count", None), *((kind, "value") for kind in ("mean", "min", "max", "first", "last", "quantile"))]


def test_the_sample_is_what_the_generator_makes() -> None:
    text = (FOLDER / "sample.ndjson").read_text("utf-8")
    assert [json.loads(line) for line in text.splitlines()] == [s.row for s in telemetry.events(240, 5)] and len(text.encode()) < 60_000


def test_the_series_comes_first_by_time_and_then_again_79_days_later() -> None:
    made = list(telemetry.events(2 * READINGS + 5, 5))
    assert [s.time for s in made] == sorted(s.time for s in made) and len({s.id for s in made}) == len(made)
    assert all(s.id == s.row["reading_id"] and s.row.keys() == {f.name for f in CONTRACT.fields} for s in made)
    first = made[:READINGS]
    assert Counter((s.row["measured_at"].replace("T", " ")[:-1], s.row["value"]) for s in first) == Counter((t, float(v)) for t, v in published())
    assert {b.time - a.time for a, b in zip(first, made[READINGS:2 * READINGS], strict=True)} == {79 * 86_400 * 1_000_000}
    assert [s.row["value"] for s in made[READINGS:2 * READINGS]] == [s.row["value"] for s in first]
    assert [s.time for s in made[:2]] == [int(datetime(2013, 12, 2, 21, m, tzinfo=timezone.utc).timestamp()) * 1_000_000 for m in (15, 20)]


def test_events_are_a_function_of_the_seed_and_fewer_are_the_first_of_more() -> None:
    some = list(telemetry.events(3_000, 5))
    assert list(telemetry.events(1_000, 5)) == some[:1_000]
    other = list(telemetry.events(3_000, 6))
    assert [s.time for s in other] == [s.time for s in some] and not {s.id for s in other} & {s.id for s in some}
    assert {s.row["operator"] for s in other} != {s.row["operator"] for s in some}
    assert 0.03 < sum(s.row["remark"] is not None for s in some) / 3_000 < 0.09


def test_windows_are_those_worked_out_slowly(told) -> None:
    slow, twice = hours(READINGS), datetime(2014, 1, 7, 2, tzinfo=timezone.utc)
    rows = {row["window_start"]: row for row in told.to_pylist()}
    assert rows.keys() == slow.keys() and all(row["key"] == "machine-1" and row["window_end"] - start == HOUR for start, row in rows.items())
    for start, own in slow.items():
        names = own.keys() - {"p95", *(("opening", "closing") if start == twice else ())}
        assert {n: rows[start][n] for n in names} == pytest.approx({n: own[n] for n in names}, rel=1e-12)
        low, high = own["p95"]
        assert low * 0.99 * (1 - 1e-9) <= rows[start]["p95"] <= high * 1.01 * (1 + 1e-9)  # the sketch is good to a hundredth


def test_nothing_that_names_a_person_stays(stored) -> None:
    read = [s.row for s in telemetry.events(240, 5)]
    remarks = [r["remark"] for r in read if r["remark"]]
    secrets = {r["operator"] for r in read if r["operator"]} | {w for r in remarks for w in re.findall(r"\w+", r) if w in NAMES}
    secrets |= {w for r in remarks for w in re.findall(r"\S+@\S+\w|[+(\d][\d .()+-]{8,}\d", r)}
    assert len(secrets) > 12
    text = json.dumps([{k: str(v) for k, v in row.items()} for row in stored], ensure_ascii=False)
    assert [s for s in secrets if re.search(f"(?<![A-Za-z0-9+/=]){re.escape(s)}(?![A-Za-z0-9+/=])", text)] == [] and "@" not in text  # not in a token


def test_tokens_join_and_the_rest_is_as_it_was(stored) -> None:
    read = [s.row for s in telemetry.events(240, 5)]
    pairs = {(r["operator"], s["operator"]) for r, s in zip(read, stored, strict=True)}
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}) >= 3
    assert all(r[k] == s[k] for r, s in zip(read, stored, strict=True) for k in ("reading_id", "machine", "value"))
    assert sum(r["remark"] != s["remark"] for r, s in zip(read, stored, strict=True)) >= 8


def test_the_model_is_the_one_that_its_script_makes(tmp_path) -> None:
    subprocess.run([sys.executable, FOLDER / "train.py", tmp_path], check=True, capture_output=True, timeout=600)
    for name in ("window_model.onnx", "window_model.json"):
        assert (tmp_path / name).read_bytes() == (FOLDER / name).read_bytes()


def test_golden_rows_hold_nulls_extremes_and_both_labels() -> None:
    model = CONTRACT.windows.model
    OnnxHandler(model).load_model()  # runs them
    assert [name for name, _ in model.inputs] == ["mean", "lowest"] and any(None in row for row in model.golden_rows)
    assert min(model.golden_scores) == 0 and max(model.golden_scores) == 1 and sum(s > model.threshold for s in model.golden_scores) >= 5


def test_flagged_hours_touch_every_labelled_window_and_few_lie_outside(scored) -> None:
    flagged = [start for start, score in scored.items() if score > CONTRACT.windows.model.threshold]
    inside = {start for start in scored for begin, end in labelled() if begin - HOUR < start <= end}
    touched = [sum(begin - HOUR < start <= end for start in flagged) for begin, end in labelled()]
    outside = [start for start in flagged if start not in inside]
    assert (len(scored), len(inside), touched, len(outside)) == (1_891, 194, [12, 13, 5, 43], 14)
    assert len(outside) < 0.01 * (len(scored) - len(inside))
    measured = json.loads((FOLDER / "window_model.json").read_text())["trained"]["measured"]["all"]
    right = len(flagged) - len(outside)
    assert (measured["precision"], measured["recall"]) == (round(right / len(flagged), 4), round(right / len(inside), 4)) == (0.8391, 0.3763)


def test_the_coldest_hour_scores_highest_and_a_common_one_nothing(scored) -> None:
    assert max(scored, key=scored.__getitem__) == datetime(2013, 12, 16, 17, tzinfo=timezone.utc)
    assert 0.8 < max(scored.values()) < 1 and sorted(scored.values())[len(scored) // 3] == 0
    assert all(0 <= s <= 1 for s in scored.values())


def test_an_hour_holds_twelve_readings_but_for_the_ends_and_the_hour_that_comes_twice() -> None:
    counts = {start: own["readings"] for start, own in hours(READINGS).items()}
    odd = {start: n for start, n in counts.items() if n != 12}
    assert odd == {datetime(2013, 12, 2, 21, tzinfo=timezone.utc): 9, datetime(2014, 1, 7, 2, tzinfo=timezone.utc): 24, datetime(2014, 2, 19, 15, tzinfo=timezone.utc): 6}
    assert all(b - a == HOUR for a, b in itertools.pairwise(counts))
