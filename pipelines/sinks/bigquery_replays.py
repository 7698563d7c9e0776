"""A dataset of BigQuery as what a replay reads and writes (pipelines.replay_tables.Tables)."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
from google.api_core import exceptions
from google.cloud.bigquery import Table

from pipelines.sinks.bigquery import Dataset, dataset
from pipelines.sinks.bigquery_client import Patience, connect, patiently, reason
from pipelines.sinks.bigquery_failures import Copies, Pending, contract_of
from pipelines.sinks.bigquery_files import Staged, StageRows
from pipelines.sinks.bigquery_jobs import Place
from pipelines.sinks.bigquery_parts import Part, finish
from pipelines.sinks.bigquery_tables import LOOK, compare, faults, ids, location, wanted_tables
from pipelines.sinks.bigquery_turn import InHand, Turn
from pipelines.sinks.lake_commit import utc_now
from pipelines.sinks.lake_files import EVENTS_TABLE, FAILURES_TABLE
from pipelines.sinks.replays import REPLAYS_TABLE, Choice, Failure, marks
from schemas.arrow import stored_columns
from schemas.contract import Contract
from schemas.errors import Fault, Misconfigured, Transient
from schemas.tables import FAILURES
from transforms.ledger import LedgerRow, Tally
from transforms.run_id import RunId


class DatasetTables:
    """A dataset, for one replay."""

    def __init__(self, place: Place, named: Dataset) -> None:
        self._place, self._dataset, self._turn = place, named, Turn(place, named)
        self._folder = tempfile.mkdtemp(prefix="penstock-")

    @staticmethod
    def of(output: str, endpoint: str = "", patience: Patience = Patience()) -> "DatasetTables":
        """The dataset of bq://PROJECT.DATASET. Raises Misconfigured."""
        named = dataset(output)
        client = connect(named.project, endpoint)
        try:
            return DatasetTables(Place(client, location(client, named, LOOK), patience), named)
        except Transient as error:
            raise Misconfigured([Fault(output, str(error), "try again, or check --bigquery_endpoint")]) from None

    def owner(self) -> str:
        """Raises Misconfigured where there is no table of events."""
        events = self._table(EVENTS_TABLE)
        if events is None:
            raise Misconfigured([Fault(f"bq://{self._dataset.project}.{self._dataset.name}", "holds no tables", "give the --output of a job")])
        return contract_of(events.description)

    def check(self, contract: Contract) -> None:
        found = faults(self._dataset, compare(self._place.client, self._dataset, wanted_tables(contract, ""), LOOK), loading=True)
        if found:
            raise Misconfigured(found)

    def ids(self, contract: Contract) -> pa.Table:
        return ids(self._place.client, self._dataset, contract)

    def pending(self, choice: Choice) -> Pending:
        return Pending(self._place, self._dataset, choice, self._table(REPLAYS_TABLE) is not None)

    @property
    def location(self) -> str:
        """The dataset's."""
        return self._place.location

    def take(self, contract: Contract, at: Callable[[str], None]) -> list[LedgerRow]:
        """Takes the turn. Raises Failed or Transient, as what follows."""
        row = finish(self._place, self._dataset, contract, self._turn, self._turn.take(), at)
        return [row] if row else []

    def copies(self, contract: Contract) -> Copies:
        return Copies(self._place, self._dataset, contract.time, contract.horizon)

    def sinks(self, contract: Contract, run: RunId) -> tuple[beam.PTransform, beam.PTransform]:
        return (StageRows(self._folder, run, EVENTS_TABLE, stored_columns(contract)), StageRows(self._folder, run, FAILURES_TABLE, FAILURES))

    @contextmanager
    def part(self, contract: Contract, run: str, engine: str, at: Callable[[str], None]) -> Iterator[Callable[..., LedgerRow]]:
        hand = InHand(run, f"{contract.name} {contract.version}", engine, utc_now().isoformat())
        part = Part(self._place, self._dataset, contract, self._turn, hand, self._folder, at)
        self._turn.begin(hand)

        def done(failures: list[Failure], outcomes: list[str], outcome: list[Any]) -> LedgerRow:
            return part.commit(marks(failures, run, outcomes), [o for o in outcome if isinstance(o, Staged)], [o for o in outcome if isinstance(o, Tally)])

        try:
            yield done
        finally:
            shutil.rmtree(Path(self._folder) / run, ignore_errors=True)

    def close(self) -> None:
        """Removes what was staged."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _table(self, name: str) -> Table | None:
        try:
            return patiently(lambda: self._place.client.get_table(f"{self._dataset.project}.{self._dataset.name}.{name}", retry=None,
                                                                  timeout=LOOK.answer), LOOK)
        except exceptions.NotFound:
            return None
        except Transient as error:
            raise Misconfigured([Fault("--failures", str(error), "try again, or check --bigquery_endpoint")]) from None
        except exceptions.GoogleAPICallError as error:
            raise Misconfigured([Fault("--failures", f"BigQuery does not show its tables: {reason(error)}",
                                       "check the project, and that the account may read the dataset")]) from None
