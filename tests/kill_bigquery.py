"""The tables of streams that are killed, in a BigQuery of this machine, whose calls fail, are cut, or lose their answers now and then."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines.sinks.bigquery import Dataset
from pipelines.sinks.bigquery_client import Patience, connect
from pipelines.sinks.bigquery_lease import PREFIX, STREAM
from pipelines.sinks.bigquery_tables import apply, compare, wanted_tables
from pipelines.sinks.bigquery_views import apply_view, compare_views
from pipelines.tools.sequence import Line
from schemas.contract import Contract
from tests.bigquery_server import BigQuery
from tests.bigquery_server import Fault as RestFault
from tests.bigquery_write_server import BigQueryWrite, Fault
from tests.kill_oracle import Verdict, judged

DATASET = Dataset("project", "ds")
WRITE_FAULTS = (("^create", "UNAVAILABLE"), ("^create", "RESOURCE_EXHAUSTED"), ("^append .*events", "cut"), ("^append .*events", "lost"), ("^append", "drain"),
                ("^finalize", "lost"), ("^commit .*events", "lost"), ("^commit .*runs", "lost"), ("^commit .*failures", "UNAVAILABLE"), ("^commit .*runs", "INTERNAL"))
REST_FAULTS = (("^PATCH .*penstock_stream", "lost"), ("^PATCH .*penstock_stream", 503), ("^POST .*/jobs", 503), ("^GET .*/queries", "lost"))
_EVERY = 9  # requests, about, from one fault of a kind to the next


class Tables:
    """What tests.kills asks of tables."""

    def __init__(self, service: BigQuery, write: BigQueryWrite) -> None:
        self._service = service
        self.options = {"output": f"bq://{DATASET.project}.{DATASET.name}", "bigquery_endpoint": service.url, "bigquery_storage_endpoint": write.host}

    def judge(self, contract: Contract, published: dict[str, Line]) -> Verdict:
        return judged(self._asked, contract, published, "windows_latest")

    def _asked(self, sql: str) -> Any:
        with self._service.store.lock:
            self._service.store.db.execute(f'SET schema = "{DATASET.name}"')
            return self._service.store.db.execute(sql).to_arrow_table()

    def elsewhere(self, folder: Path) -> None:
        """The next life is on another machine, some minutes later: nothing is left of the folder, and the hold has ended."""
        shutil.rmtree(folder / ".penstock", ignore_errors=True)
        there = self._service.store.tables.get((DATASET.name, PREFIX + STREAM))
        if there is not None:
            there["expirationTime"] = "1"


@contextlib.contextmanager
def tables(contract: Contract) -> Iterator[Tables]:
    """Tables as `penstock tables --apply` makes them."""
    with BigQuery(DATASET.project) as service, BigQueryWrite(service.store) as write:
        service.store.make_dataset(DATASET.name, {})
        client = connect(DATASET.project, service.url)
        for table in compare(client, DATASET, wanted_tables(contract, ""), Patience()):
            apply(client, DATASET, table, Patience())
        for view in compare_views(client, DATASET, contract, [], Patience()):
            apply_view(client, DATASET, view, Patience())
        write.faults = [Fault(pattern, kind, after=_EVERY * n + i) for n in range(1, 60) for i, (pattern, kind) in enumerate(WRITE_FAULTS)]
        service.faults = [RestFault(pattern, kind) for pattern, kind in REST_FAULTS for _ in range(3)]
        yield Tables(service, write)
