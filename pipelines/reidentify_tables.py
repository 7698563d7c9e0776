"""The tables that reidentify asks, and that keep its audit: one interface, over a folder and over a dataset of BigQuery."""

from dataclasses import replace
from pathlib import Path
from typing import Protocol

import apache_beam as beam
import pyarrow as pa
from google.api_core import exceptions

from pipelines.sinks import bigquery_tables
from pipelines.sinks.audit import Audit
from pipelines.sinks.bigquery import dataset
from pipelines.sinks.bigquery_audit import DatasetAudit
from pipelines.sinks.bigquery_client import connect, patiently, reason
from pipelines.sinks.bigquery_failures import contract_of
from pipelines.sinks.bigquery_tables import LOOK
from pipelines.sinks.lake_audit import LakeAudit
from pipelines.sinks.lake_catalog import Reader
from pipelines.sinks.lake_tables import owner
from pipelines.sources import query, query_bigquery
from pipelines.sources.query_bigquery import Question
from schemas.contract import Contract
from schemas.errors import Fault, Misconfigured, Transient

_SAMPLE = 1000  # events whose digest shows which keys made the tables


class Tables(Protocol):
    """All but the audit change nothing."""

    audit: Audit

    def columns(self, as_read: pa.Schema) -> pa.Schema:
        """The columns of the answer; as_read: fields whose numbers must be of the type that they were read as. Raises Misconfigured."""
        ...

    def owner(self) -> str:
        """The name of the contract whose events they hold, "" where they do not say."""
        ...

    def ids(self, contract: Contract) -> pa.Table:
        """Columns id and id_hash of some events. Raises Misconfigured."""
        ...

    def read(self, schema: pa.Schema) -> beam.PTransform:
        """What reads the answer: a PBegin to batches."""
        ...

    def close(self) -> None: ...


def tables_of(output: str, sql: str, endpoint: str = "") -> Tables:
    """The tables that OUT names, and what they are asked. Raises Misconfigured."""
    if output.startswith("bq://"):
        return DatasetTables(output, sql, endpoint)
    return LakeTables(output, sql)


class LakeTables:
    """A folder. Raises Misconfigured where it holds no tables."""

    def __init__(self, folder: str, sql: str) -> None:
        self.audit: Audit = LakeAudit(folder)
        self._reader, self._folder, self._sql = Reader(Path(folder)), folder, sql

    def columns(self, as_read: pa.Schema) -> pa.Schema:
        return query.columns_of(self._reader, self._sql)

    def owner(self) -> str:
        return owner(self._reader.connection)

    def ids(self, contract: Contract) -> pa.Table:
        name = '"' + contract.id.replace('"', '""') + '"'
        return self._reader.query(f"SELECT {name} AS id, id_hash FROM events LIMIT {_SAMPLE}")

    def read(self, schema: pa.Schema) -> beam.PTransform:
        return query.ReadQuery(self._folder, self._sql)

    def close(self) -> None:
        self._reader.close()


class DatasetTables:
    """A dataset of BigQuery. Raises Misconfigured where it is not there, or holds no tables."""

    def __init__(self, output: str, sql: str, endpoint: str = "") -> None:
        named = dataset(output)
        self._client = connect(named.project, endpoint)
        try:
            location = bigquery_tables.location(self._client, named, LOOK)
            self._events = bigquery_tables.present(self._client, named, "events", LOOK)
        except Transient as error:
            raise Misconfigured([Fault("OUT", str(error), "try again, or check --bigquery_endpoint")]) from None
        if self._events is None:
            raise Misconfigured([Fault(output, "holds no tables", "give the --output of a job")])
        self.question = Question(named, location, sql, endpoint)
        self.audit: Audit = DatasetAudit(named, location, endpoint)

    def columns(self, as_read: pa.Schema) -> pa.Schema:
        return query_bigquery.columns_of(replace(self.question, patience=LOOK), as_read)

    def owner(self) -> str:
        return contract_of(self._events.description)

    def ids(self, contract: Contract) -> pa.Table:
        """By tabledata.list, which costs nothing: a SELECT would be billed for both columns whole."""
        fields = {field.name: field for field in self._events.schema}
        chosen = [fields[name] for name in (contract.id, "id_hash") if name in fields]
        if len(chosen) < 2:
            raise Misconfigured([Fault("OUT", "holds other tables than the contract's", "give that contract")])
        try:
            rows = patiently(lambda: list(self._client.list_rows(self._events, chosen, max_results=_SAMPLE, retry=None, timeout=LOOK.answer)), LOOK)
        except Transient as error:
            raise Misconfigured([Fault("OUT", str(error), "try again, or check --bigquery_endpoint")]) from None
        except exceptions.GoogleAPICallError as error:
            raise Misconfigured([Fault("OUT", f"BigQuery does not show some ids of its events: {reason(error)}",
                                       "the account needs roles/bigquery.dataViewer on the table")]) from None
        return pa.table({"id": [row[contract.id] for row in rows], "id_hash": pa.array([row["id_hash"] for row in rows], pa.int64())})

    def read(self, schema: pa.Schema) -> beam.PTransform:
        return query_bigquery.ReadQuery(self.question, schema)

    def close(self) -> None:
        self._client.close()
