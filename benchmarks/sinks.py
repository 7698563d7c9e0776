"""The sinks of a stream into BigQuery against Beam's stock path: `python -m benchmarks.sinks [--rows=30000] [--runs=3] [--emulator=ours]`.

    storage_write   AppendRows: Arrow batches on the default stream
    insert_all      InsertRows: WriteToBigQuery by insertAll, rejected rows refused, books kept
    stock           WriteToBigQuery by insertAll as Beam has it, over the same rows as dicts
    pending         what `stream` on one machine does: one pending stream, committed whole (no Beam)
    no sink         the same batches, read and dropped

All write the same stored census events, in batches of 2,000 as Gather forms them, into new tables of one service, runs interleaved,
each in a process of its own; each must store every row once. CPU is the writer's: the service's own work is in the wall time alone.
--emulator=bqemulator takes that one (`make bigquery-emulator`) in place of ours. exactly_once does not run without Dataflow.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
from google.cloud.bigquery import Table

from pipelines.sinks.append_rows import AppendRows
from pipelines.sinks.bigquery import Dataset, InsertRows, rows_of
from pipelines.sinks.bigquery_client import connect
from pipelines.sinks.bigquery_tables import wanted_tables
from pipelines.sinks.bigquery_write import Pending, commit
from pipelines.sinks.bigquery_write import connect as connect_write
from pipelines.sinks.lake import Lake
from pipelines.sinks.lake_files import conform, of_run
from pipelines.tools.generate import write
from schemas.arrow import arrow_schema, stored_columns
from schemas.contract import load
from tests.bigquery_emulator import MISSING, emulator

COLUMNS, TABLES, BATCH, RUN = stored_columns(load("census")), Dataset("project", "dataset"), 2_000, "bench"


def batches(file: str) -> Iterator[pa.RecordBatch]:
    with pa.memory_map(file) as source:
        yield from pa.ipc.open_file(source).read_all().combine_chunks().to_batches(BATCH)


def _stock(rows: Any, table: str) -> None:
    dicts = rows | beam.FlatMap(rows_of, COLUMNS, RUN).with_output_types(dict[str, Any])
    dicts | beam.io.WriteToBigQuery(TABLES.table(table), method="STREAMING_INSERTS", create_disposition="CREATE_NEVER")


SINKS: dict[str, Callable[[Any, str, str], Any]] = {
    "storage_write": lambda rows, table, host: rows | AppendRows(TABLES.path(table), COLUMNS, RUN, host),
    "insert_all": lambda rows, table, host: rows | InsertRows(TABLES.table(table), COLUMNS, RUN),
    "stock": lambda rows, table, host: _stock(rows, table),
    "pending": lambda rows, table, host: None,
    "no sink": lambda rows, table, host: rows | beam.Map(lambda batch: None),
}


def one(name: str, file: str, table: str, host: str) -> None:
    """One variant, in this process; prints its wall and CPU seconds as JSON."""
    wall, cpu = time.perf_counter(), time.process_time()
    if name == "pending":
        client = connect_write(host)
        stream = Pending(client, TABLES.path(table), arrow_schema(COLUMNS))
        for batch in batches(file):
            stream.append(conform(of_run(batch, RUN), COLUMNS))
        stream.finish()
        commit(client, TABLES.path(table), [stream.name])
    else:
        with beam.Pipeline("FnApiRunner") as pipeline:
            SINKS[name](pipeline | beam.Create([file]) | beam.FlatMap(batches).with_output_types(pa.RecordBatch), table, host)
    print(json.dumps({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}))


_CHILD = """
import sys, google.auth
from google.auth.credentials import AnonymousCredentials
google.auth.default = lambda *_, **__: (AnonymousCredentials(), "project")  # Beam's client would ask the network for credentials
from apache_beam.io.gcp.internal.clients import bigquery
bigquery.BigqueryV2.BASE_URL = sys.argv[5] + "/bigquery/v2/"
from benchmarks.sinks import one
one(*sys.argv[1:5])
"""


@contextmanager
def service(kind: str) -> Iterator[tuple[str, str] | None]:
    """(URL, HOST:PORT of the write API) of a BigQuery in a process of its own."""
    if kind == "bqemulator":
        with emulator("project") as found:
            yield found
        return
    process = subprocess.Popen([sys.executable, "-m", "tests.bigquery_server", "--port=0", "--storage_port=0", "--dataset=project.dataset"],
                               stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        told = dict(part.lstrip("-").split("=", 1) for part in process.stdout.readline().split() if part.startswith("--"))
        yield told["bigquery_endpoint"], told["bigquery_storage_endpoint"]
    finally:
        process.terminate()
        process.wait()


def stored_events(folder: Path, rows: int) -> tuple[str, int]:
    """A file of stored events as the graph hands them to a sink, and how many."""
    write("census", rows, 7, folder / "in")
    subprocess.run([sys.executable, "-m", "pipelines", "batch", "--contract=census", f"--input={folder}/in/*.ndjson", f"--output={folder}/out",
                    f"--keys={folder}/keys"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    events = Lake.reader(f"{folder}/out").query("select * exclude (run, watermark), timestamptz '2026-11-19' as watermark from events")
    schema = pa.schema([f for f in arrow_schema(COLUMNS) if f.name != "run"])
    table = pa.Table.from_arrays([events[f.name].cast(f.type) for f in schema], schema=schema)
    with pa.OSFile(f"{folder}/events.arrow", "wb") as sink, pa.ipc.new_file(sink, schema) as file:
        file.write_table(table)
    return f"{folder}/events.arrow", table.num_rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--emulator", choices=("ours", "bqemulator"), default="ours")
    given = parser.parse_args()
    costs: dict[str, list[dict[str, float]]] = {name: [] for name in SINKS}
    with tempfile.TemporaryDirectory() as folder, service(given.emulator) as found:
        if found is None:
            print(MISSING)
            return 0
        url, host = found
        client = connect("project", url)
        client.create_dataset("dataset", exists_ok=True, retry=None)
        file, rows = stored_events(Path(folder), given.rows)
        resource = wanted_tables(load("census"), "")["events"]
        for number in range(given.runs):
            for name in SINKS:
                table = f"{name.replace(' ', '_')}_{number}"
                client.create_table(Table.from_api_repr({**resource, "tableReference": {"projectId": "project", "datasetId": "dataset", "tableId": table}}), retry=None)
                child = subprocess.run([sys.executable, "-c", _CHILD, name, file, table, host, url], check=True, capture_output=True, text=True,
                                       env={**os.environ, "BIGQUERY_EMULATOR_HOST": url})
                costs[name].append(json.loads(child.stdout.splitlines()[-1]))
                (there,) = client.query(f"SELECT COUNT(*) AS n, COUNT(DISTINCT id_hash) AS ids FROM `project.dataset.{table}`", retry=None).result(retry=None)
                if name != "no sink" and tuple(there.values()) != (rows, rows):
                    print(f"{name}: {there.n:,} rows, {there.ids:,} ids in the table, {rows:,} were written")
                    return 1
    print(f"{rows:,} rows, {given.emulator}, medians of {given.runs} runs")
    for name, runs in costs.items():
        wall, cpu = (statistics.median(c[what] for c in runs) for what in ("wall", "cpu"))
        print(f"{name:14}{rows / wall:10,.0f} rows/s{1000 * cpu / rows:9.4f} CPU s per 1,000 rows")
    for what, unit in (("wall", "rows/s"), ("cpu", "CPU")):
        ratios = [b[what] / a[what] for a, b in zip(costs["storage_write"], costs["stock"], strict=True)]
        print(f"storage_write / stock, {unit}: {statistics.median(ratios):.1f} times ({min(ratios):.1f} to {max(ratios):.1f})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
