"""What `penstock plan` reckons with: CPU seconds for 1,000 messages in the streaming graph, and the bytes that it shuffles and stores.

    python -m benchmarks.plan [--contract=census,telemetry,...] [--messages=40000] [--rounds=3]

The parts are those of the streaming graph (Shard, Gather, Deidentify, Infer, Window, Seal), on FnApiRunner in one process, with the local
engine; the source hands out messages that are in memory, and rows are counted where the sinks would stand (benchmarks.sinks has those).
The cost of the source alone is taken off. Each figure comes from a process of its own. Prints the figures of pipelines/plan/measured.json.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import Timestamp

from pipelines import graph, stream_graph
from pipelines.options import StreamOptions
from pipelines.plan.sample import measure
from pipelines.sinks.bigquery import Dataset
from pipelines.starting import Means
from pipelines.tools.sequence import Mix, sequence, stream_of
from pipelines.window_rows import Complete
from schemas.contract import load, shipped
from transforms import keys
from transforms.engines.local import LocalEngine
from transforms.formats.block import Message
from transforms.keys import Keys
from transforms.message_coder import MessageCoder
from transforms.onnx import OnnxHandler

SUBSCRIPTION = "projects/bench-project/subscriptions/bench"
HELD: list[Message] = []
COUNTED: dict[str, int] = {}


def main() -> int:
    """Prints a row a contract."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--contract", default=",".join(shipped()))
    parser.add_argument("--messages", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--alone", action="store_true", help="measure here, and print one JSON line")
    given = parser.parse_args()
    if given.alone:
        print(json.dumps(measured(given.contract, given.messages)))
        return 0
    print(f"{'contract':16}{'CPU s/1,000':>13}{'spread':>8}{'message B':>11}{'shuffled B':>12}{'stored B':>10}{'stored':>8}")
    for name in given.contract.split(","):
        runs = [one(name, given.messages) for _ in range(given.rounds)]
        cpu = statistics.median(run["cpu_s_per_1000"] for run in runs)
        spread = (max(r["cpu_s_per_1000"] for r in runs) - min(r["cpu_s_per_1000"] for r in runs)) / cpu
        last = runs[-1]
        print(f"{name:16}{cpu:13.4f}{spread:8.0%}{last['message_bytes']:11.0f}{last['shuffled_bytes']:12.0f}{last['stored_bytes']:10.0f}{last['stored']:8}", flush=True)
    return 0


def one(name: str, messages: int) -> dict[str, Any]:
    """What a process of its own measures. Raises SystemExit where it fails."""
    done = subprocess.run([sys.executable, "-m", "benchmarks.plan", "--alone", f"--contract={name}", f"--messages={messages}"],
                          capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
    reported: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return reported


def measured(name: str, number: int) -> dict[str, float]:
    """CPU of the whole graph less that of its source, for 1,000 messages; mean sizes of a message."""
    contract = load(name)
    lines = list(sequence(stream_of(name, number, 7), contract, Mix(0.03, 0.003, 0.01), 7))[:number]
    HELD.extend(Message(line.body, str(i), line.sample.time + 2_000_000, {}) for i, line in enumerate(lines))
    with tempfile.TemporaryDirectory() as folder:
        keys.make(Path(folder) / "keys")
        ring = Keys(f"{folder}/keys")
        options = StreamOptions(contract=name, subscription=SUBSCRIPTION, output="bq://bench-project.tables")
        means = Means(ring, LocalEngine(contract, ring), OnnxHandler(contract.model) if contract.model else None)

        def build(pipeline: beam.Pipeline) -> None:
            parts = stream_graph.parts(options, contract, means, Dataset("bench-project", "tables"), _Messages())
            graph.build(pipeline, replace(parts, events=_count("events"), failures=_count("failures"), outcome=_Books(),
                                          windows=_Panes(contract) if contract.windows else None))

        _run(build)  # warm: imports, compiled patterns, the model
        COUNTED.clear()
        whole = _run(build)
        source = _run(lambda pipeline: pipeline | _Messages() | "Drop" >> beam.Filter(lambda message: False))
    coder = MessageCoder()
    return {"cpu_s_per_1000": (whole - source) / number * 1_000, "message_bytes": statistics.fmean(len(m.data) for m in HELD),
            "shuffled_bytes": statistics.fmean(len(coder.encode(m)) for m in HELD) + 2, "stored_bytes": measure(contract).stored_bytes, "stored": COUNTED["events"]}


def _run(build: Any) -> float:
    started = time.process_time()
    pipeline = beam.Pipeline(FnApiRunner(), options=PipelineOptions(["--no_save_main_session"]))
    build(pipeline)
    pipeline.run().wait_until_finish()
    return time.process_time() - started


class _Messages(beam.PTransform):
    """The messages by their positions: they themselves never pass through Create."""

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection[Message]:
        return begin | beam.Create(range(0, len(HELD), 1_000)) | beam.ParDo(_TakeFn()).with_output_types(Message)


class _TakeFn(beam.DoFn):
    def process(self, start: int) -> Iterator[Any]:
        for message in HELD[start:start + 1_000]:
            yield TimestampedValue(message, Timestamp(micros=message.published))


def _count(name: str) -> beam.PTransform:
    """Where a sink would stand."""
    return beam.ParDo(_CountFn(name))


class _CountFn(beam.DoFn):
    def __init__(self, name: str) -> None:
        self.name = name

    def process(self, batch: Any) -> Iterator[Any]:
        COUNTED[self.name] = COUNTED.get(self.name, 0) + batch.num_rows
        yield from ()


class _Books(beam.PTransform):
    def expand(self, told: tuple) -> Any:
        return told | beam.Flatten() | "Drop" >> beam.Filter(lambda tally: False)


class _Panes(beam.PTransform):
    def __init__(self, contract: Any) -> None:
        super().__init__()
        self.complete = Complete(contract, "run")

    def expand(self, rows: beam.PCollection) -> beam.PCollection:
        return rows | self.complete | _count("windows")


if __name__ == "__main__":
    from benchmarks.plan import main as imported  # DoFns of __main__ are pickled by value, with copies of HELD and COUNTED

    sys.exit(imported())
