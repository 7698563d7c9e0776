"""The batch job: files to tables. Adds rows, or replaces exactly the days of --partition."""

import gc
import json
import logging
import secrets
import sys
from datetime import datetime, timezone

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines import graph
from pipelines.keyfolder import open_keys
from pipelines.options import BatchOptions
from pipelines.progress import Watch
from pipelines.sinks.lake import Lake
from pipelines.sources.listing import listed
from pipelines.starting import Faults, beam_options
from pipelines.trace import frames
from schemas.contract import Contract, load
from transforms.deidentify import EngineConfig
from transforms.engines.dlp import DlpEngine
from transforms.engines.local import LocalEngine
from transforms.keys import Keys
from transforms.onnx import OnnxHandler
from transforms.park import Park

SHARD_BYTES = 1 << 30  # of input a shard: about two million rows' digests


def run(options: BatchOptions, beam_arguments: list[str]) -> int:
    """Runs the job on this machine; exit code 0 where it is done and balanced, 1 where it failed.

    Raises Misconfigured, with every fault, where it cannot run.
    """
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)  # its errors quote elements
    faults = Faults()
    given = faults.of(lambda: beam_options(options.runner, beam_arguments))
    contract = faults.of(lambda: load(options.contract, options.allow_unwrapped_keys))
    files = faults.of(lambda: listed(options.input))
    keys = faults.of(lambda: open_keys(options.keys, make=not faults.found))
    engine = _engine(options, contract, keys) if contract and keys else None
    if engine:
        faults.found += engine.faults()
    if contract and contract.model:
        model = contract.model
        faults.of(lambda: OnnxHandler(model).load_model())
    faults.stop()
    assert contract and files and keys and given and engine
    started = datetime.now(timezone.utc)
    run_id = f"{started:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    with Lake.writer(options.output, contract, run_id) as lake:
        plan = graph.Run(
            contract=contract, files=files, days=frozenset(options.partition) or None, keys=keys, engine=engine,
            handler=OnnxHandler(contract.model) if contract.model else None, park=Park(lake.parked), stored=lake.stored(options.partition),
            shards=1 + sum(f.size for f in files) // SHARD_BYTES, public_pem=keys.public_pem(), id=run_id,
            events=lake.write_events(), failures=lake.write_failures(),
            commit=lake.commit("batch", options.partition, started, _lineage(options, engine)))
        return _run(options, plan, given, lake)


def _run(options: BatchOptions, plan: graph.Run, given: PipelineOptions, lake: Lake) -> int:
    pipeline = beam.Pipeline("FnApiRunner", options=given)
    graph.build(pipeline, plan)
    gc.collect()
    gc.freeze()  # what was imported lives as long as the process: without this the collector walks over it again and again (a tenth of the time)
    try:
        with Watch():
            pipeline.run().wait_until_finish()
    except Exception as error:  # whatever it is, its text may hold a row: say where, not what
        lost = lake.lost()
        print(f"penstock batch failed; the tables are as they were: {lost or frames(error)}", file=sys.stderr)
        return 1
    row = lake.ledger(plan.id)
    print(row.sentence())
    print(f"tables: {options.output}")
    if options.json:
        print(row.to_json())
    return 0 if row.balanced else 1


def _engine(options: BatchOptions, contract: Contract, keys: Keys) -> EngineConfig:
    if options.engine == "local":
        return LocalEngine(contract, keys)
    return DlpEngine(contract, options.project, options.location, options.dlp_endpoint, options.requests_per_minute or None,
                     cache_entries=100_000 if options.dlp_cache else 0, allow_unwrapped_keys=options.allow_unwrapped_keys,
                     inspect_template=_resource(contract.inspect), deidentify_template=_resource(contract.deidentify))


def _lineage(options: BatchOptions, engine: EngineConfig) -> str:
    """What de-identifies, for the ledger: the engine and the templates that DLP keeps, with their update times."""
    named = engine.lineage() if isinstance(engine, DlpEngine) else ()
    return json.dumps({"engine": options.engine, "templates": {version.name: version.updated for version in named}})


def _resource(template: str) -> str:
    """The name under which DLP keeps this template, "" where the contract's own text is sent."""
    name = json.loads(template).get("name", "")
    return name if isinstance(name, str) and name.startswith(("projects/", "organizations/")) else ""
