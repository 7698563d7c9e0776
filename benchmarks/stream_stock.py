"""(d) Beam's own streaming on one machine: BundleBasedDirectRunner, ReadFromPubSub, a plain per-record graph, a file a bundle.

It is given what it would not have: the same operators, detectors and model, loaded once a process. It does not deduplicate
(that would take most of what is left of its speed), keeps no ledger and no transaction, and its source acknowledges before
anything is stored.
"""

import contextlib
import logging
import os
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import TaggedOutput

from benchmarks.rows import Row, decoder, deidentifier
from benchmarks.stream_job import Clock, arguments
from schemas.arrow import arrow_schema, stored_columns
from schemas.contract import Contract, load
from schemas.errors import Rejected
from transforms.keys import Keys
from transforms.onnx import OnnxHandler

_LOADED: dict[str, Any] = {}  # a DoFn is pickled and set up anew for every bundle


class _Row(beam.DoFn):
    def __init__(self, contract: Contract, keys: Keys) -> None:
        self.contract, self.keys = contract, keys

    def setup(self) -> None:
        if not _LOADED:
            handler = OnnxHandler(self.contract.model)  # type: ignore[arg-type]
            _LOADED.update(decode=decoder(self.contract), deidentify=deidentifier(self.contract, self.keys), handler=handler, model=handler.load_model())

    def process(self, body: bytes) -> Iterator[Row]:
        try:
            yield _LOADED["deidentify"](_LOADED["decode"](body))
        except Rejected as rejected:
            yield TaggedOutput("refused", {"reason": str(rejected.reason)})


class _Score(beam.DoFn):
    def process(self, row: Row) -> Iterator[Row]:
        (score,) = _LOADED["handler"].run_inference([row], _LOADED["model"])
        yield row | {"score": float(score), "label": bool(score > 0.5)}


class _Save(beam.DoFn):
    def __init__(self, folder: str, schema: pa.Schema | None) -> None:
        self.folder, self.schema = folder, schema

    def start_bundle(self) -> None:
        self.rows: list[Row] = []

    def process(self, row: Row) -> None:
        self.rows.append(row)

    def finish_bundle(self) -> None:
        if self.rows:
            pq.write_table(pa.Table.from_pylist(self.rows, self.schema), Path(self.folder, f"{uuid.uuid4().hex}-{len(self.rows)}.parquet"), compression="zstd")


def main() -> None:
    """Until as many rows as there are messages stand in files."""
    given = arguments()
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
    os.environ["PUBSUB_EMULATOR_HOST"] = given.host
    contract, keys = load("census"), Keys(given.keys)
    schema = arrow_schema(stored_columns(contract))
    names = {f.name for f in contract.fields} | {"d", "score", "label"}
    given.output.mkdir(parents=True, exist_ok=True)
    pipeline = beam.Pipeline("BundleBasedDirectRunner", options=PipelineOptions(["--streaming", "--project=penstock-bench"]))
    rows = (pipeline | beam.io.ReadFromPubSub(subscription=given.subscription)
            | "Row" >> beam.ParDo(_Row(contract, keys)).with_outputs("refused", main="rows"))
    rows.rows | "Score" >> beam.ParDo(_Score()) | "Save" >> beam.ParDo(_Save(str(given.output), pa.schema([f for f in schema if f.name in names])))
    rows.refused | "SaveRefused" >> beam.ParDo(_Save(str(given.output), None))
    clock = Clock()
    clock.start()
    result = pipeline.run()
    done = 0
    until = time.monotonic() + 300
    while done < given.messages:
        if result.state == "FAILED" or time.monotonic() > until:
            os._exit(1)
        time.sleep(0.1)
        done = sum(int(path.stem.split("-")[1]) for path in given.output.glob("*.parquet"))
    clock.lap()
    clock.report(done)
    with contextlib.suppress(Exception):
        threading.Thread(target=result.cancel, daemon=True).start()
    os._exit(0)  # a pull that waits would hold it for half a minute


if __name__ == "__main__":
    from benchmarks import stream_stock  # what is born in __main__ is pickled by value, and _LOADED with it

    stream_stock.main()
