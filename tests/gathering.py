"""Runs Gather on TestStream, in this process, and keeps what came out in the order in which it did."""

import json
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.test_stream import TestStream
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import Timestamp

from schemas.contract import Contract
from transforms.columns import Typing
from transforms.decode import Digest, decode
from transforms.formats.block import Message
from transforms.formats.messages import Front
from transforms.gather import DecodeBlock, Gather
from transforms.message_coder import MessageCoder

SUBSCRIPTION = "projects/project/subscriptions/events"
START = 1_700_000_000_000_000  # microseconds: 2023-11-14T22:13:20Z
SECOND = 1_000_000

Steps = Iterable[list[Message] | int]  # a bundle of messages, or how far the watermark goes, microseconds


def make_decoder(contract: Contract, front: Front = Front()) -> DecodeBlock:
    typing, digest = Typing(contract), Digest(contract, b"k" * 32)
    return lambda block: decode(block, contract, typing, digest, front=front)


def when(micros: int) -> str:
    return datetime.fromtimestamp(micros / 1e6, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def message(number: int, ident: str, time: int, text: str = "", published: int | None = None) -> Message:
    """A message of plain_contract(), named by its number; published at its event time if not said otherwise."""
    row = {"id": ident, "at": when(time), "text": text}
    return Message(json.dumps(row).encode(), f"{number:09d}", time if published is None else published, {})


@dataclass
class Out:
    events: list[pa.RecordBatch] = field(default_factory=list)
    refused: list[pa.RecordBatch] = field(default_factory=list)
    tally: list[tuple[str, str, int]] = field(default_factory=list)

    def rows(self) -> list[dict[str, Any]]:
        return [row for batch in self.events for row in batch.to_pylist()]

    def refusals(self) -> list[dict[str, Any]]:
        return [row for batch in self.refused for row in batch.to_pylist()]

    def sum(self, fate: str) -> int:
        return sum(rows for name, _, rows in self.tally if name == fate)


_OUT: dict[str, Out] = {}


class Kept:
    """What the outputs of a transform carry, kept by name in this process."""

    def __init__(self) -> None:
        self.name = uuid.uuid4().hex
        self.clear()

    def clear(self) -> None:
        _OUT[self.name] = Out()

    @property
    def out(self) -> Out:
        return _OUT[self.name]

    def take(self, made: Any, *outputs: str) -> None:
        for output in outputs:
            getattr(made, output) | f"Keep {output}" >> beam.ParDo(_Keep(self.name, output)).with_output_types(type(None))


class _Keep(beam.DoFn):
    def __init__(self, run: str, output: str) -> None:
        self.run, self.output = run, output

    def process(self, element: Any) -> None:
        getattr(_OUT[self.run], self.output).append(element if isinstance(element, pa.RecordBatch) else tuple(element))


def stream(steps: Steps) -> TestStream:
    """The steps, and the watermark to infinity, as a drain does."""
    test = TestStream(coder=MessageCoder())
    for step in steps:
        if isinstance(step, int):
            test.advance_watermark_to(Timestamp(micros=step))
        else:
            test.add_elements([TimestampedValue(m, Timestamp(micros=m.published)) for m in step])
    return test.advance_watermark_to_infinity()


def gathered(contract: Contract, steps: Steps, front: Front = Front(), decoder: Callable[[], DecodeBlock] | None = None, **options: Any) -> Out:
    kept = Kept()
    with beam.Pipeline("BundleBasedDirectRunner", options=PipelineOptions([], streaming=True)) as pipeline:
        made = pipeline | stream(steps) | Gather(contract, SUBSCRIPTION, decoder or partial(make_decoder, contract, front), front, **options)
        kept.take(made, "events", "refused", "tally")
    return kept.out
