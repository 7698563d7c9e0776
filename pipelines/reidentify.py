"""The reidentify job: tokens of a query's answer back to values, to a restricted folder, audited.

    Ask the tables -> Reidentify -> Write under another name -> audit row, committed -> the result gets its name

A run whose audit row cannot be committed shows nothing. Where the last step fails, the audit row stands.
"""

import getpass
import hashlib
import logging
import os
import pwd
import secrets
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.contracts import load
from pipelines.keyfolder import open_keys
from pipelines.options import ReidentifyOptions
from pipelines.sinks import lake_audit, restricted
from pipelines.sinks.lake_audit import Reidentification
from pipelines.sinks.lake_catalog import Reader
from pipelines.sinks.restricted import Part, WriteResult
from pipelines.sources.query import ReadQuery, columns_of
from pipelines.starting import Faults, beam_options
from schemas.arrow import input_schema
from schemas.contract import Contract
from schemas.errors import Fault, Misconfigured
from transforms.decode import Digest
from transforms.engines.dlp import DlpEngine
from transforms.engines.reversal import needs, reversals
from transforms.engines.reversal_dlp import DlpReverser
from transforms.engines.reversal_local import LocalReverser
from transforms.keys import Keys
from transforms.reidentify import Reidentify, ReverserConfig, Turned
from transforms.unquoted import frames

_SAMPLE = 1000  # events whose digest shows which keys made the tables


def run(options: ReidentifyOptions, beam_arguments: list[str]) -> int:
    """Runs the job on this machine; exit code 0 where it is done, 1 where it failed or not one token opened.

    Raises Misconfigured, with every fault, where it cannot run.
    """
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)  # its errors quote elements
    started = datetime.now(timezone.utc)
    beam_given, contract, reverser = _checked(options, beam_arguments)
    lake_audit.prepare(options.output)
    restricted.make(options.destination)
    account = _account()
    row = Reidentification(
        run=f"{started:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}", who=options.requested_by.strip() or _user(account), account=account,
        purpose=options.purpose.strip(), columns=_columns(options), contract=f"{contract.name} {contract.version}", engine=options.engine,
        query=hashlib.sha256(options.sql.encode()).hexdigest(), destination=str(Path(options.destination).resolve()), started=started, ended=started)
    pipeline = beam.Pipeline("FnApiRunner", options=beam_given)
    build(pipeline, options.output, options.sql, reverser, row)
    try:
        pipeline.run().wait_until_finish()
    except Exception as error:  # whatever it is, its text may hold a value: say where, not what
        stands = "the audit row stands, " if lake_audit.find(options.output, row.run) else ""
        print(f"penstock reidentify failed; {stands}nothing is in {options.destination}: {frames(error)}", file=sys.stderr)
        return 1
    finally:
        restricted.discard(row.destination)
    done = lake_audit.find(options.output, row.run)
    assert done is not None  # the pipeline ended well, so it was committed
    print(done.sentence())
    print(f"result: {Path(options.destination) / restricted.RESULT}")
    if options.json:
        print(done.to_json())
    if done.turned_back or not done.no_token:
        return 0
    print("penstock reidentify: not one token opened; other keys, or the other engine, made them", file=sys.stderr)
    return 1


def build(pipeline: beam.Pipeline, output: str, sql: str, reverser: ReverserConfig, row: Reidentification) -> None:
    """Adds the job to a pipeline."""
    answer = pipeline | "Read" >> ReadQuery(output, sql)
    turned = answer | "Reidentify" >> Reidentify(reverser)
    written = turned.rows | "Write" >> WriteResult(row.destination)
    (written, turned.turned) | "Outcome" >> beam.Flatten() | "Publish" >> Publish(output, row)


def publish(output: str, row: Reidentification, outcome: list[Part | Turned], clock: Callable[[], datetime]) -> Reidentification:
    """Commits the audit row with its counts, then shows the result. Raises duckdb.Error, or OSError after the commit."""
    turned = [o for o in outcome if isinstance(o, Turned)]
    counted = replace(row, rows=sum(o.rows for o in outcome if isinstance(o, Part)), turned_back=sum(t.values for t in turned),
                      no_token=sum(t.no_token for t in turned), ended=clock())
    lake_audit.append(output, counted)
    restricted.reveal(row.destination)
    return counted


