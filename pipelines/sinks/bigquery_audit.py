"""The table `reidentifications` of a dataset of BigQuery: one load job a run, under the run's id, so that it is done once."""

from dataclasses import dataclass
from datetime import datetime, timezone

from google.cloud.bigquery import ScalarQueryParameter

from pipelines.sinks.audit import NAMES, Reidentification
from pipelines.sinks.bigquery import Dataset
from pipelines.sinks.bigquery_client import Patience, connect
from pipelines.sinks.bigquery_jobs import Load, Place, lines, load, query
from pipelines.sinks.bigquery_ledger import named
from pipelines.sinks.bigquery_tables import apply, compare, faults
from schemas import bigquery
from schemas.errors import Misconfigured


@dataclass(frozen=True)
class DatasetAudit:
    """location: the dataset's; endpoint: as bigquery_client.connect takes it."""

    dataset: Dataset
    location: str
    endpoint: str = ""
    patience: Patience = Patience()

    def prepare(self) -> None:
        """Makes the table where it is missing. Raises Misconfigured where it cannot, or where one of another form is there; Transient."""
        client = connect(self.dataset.project, self.endpoint)
        (table,) = compare(client, self.dataset, bigquery.audit(), self.patience)
        if found := faults(self.dataset, [table], loading=False):
            raise Misconfigured(found)
        if table.present is None or table.added:
            apply(client, self.dataset, table, self.patience)

    def append(self, row: Reidentification) -> None:
        """Commits the row; once, however often it is called for a run. Raises Failed or Transient."""
        values = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.values().items()}
        load(self._place(), Load(f"penstock-{row.run}-{bigquery.AUDIT}", f"{self.dataset.name}.{bigquery.AUDIT}", lines([values]),
                                 "NEWLINE_DELIMITED_JSON", labels={"penstock_run": row.run.lower()[:63]}))

    def find(self, run: str) -> Reidentification | None:
        """The row of a run; None where it has none. Raises Failed or Transient."""
        listed = ", ".join(f"`{name}`" for name in NAMES)
        found = query(self._place(), f"SELECT {listed} FROM {named(self.dataset, bigquery.AUDIT)} WHERE run = @run",
                      [ScalarQueryParameter("run", "STRING", run)])
        if not found:
            return None
        return Reidentification.of({name: value.astimezone(timezone.utc) if isinstance(value, datetime) else value for name, value in found[0].items()})

    def _place(self) -> Place:
        return Place(connect(self.dataset.project, self.endpoint), self.location, self.patience)
