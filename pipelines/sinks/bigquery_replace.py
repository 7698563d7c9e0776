"""A run of the batch job on a dataset of BigQuery: replaces exactly the days that it declares.

    target = Target.of(output, contract, days, endpoint, staging)      checks, before anything runs
    with target.run(run) as tables:                                    for the time of one run, as a Lake
"""

import os
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from datetime import date, datetime
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import pyarrow as pa

from pipelines.sinks.bigquery import Dataset, dataset
from pipelines.sinks.bigquery_client import Patience, connect
from pipelines.sinks.bigquery_commit import Commit, Request, unbalanced, verdict
from pipelines.sinks.bigquery_files import StageRows, withdraw
from pipelines.sinks.bigquery_jobs import Failed, Place
from pipelines.sinks.bigquery_lease import Lease, held
from pipelines.sinks.bigquery_ledger import ledger
from pipelines.sinks.bigquery_tables import LOOK, ids, looked
from pipelines.sinks.lake import fingerprinted
from pipelines.sinks.lake_files import EVENTS_TABLE, FAILURES_TABLE
from pipelines.sources import gcs
from schemas.arrow import stored_columns
from schemas.contract import Contract
from schemas.errors import Fault, Misconfigured, Transient
from schemas.tables import FAILURES
from transforms.deduplicate import Nothing
from transforms.ledger import LedgerRow


class Target(NamedTuple):
    """A dataset whose tables have been looked at and found as the contract declares them. staging: a folder, gs:// or "" for
    a temporary one of this user; days: those to replace.
    """

    place: Place
    dataset: Dataset
    contract: Contract
    days: tuple[date, ...]
    endpoint: str
    staging: str
    storage_endpoint: str = ""

    @staticmethod
    def of(output: str, contract: Contract, days: Iterable[date], endpoint: str = "", staging: str = "", storage_endpoint: str = "",
           patience: Patience = Patience()) -> "Target":
        """Raises Misconfigured, with every fault, where a run cannot start."""
        named, wanted = dataset(output), tuple(sorted(set(days)))
        found = []
        if not wanted:
            found.append(Fault("--partition", "is missing: into BigQuery a run replaces days, for what is added cannot be compared with the rows there",
                               "declare the days: --partition=DAY,..."))
        if "://" in staging and not staging.startswith("gs://"):
            found.append(Fault("--staging", "is neither a folder nor in Cloud Storage", "give a folder or gs://BUCKET/FOLDER"))
        elif staging.startswith("gs://"):
            try:
                gcs.client(storage_endpoint)
            except Misconfigured as error:
                found += error.faults
        client = connect(named.project, endpoint)
        where, wrong = looked(client, named, contract)
        found += wrong
        if found:
            raise Misconfigured(found)
        return Target(Place(client, where, patience), named, contract, wanted, endpoint, staging, storage_endpoint)

    def run(self, run: str) -> "Replacement":
        return Replacement(self, run)

    def ids(self) -> pa.Table:
        """Columns id and id_hash of some events that stay. Raises Misconfigured."""
        return ids(self.place.client, self.dataset, self.contract, self.days)

    def done(self, run: str) -> LedgerRow | None:
        """The row of a run that is done. Raises Misconfigured where it ended out of balance."""
        try:
            found = ledger(self.place, self.dataset, run)
        except (Failed, Transient) as error:
            raise Misconfigured([Fault("--output", str(error), "check that the account may run queries and read the tables")]) from None
        if found is not None and not found[1]:
            raise Misconfigured([Fault(f"run {run}", "is in the ledger already, and its books did not balance", "start a run under an id of its own")])
        if found is not None:
            self._let_go(run)
        return found[0] if found else None

    def _let_go(self, run: str) -> None:
        """Removes the holds of a run that was killed between its last row and its end."""
        place = self.place._replace(patience=LOOK)
        try:
            left = Lease(place, self.dataset, run, [day for day, by in held(place, self.dataset, self.days).items() if by == run])
            left.take()
            left.release()
        except Misconfigured:
            pass  # somebody else's meanwhile, or out of reach: it ends by itself


class Replacement:
    """One run's hold on a dataset; what a Lake is for a folder. Take it as a context: what it staged is gone when it ends.

    Raises Misconfigured where another run is writing one of the days, or nothing can be staged.
    """

    def __init__(self, target: Target, run: str) -> None:
        self.target, self.contract, self.run = target, target.contract, run
        self.columns = stored_columns(target.contract)
        with ExitStack() as opened:
            self._folder = _folder("" if "://" in target.staging else target.staging)
            opened.callback(shutil.rmtree, self._folder, ignore_errors=True)
            self._lease = Lease(target.place._replace(patience=LOOK), target.dataset, run, target.days)
            self._lease.take()
            opened.enter_context(self._lease.renewed())
            self._open = opened.pop_all()

    @property
    def parked(self) -> str:
        """A folder for batches that wait; it goes with the run."""
        return str(Path(self._folder) / "parked")

    @property
    def _staging(self) -> str:
        return self.target.staging if "://" in self.target.staging else self._folder

    def stored(self, partitions: Iterable[date]) -> Nothing:
        """Nothing: a run that replaces is compared with its own rows alone."""
        return Nothing()

    def write_events(self) -> StageRows:
        return StageRows(self._staging, self.run, EVENTS_TABLE, self.columns, endpoint=self.target.storage_endpoint)

    def write_failures(self) -> StageRows:
        return StageRows(self._staging, self.run, FAILURES_TABLE, FAILURES, endpoint=self.target.storage_endpoint)

    def commit(self, job: str, partitions: Iterable[date], started: datetime, engine: str = "{}") -> Commit:
        """The step that commits this run; partitions are those of the target."""
        target = self.target
        return Commit(Request(target.dataset, target.endpoint, target.place.location, self._folder, self.run, job,
                              f"{self.contract.name} {self.contract.version}", started, tuple(day.isoformat() for day in target.days), self.columns,
                              fingerprinted(self.columns), engine, target.place.patience, self._lease.holder,
                              self.contract if self.contract.windows else None))

    def lost(self) -> str | None:
        """Why the commit of this run failed; None where it did not."""
        path = verdict(self._folder)
        return path.read_text() if path.exists() else None

    def state(self) -> str:
        """How this run stands after it failed: one whose books did not balance is in the ledger, and is not tried again."""
        return f"run {self.run} {'ended out of balance' if unbalanced(self._folder).exists() else f'is not done, and --run={self.run} tries it again'}"

    def ledger(self, run: str) -> LedgerRow:
        """A run's row of the ledger. Raises Failed, also where it is not there, or Transient."""
        found = ledger(self.target.place, self.target.dataset, run)
        if found is None:
            raise Failed("BigQuery says that its row was loaded into runs, and does not have it; start a run under an id of its own")
        return found[0]

    def close(self) -> None:
        """Removes what was staged, and lets the days go."""
        self._open.close()
        if "://" in self._staging:
            withdraw(self._staging, self.run, self.target.storage_endpoint)

    def __enter__(self) -> "Replacement":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _folder(staging: str) -> str:
    """A new folder of this run alone, below staging where that is given. Raises Misconfigured."""
    try:
        if staging:
            Path(staging).mkdir(parents=True, exist_ok=True)
        return tempfile.mkdtemp(prefix="penstock-", dir=staging or None)
    except OSError as error:
        raise Misconfigured([Fault("--staging", f"cannot be written ({os.strerror(error.errno or 0)})", "give a folder that you may write")]) from None