class Publish(beam.PTransform):
    """Gathers the Part and every Turned of a run, commits its audit row and shows the result; answers the row."""

    def __init__(self, output: str, row: Reidentification) -> None:
        super().__init__()
        self.output, self.row = output, row

    def expand(self, outcome: beam.PCollection[Part | Turned]) -> beam.PCollection[Reidentification]:
        return (outcome.pipeline | "Once" >> beam.Impulse()
                | "AuditFirst" >> beam.ParDo(_PublishFn(self.output, self.row), beam.pvalue.AsList(outcome)).with_output_types(Reidentification))


class _PublishFn(beam.DoFn):
    def __init__(self, output: str, row: Reidentification) -> None:
        self.output, self.row = output, row

    def process(self, _: bytes, outcome: list[Part | Turned]) -> Iterator[Reidentification]:
        yield publish(self.output, self.row, outcome, lambda: datetime.now(timezone.utc))


def _checked(options: ReidentifyOptions, beam_arguments: list[str]) -> tuple[PipelineOptions, Contract, ReverserConfig]:
    """Everything that must hold before a token is read. Raises Misconfigured with all that does not."""
    faults = Faults()
    given = faults.of(lambda: beam_options(options.runner, beam_arguments))
    contract = faults.of(lambda: load(options.contract, options.allow_unwrapped_keys, options.storage_endpoint))
    if not options.purpose.strip():
        faults.found.append(Fault("--purpose", "is empty", "say in words why the values are needed; the audit row keeps it"))
    faults.found += restricted.faults(options.destination, options.output)
    reader = faults.of(lambda: Reader(Path(options.output)))
    keys = faults.of(lambda: _keys(options)) if options.engine == "local" else None
    schema = faults.of(lambda: columns_of(reader, options.sql)) if reader else None
    reverser: ReverserConfig | None = None
    if contract:
        found, cannot = reversals(contract, _columns(options))
        reverser = _reverser(options, contract, keys, reader)
        faults.found += reverser.faults() if reverser else cannot
        faults.found += _owner(reader, contract) if reader else []
        faults.found += needs(found, contract, schema) if schema is not None else []
    if reader:
        reader.close()
    faults.stop()
    assert given and contract and reverser
    return given, contract, reverser


def _reverser(options: ReidentifyOptions, contract: Contract, keys: Keys | None, reader: Reader | None) -> ReverserConfig | None:
    if options.engine == "dlp":
        return DlpReverser(DlpEngine(contract, options.project, options.location, options.dlp_endpoint, options.requests_per_minute or None,
                                     allow_unwrapped_keys=options.allow_unwrapped_keys), _columns(options))
    if keys is None:
        return None
    return LocalReverser(contract, _columns(options), keys, reader is None or _made_by(reader, contract, keys))


def _columns(options: ReidentifyOptions) -> tuple[str, ...]:
    return tuple(name.strip() for name in options.columns.split(",") if name.strip())


def _keys(options: ReidentifyOptions) -> Keys:
    keys = open_keys(options.keys, False, options.secrets_endpoint)
    if keys is None:
        raise Misconfigured([Fault("--keys", "there is no key folder", "give the one that the tables were made with")])
    return keys


def _owner(reader: Reader, contract: Contract) -> list[Fault]:
    """A fault where the tables hold another contract's events: its tokens were made by another policy."""
    found = reader.query("SELECT comment FROM duckdb_tables() WHERE database_name = 'lake' AND table_name = 'events'")["comment"].to_pylist()
    if not found or found[0] is None or found[0].split()[-1] == contract.name:
        return []
    return [Fault("--contract", f"is {contract.name}, and the tables hold {found[0]}", "give that contract")]


def _made_by(reader: Reader, contract: Contract, keys: Keys) -> bool:
    """Whether these keys made rows of the tables, as the digests of their ids show; True where there are none."""
    name = '"' + contract.id.replace('"', '""') + '"'
    rows = reader.query(f"SELECT {name} AS id, id_hash FROM events LIMIT {_SAMPLE}")
    ids = rows["id"].combine_chunks()
    alone = pa.RecordBatch.from_arrays([ids if f.name == contract.id else pa.nulls(len(ids), f.type) for f in input_schema(contract)],
                                       schema=input_schema(contract))
    made = Digest(contract, keys.derive("row digests")).of(alone)[0].to_pylist()
    return not made or any(mine == theirs for mine, theirs in zip(made, rows["id_hash"].to_pylist(), strict=True))


def _account() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def _user(account: str) -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # neither the environment nor the system names one
        return account
