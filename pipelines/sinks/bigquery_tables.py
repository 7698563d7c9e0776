"""BigQuery's tables beside the contract's: what is missing, what may be changed, what is refused."""

from collections.abc import Iterable, Iterator
from copy import deepcopy
from datetime import date
from typing import Any, NamedTuple

import pyarrow as pa
from google.api_core import exceptions
from google.cloud.bigquery import Client, SchemaField, Table

from pipelines.sinks.bigquery import Dataset
from pipelines.sinks.bigquery_client import Patience, patiently, reason
from schemas import bigquery as declared
from schemas.arrow import stored_columns
from schemas.contract import Contract
from schemas.errors import Fault, Misconfigured, Transient

SAMPLE = 1000  # events whose digests show which keys made the tables
LOOK = Patience(seconds=15.0)  # before a run starts, somebody is waiting
PLACEHOLDER = "penstock_sensitive"
_ALIASES = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}
Resource = dict[str, Any]


class Comparison(NamedTuple):
    """One table: what is wanted, what is there (None: nothing), the columns to add, what else to update (in words), and
    the differences that are refused.
    """

    name: str
    wanted: Resource
    present: Resource | None
    added: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


def wanted_tables(contract: Contract, policy_tag: str) -> dict[str, Resource]:
    """The contract's tables, with this policy tag in place of the placeholder, or without one where it is ""."""
    tables = deepcopy(declared.tables(contract))
    for table in tables.values():
        for field in table["schema"]["fields"]:
            if "policyTags" in field and not policy_tag:
                del field["policyTags"]
            elif "policyTags" in field:
                field["policyTags"] = {"names": [policy_tag]}
    return tables


def location(client: Client, dataset: Dataset, patience: Patience) -> str:
    """Where the dataset is. Raises Misconfigured where it is not to be found."""
    found = _there(lambda: client.get_dataset(f"{dataset.project}.{dataset.name}", retry=None, timeout=patience.answer), patience)
    if found is None:
        raise Misconfigured([Fault(f"bq://{dataset.project}.{dataset.name}", "is no dataset", "make it: its location and its readers are yours to choose")])
    return str(found.location or "")


def compare(client: Client, dataset: Dataset, wanted: dict[str, Resource], patience: Patience) -> list[Comparison]:
    """Each wanted table beside the one that is there. Raises Misconfigured where BigQuery does not let us look."""
    found = []
    for name, resource in wanted.items():
        table = present(client, dataset, name, patience)
        found.append(Comparison(name, resource, None) if table is None else difference(name, resource, table.to_api_repr()))
    return found


def present(client: Client, dataset: Dataset, name: str, patience: Patience) -> Any:
    """The table or view of this name as BigQuery shows it, None where there is none. Raises Misconfigured where it does not let us look."""
    return _there(lambda: client.get_table(f"{dataset.project}.{dataset.name}.{name}", retry=None, timeout=patience.answer), patience)


def difference(name: str, wanted: Resource, present: Resource) -> Comparison:
    """What it takes to make a table as it is wanted. Column names are the same whatever their case, as in BigQuery."""
    there = {f["name"].lower(): f for f in present.get("schema", {}).get("fields", [])}
    added, updated, refused = [], [], []
    for field in wanted["schema"]["fields"]:
        old = there.pop(field["name"].lower(), None)
        if old is None and field["mode"] == "NULLABLE":
            added.append(field["name"])
        elif old is None:
            refused.append(f"{field['name']} is missing and required")
        elif _kind(old) != _kind(field):
            refused.append(f"{field['name']} is {_kind(old)} and declared {_kind(field)}")
        else:
            updated += [f"{what} of {field['name']}" for what in ("description", "policyTags") if field.get(what) and old.get(what) != field[what]]
    refused += [f"{old['name']} is not declared" for old in there.values()]
    for what in ("timePartitioning", "clustering"):
        if _form(present, what) != _form(wanted, what):
            refused.append(f"{what} is {_form(present, what) or 'none'} and declared {_form(wanted, what) or 'none'}")
    if _kept(wanted) and _kept(present) != _kept(wanted):
        updated.append("expiration of the days")
    if present.get("description") != wanted["description"]:
        updated.append("description of the table")
    return Comparison(name, wanted, present, tuple(added), tuple(updated), tuple(refused))


def looked(client: Client, dataset: Dataset, contract: Contract, patience: Patience = LOOK) -> tuple[str, list[Fault]]:
    """(where the dataset is, what keeps rows of the contract from being loaded into its tables)."""
    try:
        where = location(client, dataset, patience)
        return where, faults(dataset, compare(client, dataset, wanted_tables(contract, ""), patience), loading=True)
    except Misconfigured as error:
        return "", list(error.faults)
    except Transient as error:
        return "", [Fault("--output", str(error), "try again, or check --bigquery_endpoint")]


