"""What a replay reads and writes: one interface, over a folder of tables and over a dataset of BigQuery."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol

import apache_beam as beam
import pyarrow as pa

from pipelines.hand import Remembers
from pipelines.sinks import lake_replays
from pipelines.sinks.bigquery_replays import DatasetTables
from pipelines.sinks.lake import Lake
from pipelines.sinks.lake_commit import commit
from pipelines.sinks.lake_files import WriteEvents, WriteFailures, Written
from pipelines.sinks.lake_replays import Copies
from pipelines.sinks.lake_tables import ids, owner
from pipelines.sinks.replays import Choice, Failure, Group, marks
from schemas.arrow import stored_columns
from schemas.contract import Contract
from transforms.ledger import LedgerRow, Tally
from transforms.run_id import RunId

Commit = Callable[[list[Failure], list[str], list[Any]], LedgerRow]
"""(failures that were tried, what came of each, what the graph laid down) -> the row of the ledger."""


class Pending(Protocol):
    """The failures that are chosen and were not replayed yet."""

    def groups(self) -> list[Group]:
        """Their numbers, by stage, reason and whether they are replayed."""
        ...

    def rows(self) -> Iterator[Failure]:
        """Those that hold a row, sealed: run after run as they began, in each as the input had them."""
        ...

    def late(self) -> list[Failure]:
        """Late rows whose event is stored, where they are asked for; others are sealed as stored, and cannot come again."""
        ...


class Tables(Protocol):
    """Where the failures are, and where a replay stores. All but part, take and close change nothing."""

    def owner(self) -> str:
        """The name of the contract whose events they hold, "" where they do not say."""
        ...

    def check(self, contract: Contract) -> None:
        """Raises Misconfigured where a replay by this contract cannot store."""
        ...

    def ids(self, contract: Contract) -> pa.Table:
        """Columns id and id_hash of some events that are stored. Raises Misconfigured."""
        ...

    def pending(self, choice: Choice) -> Pending: ...

    def take(self, contract: Contract, at: Callable[[str], None]) -> list[LedgerRow]:
        """Before the failures are read: finishes what a replay that died had begun, and answers its books; at: told each step."""
        ...

    def copies(self, contract: Contract) -> Remembers: ...

    def sinks(self, contract: Contract, run: RunId) -> tuple[beam.PTransform, beam.PTransform]:
        """What writes the events and the failures of the run in hand; what they answer goes to its commit."""
        ...

    def part(self, contract: Contract, run: str, engine: str, at: Callable[[str], None]) -> AbstractContextManager[Commit]:
        """One run of the replay, committed whole or not at all; engine: what de-identifies, as JSON; at: told each step."""
        ...

    def close(self) -> None: ...


def tables_of(failures: str, bigquery_endpoint: str = "") -> Tables:
    """The tables that --failures names. Raises Misconfigured."""
    if failures.startswith("bq://"):
        return DatasetTables.of(failures, bigquery_endpoint)
    return LakeTables(failures)


class LakeTables:
    """A folder. Raises Misconfigured where it holds no tables."""

    def __init__(self, folder: str) -> None:
        self._reader, self._folder = Lake.reader(folder), str(Path(folder).resolve())

    def owner(self) -> str:
        return owner(self._reader.connection)

    def check(self, contract: Contract) -> None:
        """Its runs make what is missing."""

    def ids(self, contract: Contract) -> pa.Table:
        return ids(self._reader.connection, contract)

    def pending(self, choice: Choice) -> Pending:
        return lake_replays.Pending(self._reader, choice)

    def take(self, contract: Contract, at: Callable[[str], None]) -> list[LedgerRow]:
        """Nothing: a run is one transaction."""
        return []

    def copies(self, contract: Contract) -> Remembers:
        return Copies(self._folder, contract.time, contract.horizon)

    def sinks(self, contract: Contract, run: RunId) -> tuple[beam.PTransform, beam.PTransform]:
        return WriteEvents(self._folder, run, stored_columns(contract)), WriteFailures(self._folder, run)

    @contextmanager
    def part(self, contract: Contract, run: str, engine: str, at: Callable[[str], None]) -> Iterator[Commit]:
        with Lake.writer(self._folder, contract, run) as lake:
            lake_replays.prepare(lake.connection, lake.folder)

            def done(failures: list[Failure], outcomes: list[str], outcome: list[Any]) -> LedgerRow:
                request = lake.commit("replay", (), datetime.now(timezone.utc), engine).request
                return commit(request, [o for o in outcome if isinstance(o, Written)], [o for o in outcome if isinstance(o, Tally)], at=at,
                              replayed=marks(failures, run, outcomes))

            yield done

    def close(self) -> None:
        self._reader.close()
