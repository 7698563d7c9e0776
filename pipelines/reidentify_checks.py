"""Everything that must hold before reidentify reads a token, told all at once; and what the run is then built of."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timezone

import pyarrow as pa

from pipelines.contracts import load
from pipelines.keyfolder import keys_of_tables
from pipelines.made_with import made_with
from pipelines.options import ReidentifyOptions
from pipelines.reidentify_tables import Tables, tables_of
from pipelines.sinks.audit import Reidentification
from pipelines.sinks.restricted import Destination, RestrictedFolder
from pipelines.sinks.restricted_table import RestrictedTable
from pipelines.starting import Faults
from schemas.arrow import input_schema
from schemas.contract import Contract
from schemas.errors import Fault
from transforms.engines.dlp import DlpEngine
from transforms.engines.reversal import needs, reversals
from transforms.engines.reversal_dlp import DlpReverser
from transforms.engines.reversal_local import LocalReverser
from transforms.keys import Keys
from transforms.reidentify import ReverserConfig


@dataclass(frozen=True)
class Checked:
    """What a run is built of. answer, result: the columns of the answer, and with values in place of tokens."""

    contract: Contract
    tables: Tables
    destination: Destination
    reverser: ReverserConfig
    answer: pa.Schema
    result: pa.Schema
    row: Reidentification


def without_asking(options: ReidentifyOptions, contract: Contract | None) -> list[Fault]:
    """What is wrong with a request, as far as it can be told from options and contract alone."""
    faults = Faults()
    if not options.purpose.strip():
        faults.found.append(Fault("--purpose", "is empty", "say in words why the values are needed; the audit row keeps it"))
    if options.destination.startswith("bq://"):
        destination = faults.of(lambda: RestrictedTable.of(options.destination, ""))
        faults.found += destination.misplaced(options.output) if destination else []
    faults.found += reversals(contract, columns_of(options))[1] if contract else []
    return faults.found


def columns_of(options: ReidentifyOptions) -> tuple[str, ...]:
    return tuple(name.strip() for name in options.columns.split(",") if name.strip())


def check(options: ReidentifyOptions, faults: Faults, who: str, account: str) -> Checked:
    """Raises Misconfigured with the faults found so far, and all that it finds. who, account: for the audit row."""
    started = datetime.now(timezone.utc)
    run = f"{started:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    columns = columns_of(options)
    contract = faults.of(lambda: load(options.contract, options.allow_unwrapped_keys, options.storage_endpoint))
    faults.found += without_asking(options, contract)
    destination = faults.of(lambda: _destination(options, run))
    tables = faults.of(lambda: tables_of(options.output, options.sql, options.bigquery_endpoint))
    keys = faults.of(lambda: keys_of_tables(options.keys, True, options.secrets_endpoint)) if options.engine == "local" else None
    found = reversals(contract, columns)[0] if contract else []
    contexts = {reversal.context for reversal in found}
    as_read = pa.schema([field for field in input_schema(contract) if field.name in contexts]) if contract else pa.schema([])
    answer = faults.of(lambda: tables.columns(as_read)) if tables else None
    reverser: ReverserConfig | None = None
    result: pa.Schema | None = None
    if contract:
        reverser = faults.of(lambda: _reverser(options, contract, columns, keys, tables))
        faults.found += reverser.faults() if reverser else []
        faults.found += _owner(tables, contract) if tables else []
        faults.found += needs(found, contract, answer) if answer is not None else []
        result = _turned(answer, contract, {reversal.field.name for reversal in found}) if answer is not None else None
    faults.found += destination.faults(options.output, result) if destination else []
    if faults.found and tables:
        tables.close()
    faults.stop()
    assert contract and tables and destination and reverser and answer is not None and result is not None
    row = Reidentification(run, who, account, options.purpose.strip(), columns, f"{contract.name} {contract.version}", options.engine,
                           hashlib.sha256(options.sql.encode()).hexdigest(), destination.name, started, started)
    return Checked(contract, tables, destination, reverser, answer, result, row)


def _destination(options: ReidentifyOptions, run: str) -> Destination:
    if options.destination.startswith("bq://"):
        return RestrictedTable.of(options.destination, run, options.bigquery_endpoint, options.bigquery_storage_endpoint)
    return RestrictedFolder(options.destination)


def _turned(answer: pa.Schema, contract: Contract, names: set[str]) -> pa.Schema:
    """The columns of the result: values are of their fields' types."""
    read = input_schema(contract)
    return pa.schema([read.field(f.name) if f.name in names else f for f in answer])


def _reverser(options: ReidentifyOptions, contract: Contract, columns: tuple[str, ...], keys: Keys | None, tables: Tables | None) -> ReverserConfig | None:
    if options.engine == "dlp":
        return DlpReverser(DlpEngine(contract, options.project, options.location, options.dlp_endpoint, options.requests_per_minute or None,
                                     allow_unwrapped_keys=options.allow_unwrapped_keys), columns)
    if keys is None:
        return None
    return LocalReverser(contract, columns, keys, tables is None or made_with(tables.ids(contract), contract, keys))


def _owner(tables: Tables, contract: Contract) -> list[Fault]:
    """A fault where the tables hold another contract's events: its tokens were made by another policy."""
    found = tables.owner()
    if found in ("", contract.name):
        return []
    return [Fault("--contract", f"is {contract.name}, and the tables hold events of {found}", "give that contract")]
