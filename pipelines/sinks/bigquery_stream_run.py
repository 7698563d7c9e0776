"""A run of the stream into pending streams of BigQuery: written, finalized, counted, and then committed by whoever comes to it."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from types import TracebackType
from typing import Any

import duckdb
import pyarrow as pa

from pipelines.sinks import bigquery_write
from pipelines.sinks.bigquery import Dataset
from pipelines.sinks.bigquery_client import Patience
from pipelines.sinks.bigquery_jobs import Failed
from pipelines.sinks.bigquery_stream_intent import Intent
from pipelines.sinks.bigquery_stream_rows import Laid
from pipelines.sinks.bigquery_windows import WINDOWS_TABLE
from pipelines.sinks.lake import fingerprinted
from pipelines.sinks.lake_files import EVENTS_TABLE, FAILURES_TABLE
from pipelines.sinks.streamed import Finished, moment
from schemas.arrow import arrow_schema, stored_columns, window_columns
from schemas.contract import Contract
from schemas.errors import Reason, Stage
from schemas.tables import FAILURES, RUNS, Column
from transforms.batch import DAY, ORIGIN, keep, refused_rows
from transforms.fates import READ, REPEATED
from transforms.ledger import LedgerRow, sums
from transforms.seal import seal

LEDGER_TABLE = "runs"


class Writer:
    """Of one dataset. client: of the Storage Write API; public_pem: seals rows that BigQuery rejects."""

    def __init__(self, client: Any, dataset: Dataset, contract: Contract, public_pem: bytes, patience: Patience) -> None:
        self.contract, self.columns = contract, stored_columns(contract)
        self._client, self._dataset, self._pem, self._patience = client, dataset, public_pem, patience
        self._pool, self._digest = ThreadPoolExecutor(4, "write"), duckdb.connect()
        self._digest.execute("SET threads = 1")

    def prepared(self, run: Finished, windows: pa.RecordBatch | None, clock: Callable[[], datetime]) -> Intent:
        """The run in pending streams, each finalized and counted; a table without rows has none. Rows of events that BigQuery rejects
        are sealed among the failures. Raises Failed or Transient, and nothing is visible."""
        laid = defaultdict[str, list[pa.RecordBatch]](list)
        for each in run.written:
            assert isinstance(each, Laid)
            laid[each.table].append(each.rows)
        events, failures = _one(laid[EVENTS_TABLE], self.columns), _one(laid[FAILURES_TABLE], FAILURES)
        row = self._row(run, events, failures, clock())
        wanted = {EVENTS_TABLE: (self.columns, events), FAILURES_TABLE: (FAILURES, failures)}
        if windows is not None:
            wanted[WINDOWS_TABLE] = window_columns(self.contract), windows
        wanted[LEDGER_TABLE] = RUNS, _entry(row)
        wanted = {table: given for table, given in wanted.items() if given[1].num_rows}
        made = dict(zip(wanted, self._pool.map(lambda table: self._pending(table, *wanted[table]), wanted)))
        streams = [(table, stream) for table, (stream, _) in made.items()]
        rejected = made[EVENTS_TABLE][1] if events.num_rows else []
        if rejected:
            refused = _refused(events.take(pa.array(rejected)))
            again = [i for i, there in enumerate(run.failed.among(refused[ORIGIN].to_pylist())) if there]  # a run that died entered them
            sealed = seal(keep(refused, again), run.id, self._pem)
            row = self._row(run, keep(events, rejected), _one([failures, sealed], FAILURES), clock(), len(again))
            late = [(FAILURES_TABLE, self._pending(FAILURES_TABLE, FAILURES, sealed)[0])] if sealed.num_rows else []
            streams = [*streams[:-1], *late, self.entered(row)]
        return Intent(row, tuple(streams))

    def entered(self, row: LedgerRow) -> tuple[str, str]:
        """(runs, a finalized stream with the row)."""
        return LEDGER_TABLE, self._pending(LEDGER_TABLE, RUNS, _entry(row))[0]

    def finish(self, intent: Intent, at: Callable[[str], None]) -> None:
        """Commits what is not yet committed, one table after the other. Raises Failed or Transient."""
        for table, streams in intent.tables():
            bigquery_write.commit(self._client, self._dataset.path(table), streams, self._patience)
            at(f"committed {table}")

    def finish_rows(self, intent: Intent, at: Callable[[str], None]) -> set[str]:
        """The same for all but the row of `runs`, as far as it goes: answers the tables whose streams BigQuery commits no more."""
        gone = set()
        for table, _ in intent.tables():
            if table == LEDGER_TABLE:
                continue
            try:
                self.finish(intent.of(table), at)
            except Failed:
                gone.add(table)
        return gone

    def _pending(self, table: str, columns: tuple[Column, ...], rows: pa.RecordBatch) -> tuple[str, list[int]]:
        """(a finalized stream with the rows, the indexes of those that the table rejects: events alone may be)."""
        stream = bigquery_write.Pending(self._client, self._dataset.path(table), arrow_schema(columns), self._patience)
        rejected: list[int] = []
        try:
            stream.append(rows)
        except bigquery_write.RowsRejected as error:
            if table != EVENTS_TABLE:
                raise Failed(f"the table {table} rejects {len(error.rows):,} rows") from None
            rejected = error.rows
        there = stream.finish()
        if there != rows.num_rows - len(rejected):
            raise Failed(f"{table}: {rows.num_rows - len(rejected):,} rows were made, BigQuery counts {there:,}")
        return stream.name, rejected

    def _row(self, run: Finished, events: pa.RecordBatch, failures: pa.RecordBatch, ended: datetime, again: int = 0) -> LedgerRow:
        """again: rows that BigQuery rejected, and that are in `failures` already."""
        found = Counter(zip(failures["stage"].to_pylist(), failures["reason"].to_pylist()))
        reasons = Counter[str]()
        for (stage, reason), rows in sorted(found.items()):
            reasons[reason] += rows if stage != str(Stage.WINDOW) else 0
        fates, _ = sums(run.tallies)
        refused = reasons.total()
        return LedgerRow(run.id, "stream", f"{self.contract.name} {self.contract.version}", fates[READ], events.num_rows, fates[REPEATED] + again, refused,
                         failures.num_rows - refused, {reason: rows for reason, rows in reasons.items() if rows}, self._fingerprint(events), run.started,
                         ended, (), run.engine, run.number, moment(run.watermark), moment(run.greatest))

    def _fingerprint(self, events: pa.RecordBatch) -> str:
        """As lake_commit.fingerprint has it of the same rows."""
        listed = ", ".join(f'"{column}"' for column in fingerprinted(self.columns))
        (total,) = self._digest.from_arrow(pa.table(events)).query("rows", f"SELECT sum(hash({listed})::HUGEINT) FROM rows").fetchone()
        return f"{total or 0:032x}"

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pool.shutdown()
        self._digest.close()


def _one(batches: list[pa.RecordBatch], columns: tuple[Column, ...]) -> pa.RecordBatch:
    """All rows in one batch."""
    found = pa.Table.from_batches(batches, arrow_schema(columns)).combine_chunks().to_batches()
    return found[0] if found else pa.RecordBatch.from_pylist([], arrow_schema(columns))


def _entry(row: LedgerRow) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([row.values()], arrow_schema(RUNS))


def _refused(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Rows as they would be stored, as REFUSED ones. BigQuery's word for it is not looked at: it may quote the row."""
    return refused_rows(Stage.LOAD, [(Reason.REJECTED_BY_SINK, None, row[ORIGIN], row[DAY], json.dumps(row, default=str).encode())
                                     for row in rows.to_pylist()])
