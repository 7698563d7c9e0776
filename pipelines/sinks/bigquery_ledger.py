"""The books on BigQuery: rows of `runs`, and what they are held against, counted and summed where the rows are."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timezone
from typing import Any, NamedTuple

from google.cloud.bigquery import ScalarQueryParameter

from pipelines.sinks.bigquery import Dataset
from pipelines.sinks.bigquery_jobs import Load, Place, lines, query
from pipelines.sinks.lake_files import EVENTS_TABLE, FAILURES_TABLE
from schemas.tables import RUNS, Column
from transforms.ledger import LedgerRow


class Rows(NamedTuple):
    """What rows come to: their number, the sums of id_hash and content_hash, and how many values are not null."""

    rows: int = 0
    ids: int = 0
    contents: int = 0
    cells: int = 0


def named(dataset: Dataset, table: str) -> str:
    """A table as SQL names it, between backticks."""
    return f"`{dataset.project}.{dataset.name}.{table}`"


def counted(place: Place, dataset: Dataset, columns: Sequence[Column], printed: Iterable[str], where: str,
            parameters: Sequence[Any] = ()) -> tuple[dict[str, Rows], str]:
    """(what BigQuery holds of the events that a condition chooses, by day; their fingerprint). Raises Failed or Transient."""
    def whole(what: str) -> str:
        return f"SUM(CAST({what} AS BIGNUMERIC))"

    covered = ", ".join(f"`{name}`" for name in printed)
    cells = " + ".join(f"COUNT(`{column.name}`)" for column in columns)
    found = query(place, f"""
        SELECT d, COUNT(*) AS n, {whole('id_hash')} AS ids, {whole('content_hash')} AS contents, {cells} AS cells,
               {whole(f'FARM_FINGERPRINT(TO_JSON_STRING(STRUCT({covered})))')} AS prints
        FROM {named(dataset, EVENTS_TABLE)} WHERE {where} GROUP BY d""", parameters)
    days = {r["d"].isoformat(): Rows(int(r["n"]), int(r["ids"]), int(r["contents"]), int(r["cells"])) for r in found}
    return days, f"{sum(int(r['prints']) for r in found) % (1 << 128):032x}"


def refused(place: Place, dataset: Dataset, run: str) -> dict[str, int]:
    """The run's failures by reason. Raises Failed or Transient."""
    found = query(place, f"SELECT reason, COUNT(*) AS n FROM {named(dataset, FAILURES_TABLE)} WHERE run = @run GROUP BY reason",
                  [ScalarQueryParameter("run", "STRING", run)])
    return {str(r["reason"]): int(r["n"]) for r in sorted(found, key=lambda r: str(r["reason"]))}


def entry(dataset: Dataset, row: LedgerRow, balanced: bool, labels: dict[str, str] = {}) -> Load:  # noqa: B006  (never changed)
    """The load job that puts the row into `runs`, once."""
    written = {name: value.isoformat() if isinstance(value, date) else value for name, value in row.values(balanced).items() if value is not None}
    return Load(f"penstock-{row.run}-runs", f"{dataset.name}.runs", lines([written]), "NEWLINE_DELIMITED_JSON", labels=labels)


def ledger(place: Place, dataset: Dataset, run: str) -> tuple[LedgerRow, bool] | None:
    """The run's row and whether it balanced, or None where it has none. Raises Failed or Transient."""
    names = [c.name for c in RUNS]
    found = query(place, f"SELECT {', '.join(names)} FROM {named(dataset, 'runs')} WHERE run = @run", [ScalarQueryParameter("run", "STRING", run)])
    if not found:
        return None
    return LedgerRow.of({name: value.astimezone(timezone.utc) if isinstance(value, datetime) else value for name, value in found[0].items()})
