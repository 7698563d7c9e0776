"""Whose turn it is to replay a dataset, and which run it has in hand: kept by BigQuery itself, in the description of one table.

    penstock_replaying    its description says the run in hand and who holds the turn; its rows are what that run is about to mark

BigQuery has no transaction over load jobs, so a run is a sequence of them, under ids that say the run. A replay that dies leaves
such a sequence unfinished, and one that only seems dead may go on with it. Whoever takes the turn therefore reads which run was in
hand, and asks for that run's job ids itself: BigQuery gives an id once, so that either the job of that run is found, or it can
never run. Clocks have no part in it. The description changes hands under the table's etag (If-Match).
https://cloud.google.com/bigquery/docs/reference/rest/v2/tables
"""

import json
import secrets
from typing import Any, NamedTuple

from google.api_core import exceptions
from google.cloud.bigquery import Table

from pipelines.sinks.bigquery import Dataset
from pipelines.sinks.bigquery_client import patiently, reason
from pipelines.sinks.bigquery_jobs import Failed, Place
from pipelines.sinks.lake_commit import Lost
from schemas.bigquery import field
from schemas.tables import REPLAYS

TABLE = "penstock_replaying"
TAKEN = "another replay of these tables has begun while this one was working; run it again"
_ROUNDS = 8  # of a change that somebody else's came before
_DOC = "What a replay has in hand: the description says the run."


class InHand(NamedTuple):
    """The run that a replay has in hand: its id, name and version of its contract, what de-identifies (JSON), and when it began (ISO)."""

    run: str = ""
    contract: str = ""
    engine: str = "{}"
    started: str = ""


class Turn:
    """One replay's turn: take it once, then begin each run. holder: who has it, a random name; given where a replay is several processes."""

    def __init__(self, place: Place, dataset: Dataset, holder: str = "") -> None:
        self.holder = holder or secrets.token_hex(8)
        self._place, self._dataset = place, dataset

    def take(self) -> InHand:
        """Takes the turn from whoever has it; answers the run that was in hand then. Raises Failed or Transient."""
        return self._changed(None)

    def begin(self, run: InHand) -> None:
        """Says which run is in hand from now on. Raises Lost where another replay has taken the turn, Failed or Transient."""
        self._changed(run)

    def still(self) -> None:
        """Raises Lost where another replay has taken the turn, Failed or Transient."""
        if _words(self._there())[1] != self.holder:
            raise Lost(TAKEN)

    def _changed(self, run: InHand | None) -> InHand:
        """Writes the run (None: the one that is there) and the holder; answers the run that was there."""
        for _ in range(_ROUNDS):
            table = self._there()
            there, holder = _words(table)
            if run is not None and holder != self.holder:
                raise Lost(TAKEN)
            table.description = json.dumps({"about": _DOC, "holder": self.holder, **(run or there)._asdict()})
            try:
                self._told(lambda table=table: self._place.client.update_table(table, ["description"], retry=None, timeout=self._place.patience.answer))
                return there
            except exceptions.PreconditionFailed:  # somebody else's change, or our own, whose answer was lost
                continue
        raise Failed(f"the table {TABLE} changes whenever it is looked at")

    def _there(self) -> Table:
        """The table as it is, made where it is missing."""
        name = f"{self._dataset.project}.{self._dataset.name}.{TABLE}"
        reference = {"projectId": self._dataset.project, "datasetId": self._dataset.name, "tableId": TABLE}
        made = Table.from_api_repr({"tableReference": reference, "schema": {"fields": [field(column) for column in REPLAYS]}, "description": "{}"})
        try:
            return self._told(lambda: self._place.client.get_table(name, retry=None, timeout=self._place.patience.answer))  # type: ignore[no-any-return]
        except exceptions.NotFound:
            self._told(lambda: self._place.client.create_table(made, exists_ok=True, retry=None, timeout=self._place.patience.answer))
            return self._told(lambda: self._place.client.get_table(name, retry=None, timeout=self._place.patience.answer))  # type: ignore[no-any-return]

    def _told(self, call: Any) -> Any:
        try:
            return patiently(call, self._place.patience)
        except (exceptions.PreconditionFailed, exceptions.NotFound):
            raise
        except exceptions.GoogleAPICallError as error:
            raise Failed(f"BigQuery does not let the table {TABLE} be kept: {reason(error)}") from None


def _words(table: Table) -> tuple[InHand, str]:
    """(the run in hand, who holds the turn)."""
    try:
        told = json.loads(table.description or "{}")
        return InHand(*(str(told.get(name, default)) for name, default in InHand._field_defaults.items())), str(told.get("holder", ""))
    except (ValueError, AttributeError):
        return InHand(), ""
