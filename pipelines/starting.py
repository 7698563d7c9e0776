"""What jobs check before they start."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import pyarrow as pa
from apache_beam.ml.inference.base import ModelHandler
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.keyfolder import keys_of_tables
from pipelines.made_with import refuse_others
from pipelines.options import BatchOptions, ReplayOptions, StreamOptions
from schemas.contract import Contract
from schemas.errors import Fault, Misconfigured
from transforms.deidentify import EngineConfig
from transforms.engines.dlp import DlpEngine
from transforms.engines.local import LocalEngine
from transforms.keys import Keys
from transforms.onnx import OnnxHandler

T = TypeVar("T")
Storing = BatchOptions | ReplayOptions | StreamOptions


class Faults:
    """Gathers the faults of several checks, so that a user hears of all of them at once."""

    def __init__(self) -> None:
        self.found: list[Fault] = []

    def of(self, check: Callable[[], T]) -> T | None:
        """What the check answers; None where it raises Misconfigured, whose faults are kept."""
        try:
            return check()
        except Misconfigured as error:
            self.found += error.faults
            return None

    def stop(self) -> None:
        """Raises Misconfigured where there are faults."""
        if self.found:
            raise Misconfigured(dict.fromkeys(self.found))


def beam_options(runner: str, arguments: list[str]) -> PipelineOptions:
    """Beam's options. Raises Misconfigured for a runner or a mode that jobs do not run on."""
    found = PipelineOptions([*arguments, "--no_save_main_session"])
    faults = []
    if runner not in ("DirectRunner", "FnApiRunner"):
        remedy = "it runs on one machine" if runner == "DataflowRunner" else "DirectRunner is FnApiRunner in one process"
        faults.append(Fault("--runner", f"{runner} does not run this job", f"leave it out: {remedy}"))
    given = found.get_all_options()
    if given.get("dry_run"):  # Beam's runners here take no notice of it, and would store rows
        faults.append(Fault("--dry_run", "dry-runs the graph of Dataflow; on one machine this job would run", "leave it out, or give --runner=DataflowRunner"))
    if given.get("direct_running_mode") not in (None, "in_memory") or given.get("direct_num_workers", 1) != 1:
        faults.append(Fault("--direct_running_mode", "several worker processes gain nothing here, and FnApiRunner hangs when one dies",
                            "leave it out"))
    if faults:
        raise Misconfigured(faults)
    return found


class Means(NamedTuple):
    """What a job does its work with, beside the contract. engine: what de-identifies; handler: None without a model."""

    keys: Keys
    engine: EngineConfig
    handler: "ModelHandler[Any, Any, Any] | None"


def means_of(options: Storing, contract: Contract | None, faults: Faults, keys: Callable[[], Keys | None], held: pa.Table | None = None) -> Means | None:
    """The means, checked; None where there are faults. The last of a job's checks: keys may make a folder, which a request
    that cannot run must not leave behind. held: id and id_hash of some events that the tables hold, which these keys must have made."""
    found = faults.of(keys)
    if found and contract and held:
        faults.of(lambda: refuse_others(held, contract, found))
    engine = faults.of(lambda: engine_of(options, contract, found)) if contract and found else None
    faults.found += engine.faults() if engine else []
    handler = OnnxHandler(contract.model) if contract and contract.model else None
    if handler:
        faults.of(handler.load_model)
    return Means(found, engine, handler) if found and engine and not faults.found else None


def means_for(options: Storing, contract: Contract | None, faults: Faults, held: pa.Table | None, there: bool = False) -> Means | None:
    """The means of a job whose tables hold these events (id and id_hash of some). there: whether the tables must be there already."""
    return means_of(options, contract, faults, lambda: keys_of_tables(options.keys, there or bool(held), options.secrets_endpoint, not faults.found), held)


def engine_of(options: Storing, contract: Contract, keys: Keys) -> EngineConfig:
    """What de-identifies, as the options say."""
    if options.engine == "local":
        return LocalEngine(contract, keys)
    return DlpEngine(contract, options.project, options.location, options.dlp_endpoint, options.requests_per_minute or None,
                     cache_entries=100_000 if options.dlp_cache else 0, allow_unwrapped_keys=options.allow_unwrapped_keys,
                     inspect_template=_resource(contract.inspect), deidentify_template=_resource(contract.deidentify))


def lineage_of(name: str, engine: EngineConfig) -> str:
    """What de-identifies, for the ledger: the engine and the templates that DLP keeps, with their update times."""
    named = engine.lineage() if isinstance(engine, DlpEngine) else ()
    return json.dumps({"engine": name, "templates": {version.name: version.updated for version in named}})


def _resource(template: str) -> str:
    """The name under which DLP keeps this template, "" where the contract's own text is sent."""
    name = json.loads(template).get("name", "")
    return name if isinstance(name, str) and name.startswith(("projects/", "organizations/")) else ""
