"""What a stream is about to commit, kept in BigQuery before it does, so that whoever comes next can finish it.

    penstock_stream    a table without rows; its description says which process writes, and the run that it committed last, or began to

BigQuery commits the streams of one table at once, not those of several. So a run first stands in its pending streams, finalized and
counted; then its intent is written here; then the streams are committed, one table after the other. From the intent on the run is
done, whatever happens: a commit that is sent twice happens once, and the next process (on any machine) sends those that are missing.
The description is changed under the table's etag (If-Match): a process that another one has taken over from cannot begin a run.
https://cloud.google.com/bigquery/docs/reference/rest/v2/tables/patch
"""

import json
import secrets
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from google.api_core import exceptions
from google.cloud.bigquery import Table

from pipelines.sinks.bigquery import Dataset
from pipelines.sinks.bigquery_client import patiently, reason
from pipelines.sinks.bigquery_jobs import Failed, Place
from pipelines.sinks.streamed import Held
from transforms.ledger import LedgerRow

TABLE = "penstock_stream"
_DOC = "Without rows: the description of the table says what a stream is about to commit."
_TIMES = ("started", "ended", "watermark", "greatest")


@dataclass(frozen=True)
class Intent:
    """A run whose pending streams are finalized. streams: (table, name), in the order of their commits, `runs` last."""

    row: LedgerRow
    streams: tuple[tuple[str, str], ...]

    def tables(self) -> list[tuple[str, list[str]]]:
        """Each table with its streams, in order."""
        return [(table, [name for _, name in streams]) for table, streams in groupby(self.streams, lambda each: each[0])]

    def of(self, table: str) -> "Intent":
        """The part of it that is about one table."""
        return Intent(self.row, tuple(each for each in self.streams if each[0] == table))


class Intents:
    """Of one process. last: what was written last, by whichever process; call take() first."""

    def __init__(self, place: Place, dataset: Dataset) -> None:
        self._place, self._dataset, self._process = place, dataset, secrets.token_hex(8)
        self._table: Table | None = None
        self.last: Intent | None = None

    def take(self) -> None:
        """From now on this process writes, and no other; again, where it still does. Raises Held where another took over, Failed or Transient."""
        for _ in range(6):
            there = self._there() or self._made()
            if self._table is not None and _process(there.description) != self._process:
                raise Held(self._taken)
            self.last = _read(there.description)
            try:
                self._table = self._changed(there, _written(self._process, self.last))
                return
            except (exceptions.PreconditionFailed, exceptions.NotFound):
                continue
        raise Held(f"other streams take the tables of bq://{self._dataset.project}.{self._dataset.name} at the same moment")

    def write(self, intent: Intent) -> None:
        """Raises Held where another process has taken over, Failed or Transient: nothing of the run may be committed then."""
        assert self._table is not None
        wanted = _written(self._process, intent)
        try:
            self._table = self._changed(self._table, wanted)
        except (exceptions.PreconditionFailed, exceptions.NotFound):
            there = self._there()
            if there is None or there.description != wanted:  # else it was written, and the answer lost
                raise Held(self._taken) from None
            self._table = there
        self.last = intent

    @property
    def _taken(self) -> str:
        return f"another stream has taken the tables of bq://{self._dataset.project}.{self._dataset.name} over"

    def _changed(self, there: Table, description: str) -> Table:
        wanted = Table.from_api_repr({**there.to_api_repr(), "description": description})  # with its etag
        try:
            return patiently(lambda: self._place.client.update_table(wanted, ["description"], retry=None, timeout=self._place.patience.answer),
                             self._place.patience)
        except (exceptions.PreconditionFailed, exceptions.NotFound):
            raise
        except exceptions.GoogleAPICallError as error:
            raise Failed(f"{TABLE} cannot be changed: {reason(error)}") from None

    def _there(self) -> Table | None:
        name = f"{self._dataset.project}.{self._dataset.name}.{TABLE}"
        try:
            return patiently(lambda: self._place.client.get_table(name, retry=None, timeout=self._place.patience.answer), self._place.patience)
        except exceptions.NotFound:
            return None
        except exceptions.GoogleAPICallError as error:
            raise Failed(f"{TABLE} cannot be read: {reason(error)}") from None

    def _made(self) -> Table:
        reference = {"projectId": self._dataset.project, "datasetId": self._dataset.name, "tableId": TABLE}
        fields = [{"name": "run", "type": "STRING", "description": _DOC}]
        table = Table.from_api_repr({"tableReference": reference, "schema": {"fields": fields}, "description": _written("", None)})
        try:
            return patiently(lambda: self._place.client.create_table(table, exists_ok=True, retry=None, timeout=self._place.patience.answer),
                             self._place.patience)
        except exceptions.GoogleAPICallError as error:
            raise Failed(f"{TABLE} cannot be made: {reason(error)}") from None


def _written(process: str, intent: Intent | None) -> str:
    return json.dumps({"process": process, "row": json.loads(intent.row.to_json()) if intent else None, "streams": intent.streams if intent else []})


def _process(description: str | None) -> str:
    return str(json.loads(description or "{}").get("process", ""))


def _read(description: str | None) -> Intent | None:
    told = json.loads(description or "{}")
    if not told.get("row"):
        return None
    row = told["row"]
    row.pop("balanced")
    row |= {name: datetime.fromisoformat(row[name]) for name in _TIMES if row[name]} | {"partitions": tuple(row["partitions"])}
    return Intent(LedgerRow(**row), tuple((table, stream) for table, stream in told["streams"]))
