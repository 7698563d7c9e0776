"""The whole graph. Every stage hands on what it keeps and what it refuses; refused rows are sealed; one step commits.

    Read -> Decode -> Deduplicate -> Deidentify -> Infer -> Load events
      \\________\\___________\\____________\\_________\\-> Seal -> Load failures
    Load events, Load failures, tallies -> Commit: tables and ledger, in one transaction
"""

from dataclasses import dataclass
from datetime import date
from typing import Any

import apache_beam as beam
from apache_beam.ml.inference.base import ModelHandler

from pipelines.sinks.lake_commit import Commit
from pipelines.sinks.lake_files import WriteEvents, WriteFailures
from pipelines.sources.files import ReadFiles
from pipelines.sources.listing import InputFile
from schemas.contract import Contract
from transforms.decode import Decode
from transforms.deduplicate import Deduplicate, Stored
from transforms.deidentify import Deidentify
from transforms.infer import Infer
from transforms.keys import Keys
from transforms.park import Park
from transforms.seal import Seal


@dataclass(frozen=True)
class Run:
    """All that one run of the batch job needs; what differs between runs stands here and nowhere else."""

    contract: Contract
    files: tuple[InputFile, ...]
    days: frozenset[date] | None
    keys: Keys
    engine: Any
    handler: "ModelHandler[Any, Any, Any] | None"
    park: Park
    stored: Stored
    shards: int
    public_pem: bytes
    id: str
    commit: Commit
    events: WriteEvents
    failures: WriteFailures


def build(pipeline: beam.Pipeline, run: Run) -> None:
    """Adds the batch job to a pipeline."""
    read = pipeline | "Read" >> ReadFiles(run.files, run.contract.max_row_bytes)
    decoded = read.blocks | "Decode" >> Decode(run.contract, run.keys, run.days)
    sifted = decoded.events | "Deduplicate" >> Deduplicate(run.contract, run.park, run.stored, run.shards)
    masked = sifted.events | "Deidentify" >> Deidentify(run.contract, run.engine)
    scored = masked.events | "Infer" >> Infer(run.contract, run.handler)
    events = scored.events | "LoadEvents" >> run.events
    refused = (read.refused, decoded.refused, sifted.refused, masked.refused, scored.refused)
    failures = refused | "Refused" >> beam.Flatten() | "Seal" >> Seal(run.id, run.public_pem) | "LoadFailures" >> run.failures
    (events, failures, read.tally, sifted.tally) | "Outcome" >> beam.Flatten() | "Commit" >> run.commit
