"""A table of BigQuery for values in clear. They go from memory into pending streams of its Storage Write API, which nobody can read,
and show when all streams are committed, in one call.

A label of the table says which run it is for. Whoever comes later takes an empty one over; the run before then finds that out
just before its audit row, and shows nothing.
https://cloud.google.com/bigquery/docs/write-api-batch
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import apache_beam as beam
import pyarrow as pa
from google.api_core import exceptions
from google.cloud.bigquery import Client, Table

from pipelines.sinks.bigquery import Dataset, dataset
from pipelines.sinks.bigquery_client import Patience, connect, patiently, reason
from pipelines.sinks.bigquery_jobs import Failed, Place, query
from pipelines.sinks.bigquery_ledger import named
from pipelines.sinks.bigquery_tables import LOOK, difference, location, present
from pipelines.sinks.bigquery_write import commit
from pipelines.sinks.bigquery_write import connect as connect_to_write
from pipelines.sinks.restricted import Part
from pipelines.sinks.restricted_streams import WriteStreams
from schemas.errors import Fault, Misconfigured, Transient

NAME = re.compile(r"(bq://.+\.[A-Za-z0-9_]+)\.([A-Za-z0-9_-]{1,1024})")
LABEL = "penstock_run"
_WHERE = "--destination"
_ANYONE = {"allUsers", "allAuthenticatedUsers"}
_TYPES = {pa.string(): "STRING", pa.int32(): "INT64", pa.int64(): "INT64", pa.float32(): "FLOAT64", pa.float64(): "FLOAT64", pa.bool_(): "BOOL",
          pa.timestamp("us", "UTC"): "TIMESTAMP", pa.date32(): "DATE", pa.binary(): "BYTES"}


@dataclass(frozen=True)
class RestrictedTable:
    """bq://PROJECT.DATASET.TABLE, for one run. endpoint, write_endpoint: of BigQuery and of its Storage Write API."""

    dataset: Dataset
    table: str
    run: str
    endpoint: str = ""
    write_endpoint: str = ""
    patience: Patience = Patience()

    @staticmethod
    def of(destination: str, run: str, endpoint: str = "", write_endpoint: str = "", patience: Patience = Patience()) -> "RestrictedTable":
        """Raises Misconfigured where the name is none of a table."""
        match = NAME.fullmatch(destination)
        if not match:
            raise Misconfigured([Fault(_WHERE, "is no table of BigQuery", "give bq://PROJECT.DATASET.TABLE")])
        return RestrictedTable(dataset(match[1], _WHERE), match[2], run, endpoint, write_endpoint, patience)

    @property
    def name(self) -> str:
        return f"bq://{self.dataset.project}.{self.dataset.name}.{self.table}"

    def misplaced(self, output: str) -> list[Fault]:
        """What can be said of it without asking anybody."""
        if output.removeprefix("bq://").lower() == f"{self.dataset.project}.{self.dataset.name}".lower():
            return [Fault(_WHERE, "lies in the dataset of the tables", "give a table of another dataset, for those alone who may see the values")]
        return []

    def faults(self, output: str, schema: pa.Schema | None) -> list[Fault]:
        found = self.misplaced(output)
        foreign = [f"{field.name} as {field.type}" for field in schema or () if field.type not in _TYPES]
        if foreign:
            found.append(Fault("SQL", f"answers {', '.join(foreign)}, which is not written to a table",
                               "CAST it to STRING, INT64, FLOAT64, BOOL, TIMESTAMP, DATE or BYTES"))
        if found:
            return found
        try:
            return replace(self, patience=LOOK)._looked(schema)
        except Misconfigured as error:
            return [Fault(_WHERE if f.where == "--output" else f.where, f.problem, f.remedy) for f in error.faults]
        except (Failed, Transient) as error:
            return [Fault(_WHERE, str(error), "try again, or check --bigquery_endpoint")]

    def prepare(self, schema: pa.Schema) -> None:
        """Makes the table, or takes an empty one over for this run. Raises Misconfigured; Failed; Transient."""
        client = self._client()
        try:
            if self._made(client, schema):
                return
            table = present(client, self.dataset, self.table, self.patience)
            if table is None:
                raise Failed(f"{self.name}: was removed while it was made")
            if table.labels.get(LABEL) == self._label:
                return
            if unfit := self._unfit(client, table, schema):
                raise Misconfigured(unfit)
            table.labels = {**table.labels, LABEL: self._label}
            patiently(lambda: client.update_table(table, ["labels"], retry=None, timeout=self.patience.answer), self.patience)
        except exceptions.PreconditionFailed:
            raise Misconfigured([Fault(_WHERE, "is being taken by another run", "give a table of this run's own")]) from None
        except exceptions.GoogleAPICallError as error:
            raise Misconfigured([Fault(_WHERE, f"cannot be made: {reason(error)}", "the account needs roles/bigquery.dataEditor on its dataset")]) from None

    def writer(self, schema: pa.Schema) -> beam.PTransform:
        return WriteStreams(self.path, self.write_endpoint, self.patience)

    def check(self) -> None:
        """Raises Failed where another run has taken the table, or shown rows in it; Misconfigured; Transient."""
        client = self._client()
        table = present(client, self.dataset, self.table, self.patience)
        if table is None or table.labels.get(LABEL) != self._label:
            raise Failed(f"{self.name}: another run has taken the table")
        if self._holds_rows(client):
            raise Failed(f"{self.name}: holds rows of another run")

    def show(self, parts: Sequence[Part]) -> None:
        """Commits the streams. Raises Transient where nobody knows whether it was done, Failed where nothing is visible."""
        commit(connect_to_write(self.write_endpoint), self.path, [part.name for part in parts], self.patience)

    def discard(self) -> None:
        """Nothing: what is not committed nobody can read, and after a day nobody can commit it."""

    def told(self) -> str:
        return self.name

    def left(self) -> str:
        """An answer of BigQuery's may have been lost when the result was shown."""
        return f"{self.name} holds all of the result or nothing"

    def _looked(self, schema: pa.Schema | None) -> list[Fault]:
        """Faults of what is there. Raises Misconfigured, Failed, Transient."""
        client = self._client()
        location(client, self.dataset, self.patience)
        place = f"{self.dataset.project}.{self.dataset.name}"
        found = patiently(lambda: client.get_dataset(place, retry=None, timeout=self.patience.answer), self.patience)
        anyone = sorted({str(entry.entity_id) for entry in found.access_entries} & _ANYONE)
        if anyone:
            return [Fault(_WHERE, f"lies in a dataset that {anyone[0]} may read", "give one for those alone who may see the values")]
        table = present(client, self.dataset, self.table, self.patience)
        return self._unfit(client, table, schema) if table is not None else []

    @property
    def path(self) -> str:
        """As the Storage Write API names it."""
        return self.dataset.path(self.table)

    def _client(self) -> Client:
        return connect(self.dataset.project, self.endpoint)

    @property
    def _label(self) -> str:
        return self.run.lower()[:63]

    def _resource(self, schema: pa.Schema) -> dict[str, object]:
        return {"schema": {"fields": [{"name": f.name, "type": _TYPES[f.type], "mode": "NULLABLE"} for f in schema]},
                "tableReference": {"projectId": self.dataset.project, "datasetId": self.dataset.name, "tableId": self.table},
                "description": "Values in clear, that reidentify turned back; its audit table says who asked, and why.", "labels": {LABEL: self._label}}

    def _made(self, client: Client, schema: pa.Schema) -> bool:
        """Whether this call made the table; False where it is there."""
        wanted = Table.from_api_repr(self._resource(schema))
        try:
            patiently(lambda: client.create_table(wanted, exists_ok=False, retry=None, timeout=self.patience.answer), self.patience)
        except exceptions.Conflict:
            return False
        return True

    def _unfit(self, client: Client, table: Table, schema: pa.Schema | None) -> list[Fault]:
        """Why a table that is there cannot take the result."""
        if table.table_type != "TABLE":
            return [Fault(_WHERE, f"is no table but a {str(table.table_type).lower()}", "give one that is new or empty")]
        if self._holds_rows(client):
            return [Fault(_WHERE, "is not empty", "give a table that is new or empty")]
        there = table.to_api_repr()
        wanted = {**there, "schema": self._resource(schema)["schema"]} if schema is not None else there
        compared = difference(self.table, {"description": None, **wanted}, there)
        differs = [*(f"{name} is missing" for name in compared.added), *compared.refused]
        return [Fault(_WHERE, f"has other columns than the answer: {'; '.join(differs)}", "give a table that is new, or remove this one")] if differs else []

    def _holds_rows(self, client: Client) -> bool:
        place = Place(client, location(client, self.dataset, self.patience), self.patience)
        return bool(query(place, f"SELECT COUNT(*) AS n FROM {named(self.dataset, self.table)}")[0]["n"])
