"""(c) The same job from Beam's stock parts: ReadFromText, json.loads, GroupByKey, per-record ParDo, RunInference, WriteToParquet.

It is given what it would not have: the same operators, detectors and model handler. Its failures stay unsealed.
"""

import json
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
from apache_beam.ml.inference.base import PredictionResult, RunInference
from apache_beam.pvalue import TaggedOutput

from benchmarks.job import measured
from benchmarks.rows import Row, decoder, deidentifier, digester
from schemas.arrow import arrow_schema, stored_columns
from schemas.contract import Contract
from schemas.errors import Rejected
from transforms.keys import Keys
from transforms.onnx import OnnxHandler


def strict(line: bytes) -> Row:
    """json.loads, refusing what it takes and should not: NaN, and surrogates without their other half."""
    row: Row = json.loads(line.decode(), parse_constant=_no_number)
    if b"\\ud" in line.lower():
        json.dumps(row, ensure_ascii=False).encode()
    return row


def _no_number(name: str) -> float:
    raise ValueError("not a number")


class _Parse(beam.DoFn):
    def __init__(self, contract: Contract, keys: Keys) -> None:
        self.contract, self.keys = contract, keys

    def setup(self) -> None:
        self.decode = decoder(self.contract, strict)
        self.digest = digester(self.contract, self.keys.derive("row digests"))

    def process(self, line: bytes) -> Iterator[tuple[bytes, tuple[bytes, Row]]]:
        try:
            row = self.decode(line)
        except Rejected as rejected:
            yield TaggedOutput("refused", {"reason": str(rejected.reason), "line": line})
            return
        ident, content = self.digest(row)
        yield ident, (content, row)


class _First(beam.DoFn):
    def process(self, keyed: tuple[bytes, Iterable[tuple[bytes, Row]]]) -> Iterator[Row]:
        (content, row), *rest = keyed[1]
        for other, repeat in rest:
            if other != content:
                yield TaggedOutput("refused", {"reason": "conflict", "line": str(repeat).encode()})
        yield row


class _Deidentify(beam.DoFn):
    def __init__(self, contract: Contract, keys: Keys) -> None:
        self.contract, self.keys = contract, keys

    def setup(self) -> None:
        self.deidentify = deidentifier(self.contract, self.keys)

    def process(self, row: Row) -> Iterator[Row]:
        try:
            yield self.deidentify(dict(row))
        except Rejected as rejected:
            yield TaggedOutput("refused", {"reason": str(rejected.reason), "line": str(row).encode()})


class _Handler(OnnxHandler):
    """The same model, as RunInference asks for it: PredictionResults, in batches of a fixed size."""

    def run_inference(self, batch, model, inference_args=None):  # type: ignore[no-untyped-def]
        scores = super().run_inference(batch, model)
        return [PredictionResult(row, float(score)) for row, score in zip(batch, scores)] if isinstance(batch[0], dict) and "d" in batch[0] else scores

    def batch_elements_kwargs(self) -> dict[str, int]:
        return {"min_batch_size": 1024, "max_batch_size": 1024}


def _scored(result: PredictionResult) -> Row:
    return dict(result.example, score=result.inference, label=result.inference > 0.5)


def job(contract: Contract, keys: Keys, files: list[str], output: Path) -> int:
    """NDJSON files to Parquet files; answers the rows read (counted beforehand: stock parts count nothing)."""
    output.mkdir(parents=True, exist_ok=True)
    names = {f.name for f in contract.fields} | {"d", "score", "label"}
    schema = pa.schema([f for f in arrow_schema(stored_columns(contract)) if f.name in names])
    assert contract.model
    with beam.Pipeline("FnApiRunner") as pipeline:
        lines = pipeline | beam.io.ReadFromText(str(Path(files[0]).parent / "*.ndjson"), coder=beam.coders.BytesCoder())
        parsed = lines | beam.ParDo(_Parse(contract, keys)).with_outputs("refused", main="rows")
        first = parsed.rows | beam.GroupByKey() | "First" >> beam.ParDo(_First()).with_outputs("refused", main="rows")
        masked = first.rows | beam.ParDo(_Deidentify(contract, keys)).with_outputs("refused", main="rows")
        scored = masked.rows | RunInference(_Handler(contract.model)) | beam.Map(_scored)
        scored | beam.io.WriteToParquet(str(output / "part"), schema, codec="zstd", file_name_suffix=".parquet")
        ((parsed.refused, first.refused, masked.refused) | beam.Flatten() | beam.Map(lambda r: repr(r))
         | beam.io.WriteToText(str(output / "refused")))
    return sum(sum(chunk.count(b"\n") for chunk in iter(lambda: open_.read(1 << 24), b"")) for open_ in (open(f, "rb") for f in files))


if __name__ == "__main__":
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
    measured(job)