def ids(client: Client, dataset: Dataset, contract: Contract, without: Iterable[date] = (), patience: Patience = LOOK) -> pa.Table:
    """Columns id and id_hash of some events, on other days than these; by tabledata.list, which costs nothing: a SELECT would be billed
    for the columns whole. Raises Misconfigured.
    """
    chosen = [SchemaField.from_api_repr(declared.field(column)) for column in stored_columns(contract) if column.name in (contract.id, "id_hash", "d")]
    where, events = f"bq://{dataset.project}.{dataset.name}", f"{dataset.project}.{dataset.name}.events"
    try:
        rows = patiently(lambda: list(client.list_rows(events, chosen, max_results=SAMPLE, retry=None, timeout=patience.answer)), patience)
    except Transient as error:
        raise Misconfigured([Fault(where, str(error), "try again, or check --bigquery_endpoint")]) from None
    except exceptions.GoogleAPICallError as error:
        raise Misconfigured([Fault(where, f"BigQuery does not show some ids of its events: {reason(error)}",
                                   "the account needs roles/bigquery.dataViewer on the table")]) from None
    days = set(without)
    kept = [(row[contract.id], row["id_hash"]) for row in rows if row["d"] not in days]
    return pa.table({"id": [each[0] for each in kept], "id_hash": pa.array([each[1] for each in kept], pa.int64())})


def faults(dataset: Dataset, compared: list[Comparison], loading: bool) -> list[Fault]:
    """What is refused; where rows are to be loaded, also what is missing."""
    found = []
    for table in compared:
        where = f"bq://{dataset.project}.{dataset.name}: {table.name}"
        if table.refused:
            found.append(Fault(where, f"has another form: {'; '.join(table.refused)}", "give another dataset, or a contract with these columns "
                               "(new nullable ones may be added)"))
        elif loading and (table.present is None or table.added):
            found.append(Fault(where, "is missing" if table.present is None else f"lacks {', '.join(table.added)}", "make it: penstock tables --apply"))
    return found


def apply(client: Client, dataset: Dataset, table: Comparison, patience: Patience) -> None:
    """Creates what is missing, or adds columns and updates descriptions and policy tags. Raises Misconfigured where it is not let."""
    reference = {"projectId": dataset.project, "datasetId": dataset.name, "tableId": table.name}
    made = Table.from_api_repr({**table.wanted, "tableReference": reference})
    where = f"bq://{dataset.project}.{dataset.name}: {table.name}"
    try:
        if table.present is None:
            patiently(lambda: client.create_table(made, exists_ok=True, retry=None, timeout=patience.answer), patience)
        elif table.added or table.updated:
            changed = {"description": table.wanted["description"], "schema": {"fields": list(_merged(table))}}
            if _kept(table.wanted):
                changed["timePartitioning"] = table.wanted["timePartitioning"]
            made = Table.from_api_repr({**table.present, **changed})
            names = ["schema", "description", *(["time_partitioning"] if _kept(table.wanted) else [])]
            patiently(lambda: client.update_table(made, names, retry=None, timeout=patience.answer), patience)
    except exceptions.GoogleAPICallError as error:
        raise Misconfigured([Fault(where, f"could not be changed: {reason(error)}", "look at it again: penstock tables")]) from None


def _merged(table: Comparison) -> Iterator[Resource]:
    """The columns as they stand, with our descriptions and tags, then the new ones: what BigQuery takes as an addition."""
    wanted = {f["name"].lower(): f for f in table.wanted["schema"]["fields"]}
    for old in (table.present or {})["schema"]["fields"]:
        new = wanted[old["name"].lower()]
        yield old | {what: new[what] for what in ("description", "policyTags") if what in new}
    yield from (wanted[name.lower()] for name in table.added)


def _there(call: Any, patience: Patience) -> Any:
    try:
        return patiently(call, patience)
    except exceptions.NotFound:
        return None
    except exceptions.GoogleAPICallError as error:
        raise Misconfigured([Fault("--output", f"BigQuery does not show its tables: {reason(error)}",
                                   "check the project, and that the account may read the dataset")]) from None


def _kind(field: Resource) -> str:
    mode = str(field.get("mode", "NULLABLE"))
    return str(_ALIASES.get(field["type"], field["type"])) + {"NULLABLE": "", "REQUIRED": " NOT NULL"}.get(mode, f" {mode}")


def _kept(table: Resource) -> str:
    """For how many milliseconds a day of it is kept, "" for ever."""
    return str((table.get("timePartitioning") or {}).get("expirationMs") or "")


def _form(table: Resource, what: str) -> str:
    found = table.get(what) or {}
    return " by ".join(filter(None, (found.get("type"), found.get("field")))) if what == "timePartitioning" else ", ".join(found.get("fields", []))


def ddl(dataset: Dataset, name: str, table: Resource) -> str:
    """The table as a CREATE TABLE statement. https://cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language

    DDL has no policy tags: they stand as remarks, and are set by the API.
    """
    columns = []
    fields = table["schema"]["fields"]
    for position, field in enumerate(fields):
        tag = f"  -- policy tag {field['policyTags']['names'][0]}" if "policyTags" in field else ""
        comma = "," if position < len(fields) - 1 else ""
        columns.append(f"  `{field['name']}` {_kind(field)} OPTIONS (description = {_quoted(field['description'])}){comma}{tag}")
    partition = f"\nPARTITION BY {table['timePartitioning']['field']}" if "timePartitioning" in table else ""
    cluster = f"\nCLUSTER BY {', '.join(table['clustering']['fields'])}" if "clustering" in table else ""
    body = "\n".join(columns)
    kept = f", partition_expiration_days = {int(_kept(table)) / 86_400_000:g}" if _kept(table) else ""
    return (f"CREATE TABLE `{dataset.project}.{dataset.name}.{name}` (\n{body}\n){partition}{cluster}\n"
            f"OPTIONS (description = {_quoted(table['description'])}{kept});")


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
