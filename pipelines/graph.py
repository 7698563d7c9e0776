"""The whole graph, of every job that stores events. A stage hands on what it keeps and what it refuses; refused rows are sealed.

    Read -> Decode -> Deduplicate -> Deidentify -> Infer -> Load events
      \\________\\___________\\____________\\_________\\        \\-> Window -> partials, or Load windows
                                                    \\_________________\\-> Seal -> Load failures
    what was loaded, tallies -> Outcome: one transaction for tables and ledger

Batch, replays, the runs of a stream on one machine, and the streaming graph differ in their parts alone: where rows come from,
which form of Deduplicate and Window, and what becomes of the outcome.
"""

from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.ml.inference.base import ModelHandler

from pipelines.sinks.loaded import Insist, Loaded
from schemas.contract import Contract
from transforms.deidentify import Deidentify, EngineConfig
from transforms.infer import Infer
from transforms.run_id import RunId
from transforms.seal import Seal
from transforms.unquoted import unquote


@dataclass(frozen=True)
class Parts:
    """All that one job needs; what differs between jobs stands here and nowhere else.

    read: to blocks, with outputs refused and tally; decode: blocks to keyed batches, with refused; deduplicate: those to
    batches, with refused and tally. Without decode, read gives messages, and deduplicate forms the batches and decodes them.
    window: batches to windows or their partials, with refused for late rows; again: takes out of the failures what is there
    already, with tally; notes: what else of the stored rows goes into the outcome.
    """

    contract: Contract
    read: beam.PTransform
    decode: beam.PTransform | None
    deduplicate: beam.PTransform
    engine: EngineConfig
    handler: "ModelHandler[Any, Any, Any] | None"
    public_pem: bytes
    run: RunId
    events: beam.PTransform
    failures: beam.PTransform
    outcome: beam.PTransform
    window: beam.PTransform | None = None
    windows: beam.PTransform | None = None
    again: beam.PTransform | None = None
    notes: beam.PTransform | None = None


def build(pipeline: beam.Pipeline, parts: Parts) -> None:
    """Adds a job to a pipeline."""
    contract = parts.contract
    rows = read = pipeline | "Read" >> parts.read
    refused, outcome = [], []
    if parts.decode is not None:
        decoded = read.blocks | "Decode" >> parts.decode
        rows = decoded.events
        refused += [read.refused, decoded.refused]
        outcome.append(read.tally)
    sifted = rows | "Deduplicate" >> parts.deduplicate
    masked = sifted.events | "Deidentify" >> Deidentify(contract, parts.engine)
    scored = masked.events | "Infer" >> Infer(contract, parts.handler)
    refused += [sifted.refused, masked.refused, scored.refused]
    outcome.append(sifted.tally)
    _load(scored.events, "LoadEvents", parts.events, refused, outcome)
    if parts.notes is not None:
        outcome.append(scored.events | "Note" >> parts.notes)
    if parts.window is not None:
        windowed = scored.events | "Window" >> parts.window
        refused.append(windowed.refused)
        _load(windowed.windows, "LoadWindows", parts.windows, refused, outcome)
    failed = tuple(refused) | "Refused" >> beam.Flatten()
    if parts.again is not None:
        first = failed | "Again" >> parts.again
        outcome.append(first.tally)
        failed = first.refused
    sealed = failed | "Seal" >> Seal(parts.run, parts.public_pem)
    homeless: list[Any] = []
    _load(sealed, "LoadFailures", parts.failures, homeless, outcome)
    for rejected in homeless:
        rejected | "Insist" >> Insist("failures")
    tuple(outcome) | "Commit" >> parts.outcome
    unquote(pipeline)


def _load(rows: beam.PCollection[pa.RecordBatch], label: str, sink: beam.PTransform | None, refused: list[Any], outcome: list[Any]) -> None:
    """A sink's outcome, and what it refuses; without a sink the rows are the outcome."""
    loaded = rows if sink is None else rows | label >> sink
    if isinstance(loaded, Loaded):
        refused.append(loaded.refused)
        outcome.append(loaded.tally)
    else:
        outcome.append(loaded)
