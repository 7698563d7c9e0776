"""The streaming graph, whole: dry-run for Dataflow by the command line, and run on TestStream, held against batch on the same events."""

import json
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import apache_beam as beam
import orjson
import pyarrow as pa
import pytest
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.testing.test_stream import TestStream
from apache_beam.utils.timestamp import MAX_TIMESTAMP, Timestamp
from apache_beam.utils.windowed_value import PaneInfo

from pipelines import graph, stream_graph
from pipelines.__main__ import main
from pipelines.contracts import load
from pipelines.options import StreamOptions
from pipelines.sinks.bigquery import Dataset, ledger_row, rows_of, tallies_of
from pipelines.sinks.lake import Lake
from pipelines.starting import Means
from pipelines.window_rows import Complete
from schemas.arrow import stored_columns, window_columns
from schemas.tables import RUNS
from tests.contracts import plain_contract
from tests.test_stream import different, write_sample
from transforms.engines.local import LocalEngine
from transforms.formats.block import Message
from transforms.ledger import Tally
from transforms.onnx import OnnxHandler

SUBSCRIPTION = "projects/test-project/subscriptions/stream"
CAUGHT: dict[str, list[Any]] = {}


class Caught(beam.PTransform):
    """A sink that keeps what comes, under a name, in the process of the test."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def expand(self, rows: beam.PCollection) -> beam.PCollection:
        return rows | beam.ParDo(_CatchFn(self.name))


class _CatchFn(beam.DoFn):
    def __init__(self, name: str) -> None:
        self.name = name

    def process(self, element: Any):
        CAUGHT.setdefault(self.name, []).append(element)
        yield Tally("caught", self.name, element.num_rows)


class Books(beam.PTransform):
    def expand(self, told: tuple) -> Any:
        return told | beam.Flatten() | beam.ParDo(_TallyFn())


class _TallyFn(beam.DoFn):
    def process(self, tally: Tally) -> None:
        CAUGHT.setdefault("tallies", []).append(tally)


class Panes(beam.PTransform):
    def __init__(self, contract: Any) -> None:
        super().__init__()
        self.complete = Complete(contract, "run")

    def expand(self, rows: beam.PCollection) -> beam.PCollection:
        return rows | self.complete | Caught("windows")


def parts_of(contract_name: str, messages: list[Message], keys: Any, **options: Any) -> graph.Parts:
    """The streaming graph over these messages, half a minute of them at a time. The watermark passes what waits for its batch before it
    leaps on, as it does on Dataflow, where a timer holds it."""
    chosen = StreamOptions(contract=contract_name, subscription=SUBSCRIPTION, output="bq://test-project.tables", **options)
    contract = load(contract_name, storage_endpoint=chosen.storage_endpoint)
    source = TestStream()
    chunks: list[list[Message]] = []
    for m in messages:
        if not chunks or m.published - chunks[-1][0].published > 30_000_000:
            chunks.append([])
        chunks[-1].append(m)
    for chunk in chunks:
        source = source.add_elements([beam.window.TimestampedValue(m, Timestamp(micros=m.published)) for m in chunk])
        source = source.advance_watermark_to(Timestamp(max(m.published for m in chunk) // 1_000_000 + 3))
    source = source.advance_watermark_to(MAX_TIMESTAMP)
    means = Means(keys, LocalEngine(contract, keys), OnnxHandler(contract.model) if contract.model else None)
    return stream_graph.parts(chosen, contract, means, Dataset("test-project", "tables"), source)


def run(parts: graph.Parts) -> None:
    given = PipelineOptions(["--no_save_main_session"])
    given.view_as(StandardOptions).streaming = True
    with beam.Pipeline("BundleBasedDirectRunner", options=given) as pipeline:
        graph.build(pipeline, parts)


def streamed(contract_name: str, messages: list[Message], keys: Any, storage_endpoint: str = "") -> dict[str, list[dict]]:
    """Runs the streaming graph on these messages, with sinks that keep what comes."""
    CAUGHT.clear()
    parts = parts_of(contract_name, messages, keys, storage_endpoint=storage_endpoint)
    run(replace(parts, events=Caught("events"), failures=Caught("failures"), outcome=Books(),
                windows=Panes(parts.contract) if parts.contract.windows else None))
    return {name: [row for batch in batches for row in batch.to_pylist()] if name != "tallies" else batches for name, batches in CAUGHT.items()}


def sample(tmp_path, contract: str, rows: int) -> list[bytes]:
    write_sample(contract, rows, tmp_path / "lines.ndjson")
    return (tmp_path / "lines.ndjson").read_bytes().splitlines()


def messages_of(lines: list[bytes], time: str) -> list[Message]:
    """As if published two seconds after they happened, to the millisecond: so fine are the watermarks of TestStream."""
    def micros(line: bytes) -> int:
        return int(datetime.fromisoformat(orjson.loads(line)[time].replace("Z", "+00:00")).timestamp() * 1e3) * 1_000 + 2_000_000
    return [Message(line, str(i), micros(line), {}) for i, line in enumerate(lines)]


@pytest.mark.parametrize("contract, rows", [("telemetry", 130), ("weblog", 220), ("gaming", 110)])
def test_the_whole_graph_answers_as_batch_does(contract, rows, tmp_path, ring, key_folder) -> None:
    lines = sample(tmp_path, contract, rows)
    held = load(contract)
    messages = messages_of(lines, held.time)
    again = [m._replace(id=f"again-{m.id}") for m in messages[30:40]]
    broken = [messages[60]._replace(id="broken", data=b'{"no": "row"'), messages[61]._replace(id="ahead", published=messages[61].published - 900_000_000)]
    found = streamed(contract, [*messages[:60], *again, *broken, *messages[62:]], ring)
    assert main(["batch", f"--contract={contract}", f"--input={tmp_path}/lines.ndjson", f"--output={tmp_path / 'out'}", f"--keys={key_folder}"]) == 0
    reader = Lake.reader(str(tmp_path / "out"))
    without = ("origin", "run", "watermark")
    stored = {r[held.id]: {k: v for k, v in r.items() if k not in without} for r in reader.query("select * from events").to_pylist()}
    lost = {orjson.loads(lines[i])[held.id] for i in (60, 61)}
    assert len(found["events"]) == rows - 2
    assert {r[held.id]: {k: v for k, v in r.items() if k not in without} for r in found["events"]} == {i: r for i, r in stored.items() if i not in lost}
    assert sorted(f["reason"] for f in found["failures"]) == ["future", "malformed"] and all(f["sealed"] for f in found["failures"])
    tallies = {(t.fate, t.reason): 0 for t in found["tallies"]}
    for t in found["tallies"]:
        tallies[t.fate, t.reason] += t.rows
    assert (tallies["read", ""], tallies["repeated", ""]) == (rows + 10, 10)
    last = {(w["key"], w["window_start"]): w for w in sorted(found["windows"], key=lambda w: w["pane"])}
    assert sum(1 for w in found["windows"] if w["pane"] == 0) >= len(last) >= 10
    (tmp_path / "kept.ndjson").write_bytes(b"\n".join([*lines[:60], *lines[62:]]))
    assert main(["batch", f"--contract={contract}", f"--input={tmp_path}/kept.ndjson", f"--output={tmp_path / 'kept'}", f"--keys={key_folder}"]) == 0
    wanted = Lake.reader(str(tmp_path / "kept")).query("select * from windows").to_pylist()
    measures = ["key", "window_start", "window_end", *(m.name for m in held.windows.measures), "prediction", "label"]
    assert not different(*([{m: w[m] for m in measures} for w in rows] for rows in (last.values(), wanted)))


def test_the_census_graph_dry_runs_for_dataflow(capsys, tmp_path, key_folder) -> None:
    arguments = ["stream", "--contract=census", f"--subscription={SUBSCRIPTION}", "--output=bq://test-project.tables", "--runner=DataflowRunner",
                 "--project=test-project", "--region=europe-west1", "--temp_location=gs://test-bucket/tmp", f"--keys={key_folder}"]
    for more in ([], ["--write=insert_all"]):
        assert main([*arguments, "--dry_run=true", *more]) == 0
        assert "dry-run for Dataflow" in capsys.readouterr().out
    assert main(arguments) == 2 and "--keys: is no version of a secret" in capsys.readouterr().err
    assert main([a.replace("bq://test-project.tables", str(tmp_path / "out")).replace("--region=europe-west1", "--wait=1s") for a in arguments]) == 2
    told = capsys.readouterr().err
    assert all(word in told for word in ("is no BigQuery dataset", "--region: is missing", "--keys: is no version of a secret"))


def test_rows_are_as_bigquery_takes_them() -> None:
    contract = load("telemetry")
    columns = window_columns(contract)
    row = {c.name: {"string": "x", "int": 1, "long": 2, "float": 0.5, "double": 1.5, "boolean": True, "date": datetime(2026, 3, 4).date(),
                    "timestamp-micros": datetime(2026, 3, 4, 5, 6, 7, 89, timezone.utc)}[c.type] for c in columns}
    row["prediction"] = None
    from schemas.arrow import arrow_schema
    (told,) = rows_of(pa.RecordBatch.from_pylist([row], arrow_schema(columns)), columns)
    assert told["d"] == "2026-03-04" and told["window_start"] == "2026-03-04T05:06:07.000089+00:00" and "prediction" not in told
    assert json.loads(json.dumps(told)) == told


def test_books_of_a_minute() -> None:
    batch = pa.table({"stage": ["decode", "decode", "window"], "reason": ["malformed", "future", "late"]}).to_batches()[0]
    told = [Tally("read", "", 9), Tally("stored", "", 6), Tally("repeated", "", 1), *tallies_of(batch, False)]
    assert tallies_of(batch, True) == [Tally("stored", "", 3)] and tallies_of(pa.table({"key": ["a"]}).to_batches()[0], False) == []
    (row,) = rows_of(ledger_row(told, "r", "c 1", "{}", beam.transforms.window.IntervalWindow(60, 120), PaneInfo(False, False, 0, 7, 7)), RUNS)
    assert (row["read"], row["stored"], row["refused"], row["late"], row["balanced"]) == (9, 6, 2, 1, True)
    assert row["reasons"] == '{"future": 1, "malformed": 1}' and row["started"] == "1970-01-01T00:01:00+00:00"
    assert row["ended"] == "1970-01-01T00:02:00.000007+00:00", "panes of a minute are told apart"
    assert {c.name for c in stored_columns(plain_contract())} >= {"run", "watermark"}
