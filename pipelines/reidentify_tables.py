"""The tables that reidentify asks, and that keep its audit: one interface, over a folder and over a dataset of BigQuery."""

from dataclasses import replace
from pathlib import Path
from typing import Protocol

import apache_beam as beam
import pyarrow as pa

from pipelines.sinks import bigquery_tables
from pipelines.sinks.audit import Audit
from pipelines.sinks.bigquery import dataset
from pipelines.sinks.bigquery_audit import DatasetAudit
from pipelines.sinks.bigquery_client import connect
from pipelines.sinks.bigquery_failures import contract_of
from pipelines.sinks.bigquery_tables import LOOK
from pipelines.sinks.lake_audit import LakeAudit
from pipelines.sinks.lake_catalog import Reader
from pipelines.sinks.lake_tables import ids, owner
from pipelines.sources import query, query_bigquery
from pipelines.sources.query_bigquery import Question
from schemas.contract import Contract
from schemas.errors import Fault, Misconfigured, Transient


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
        return ids(self._reader.connection, contract)

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
        return bigquery_tables.ids(self._client, self.question.dataset, contract)

    def read(self, schema: pa.Schema) -> beam.PTransform:
        return query_bigquery.ReadQuery(self.question, schema)

    def close(self) -> None:
        self._client.close()
