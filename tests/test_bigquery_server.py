"""Our BigQuery of this machine: what it shares with bqemulator, by one suite on both; and what it refuses as the service does."""

import io
import json
from collections.abc import Callable, Iterator
from datetime import date, datetime, timezone
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.api_core import exceptions
from google.cloud.bigquery import LoadJobConfig, QueryJobConfig, ScalarQueryParameter, SchemaField, Table, TimePartitioning

from pipelines.sinks.bigquery_client import connect
from tests.bigquery_emulator import MISSING, emulator
from tests.bigquery_server import BigQuery, Fault

FIELDS = [SchemaField("id", "STRING", "REQUIRED"), SchemaField("n", "INTEGER"), SchemaField("x", "FLOAT"), SchemaField("b", "BOOLEAN"),
          SchemaField("t", "TIMESTAMP"), SchemaField("d", "DATE", "REQUIRED"), SchemaField("raw", "BYTES")]
DAY, NEXT = date(2026, 3, 4), date(2026, 3, 5)
AT = datetime(2026, 3, 4, 1, 2, 3, 456789, timezone.utc)
SCHEMA = pa.schema([pa.field("id", pa.string(), False), pa.field("n", pa.int64()), pa.field("x", pa.float64()), pa.field("b", pa.bool_()),
                    pa.field("t", pa.timestamp("us", "UTC")), pa.field("d", pa.date32(), False), pa.field("raw", pa.binary())])


def rows(*ids: int, day: date = DAY) -> list[dict[str, Any]]:
    return [{"id": f"i{i}", "n": i, "x": i / 7, "b": i % 2 == 0, "t": AT, "d": day, "raw": bytes([i])} for i in ids]


def parquet(found: list[dict[str, Any]], schema: pa.Schema = SCHEMA) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(found, schema), sink)
    return sink.getvalue()


class Service:
    """A BigQuery under test: its client, and tables of its dataset `ds` for one test each."""

    def __init__(self, url: str, gcs: Any) -> None:
        self.client, self.gcs, self.made = connect("project", url), gcs, 0
        self.client.create_dataset("ds", retry=None)

    def table(self) -> str:
        self.made += 1
        name = f"project.ds.t{self.made}"
        table = Table(name, FIELDS)
        table.time_partitioning, table.clustering_fields, table.description = TimePartitioning(field="d"), ["id"], "a table"
        self.client.create_table(table, retry=None)
        return name

    def load(self, table: str, content: bytes | list[str], form: str = "PARQUET", replace: bool = False, job_id: str | None = None, **more: Any) -> int:
        config = LoadJobConfig(source_format=form, write_disposition="WRITE_TRUNCATE" if replace else "WRITE_APPEND", create_disposition="CREATE_NEVER", **more)
        if isinstance(content, bytes):
            job = self.client.load_table_from_file(io.BytesIO(content), table, job_config=config, num_retries=0, job_id=job_id)
        else:
            job = self.client.load_table_from_uri(content, table, job_config=config, retry=None, job_id=job_id)
        return int(job.result(retry=None).output_rows)

    def ask(self, sql: str, **parameters: str) -> list[dict[str, Any]]:
        config = QueryJobConfig(query_parameters=[ScalarQueryParameter(name, "STRING", value) for name, value in parameters.items()])
        return [dict(r.items()) for r in self.client.query(sql, config, retry=None, job_retry=None).result(retry=None, job_retry=None)]


@pytest.fixture(scope="module", params=["ours", "bqemulator"])
def both(request, tmp_path_factory) -> Iterator[Service]:
    gcs = tmp_path_factory.mktemp("gcs")
    (gcs / "bucket").mkdir()
    if request.param == "ours":
        with BigQuery("project", gcs=str(gcs)) as service:
            yield Service(service.url, gcs)
        return
    with emulator("project", str(gcs)) as found:
        if found is None:
            pytest.skip(MISSING)
        yield Service(found[0], gcs)


@pytest.fixture(scope="module")
def ours(tmp_path_factory) -> Iterator[Service]:
    with BigQuery("project", gcs=str(tmp_path_factory.mktemp("gcs"))) as service:
        found = Service(service.url, None)
        found.server = service
        yield found


# ---- what both know

def test_tables_are_made_listed_and_described(both) -> None:
    name = both.table()
    found = both.client.get_table(name, retry=None)
    assert [(f.name, f.field_type, f.mode) for f in found.schema] == [(f.name, f.field_type, f.mode) for f in FIELDS]
    assert (found.time_partitioning.field, found.clustering_fields, found.description) == ("d", ["id"], "a table")
    assert name.rpartition(".")[2] in [t.table_id for t in both.client.list_tables("project.ds", retry=None)]
    found.description = "another"
    both.client.update_table(found, ["description"], retry=None)
    assert both.client.get_table(name, retry=None).description == "another"
    with pytest.raises(exceptions.Conflict):
        both.client.create_table(Table(name, FIELDS), retry=None)
    for missing in ("project.ds.nothing", "project.nothing.t"):
        with pytest.raises(exceptions.NotFound):
            both.client.get_table(missing, retry=None)
    with pytest.raises(exceptions.NotFound):
        both.client.get_dataset("project.nothing", retry=None)


def test_a_column_is_added(both) -> None:
    table = both.client.get_table(both.table(), retry=None)
    table.schema = [*table.schema, SchemaField("more", "STRING")]
    assert [f.name for f in both.client.update_table(table, ["schema"], retry=None).schema][-1] == "more"


def test_rows_are_listed_without_a_query(both) -> None:
    name = both.table()
    both.load(name, parquet(rows(1, 2)))
    table = both.client.get_table(name, retry=None)
    chosen = [f for f in table.schema if f.name in ("id", "n")]
    found = list(both.client.list_rows(table, chosen, max_results=1, retry=None))
    assert len(found) == 1 and set(found[0].keys()) == {"id", "n"} and dict(found[0].items()) in both.ask(f"select id, n from `{name}`")


def test_a_dry_run_tells_the_columns(both) -> None:
    config = QueryJobConfig(dry_run=True, use_query_cache=False, default_dataset="project.ds")
    table = both.table()
    job = both.client.query(f"select id, n + 1 as more, d from {table.rpartition('.')[2]}", config, retry=None, job_retry=None)
    assert [(f.name, f.field_type) for f in job.schema] == [("id", "STRING"), ("more", "INTEGER"), ("d", "DATE")] and job.statement_type == "SELECT"


@pytest.mark.parametrize("way", ["uploaded", "from gs://", "as lines"])
def test_rows_are_loaded_and_read_as_they_were(way, both) -> None:
    name = both.table()
    if way == "uploaded":
        both.load(name, parquet(rows(1, 2)))
    elif way == "from gs://":
        for n in (1, 2):
            (both.gcs / "bucket" / f"{n}.parquet").write_bytes(parquet(rows(n)))
        assert both.load(name, ["gs://bucket/1.parquet", "gs://bucket/2.parquet"]) == 2
    else:
        lines = [r | {"t": AT.isoformat(), "d": "2026-03-04", "raw": None} for r in rows(1, 2)]  # bqemulator does not take base64 for bytes here
        both.load(name, b"".join(json.dumps(line).encode() + b"\n" for line in lines), "NEWLINE_DELIMITED_JSON")
    assert both.ask(f"SELECT * FROM `{name}` ORDER BY id") == [r | ({"raw": None} if way == "as lines" else {}) for r in rows(1, 2)]


def test_bytes_are_base64_in_lines(ours) -> None:
    name = ours.table()
    ours.load(name, b'{"id": "a", "d": "2026-03-04", "raw": "AQ=="}', "NEWLINE_DELIMITED_JSON")
    assert ours.ask(f"SELECT raw FROM `{name}`") == [{"raw": b"\x01"}]


def test_truncating_replaces_and_appending_adds(both) -> None:
    name = both.table()
    for ids, replace, expected in (([1, 2], False, [1, 2]), ([3], False, [1, 2, 3]), ([4, 5], True, [4, 5]), ([], True, [])):
        both.load(name, parquet(rows(*ids)), replace=replace)
        assert [r["n"] for r in both.ask(f"SELECT n FROM `{name}` ORDER BY n")] == expected


def test_the_questions_that_we_ask(both) -> None:
    first, second = both.table(), both.table()
    both.load(first, parquet([*rows(1, 2, 3), *rows(4, day=NEXT)]))
    both.load(second, parquet(rows(3, 2)))
    both.load(second, parquet([*rows(4, day=NEXT), *rows(1)]))
    asked = ("SELECT d, COUNT(*) AS n, SUM(CAST(n AS BIGNUMERIC)) AS ids, COUNT(`id`) + COUNT(`x`) AS cells, SUM(CAST(FARM_FINGERPRINT("
             "TO_JSON_STRING(STRUCT(`id`, `x`, `t`))) AS BIGNUMERIC)) AS prints FROM `{}` WHERE d IN (DATE '2026-03-04', DATE '2026-03-05') GROUP BY d ORDER BY d")
    found = both.ask(asked.format(first))
    assert [(r["d"], r["n"], int(r["ids"]), r["cells"]) for r in found] == [(DAY, 3, 6, 6), (NEXT, 1, 4, 2)]
    assert found == both.ask(asked.format(second)), "whatever the order, and however they came"
    assert both.ask(f"SELECT n FROM `{first}` WHERE id = @run", run="i2") == [{"n": 2}]
    assert both.ask(f"with most as (select max(n) as n from `{first}`) select n from most") == [{"n": 4}], "as users write it"


def test_rows_are_inserted(both) -> None:
    name = both.table()
    assert both.client.insert_rows_json(name, [{"id": "a", "d": "2026-03-04", "n": 1}, {"id": "b", "d": "2026-03-04"}], row_ids=["1", "2"], retry=None) == []
    assert both.ask(f"SELECT id, n FROM `{name}` ORDER BY id") == [{"id": "a", "n": 1}, {"id": "b", "n": None}]


@pytest.mark.parametrize("what", [lambda s, t: s.load("project.ds.nothing", parquet(rows(1))), lambda s, t: s.load(t, b"no Parquet"),
                                  lambda s, t: s.load(t, ["gs://bucket/nothing.parquet"]), lambda s, t: s.ask(f"SELECT nothing FROM `{t}`")])
def test_what_both_refuse(what: Callable[[Service, str], Any], both) -> None:
    with pytest.raises(exceptions.GoogleAPICallError):
        what(both, both.table())


# ---- what the service refuses, and ours with it (bqemulator takes it, or fails at it)

def part(name: str, day: str = "20260304") -> str:
    return f"{name}${day}"


REFUSED = {
    "a row of another day": (lambda s, t: s.load(part(t), parquet([*rows(1), *rows(2, day=NEXT)]), replace=True), "different partitions"),
    "a partition that is no day": (lambda s, t: s.load(part(t, "2026"), parquet(rows(1)), replace=True), "Invalid time partition"),
    "a column that is not known": (lambda s, t: s.load(t, parquet([{**rows(1)[0], "more": 1}], SCHEMA.append(pa.field("more", pa.int64())))), "Cannot add fields"),
    "a required column that is not there": (lambda s, t: s.load(t, parquet(rows(1), pa.schema([f for f in SCHEMA if f.name != "d"]))), "d is missing"),
    "an optional column for a required one": (lambda s, t: s.load(t, parquet(rows(1), pa.schema([f.with_nullable(True) for f in SCHEMA]))), "changed mode"),
    "a column of another type": (lambda s, t: s.load(t, parquet([{"id": "a", "n": 1.5, "d": DAY}], SCHEMA.set(1, pa.field("n", pa.float64())))), "changed type"),
    "a time without a zone": (lambda s, t: s.load(t, parquet([{"id": "a", "d": DAY}], SCHEMA.set(4, pa.field("t", pa.timestamp("us"))))), "changed type"),
    "a line with an unknown field": (lambda s, t: s.load(t, b'{"id": "a", "d": "2026-03-04", "more": 1}', "NEWLINE_DELIMITED_JSON"), "no such field"),
    "a line without a required field": (lambda s, t: s.load(t, b'{"id": "a"}', "NEWLINE_DELIMITED_JSON"), "Missing required field"),
    "a line with a value of another type": (lambda s, t: s.load(t, b'{"id": "a", "d": "2026-03-04", "n": "one"}', "NEWLINE_DELIMITED_JSON"), "Cannot convert"),
    "legacy SQL": (lambda s, t: s.client.query("SELECT 1", QueryJobConfig(use_legacy_sql=True), retry=None, job_retry=None).result(retry=None), "legacy"),
    "a change by SQL": (lambda s, t: s.ask(f"DELETE FROM `{t}` WHERE true"), "SELECT alone"),
    "a query that is too dear": (lambda s, t: s.client.query(f"SELECT * FROM `{t}`", QueryJobConfig(maximum_bytes_billed=1000), retry=None,
                                                             job_retry=None).result(retry=None, job_retry=None), "bytes billed"),
    "a parameter that is not given": (lambda s, t: s.ask(f"SELECT * FROM `{t}` WHERE id = @run"), "parameters"),
    "an id that is no job's": (lambda s, t: s.load(t, parquet(rows(1)), job_id="a job"), "Invalid job ID"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_service_refuses(name, ours) -> None:
    table = ours.table()
    ours.load(table, parquet(rows(9)))
    with pytest.raises(exceptions.GoogleAPICallError, match=REFUSED[name][1]):
        REFUSED[name][0](ours, table)
    assert ours.ask(f"SELECT * FROM `{table}`") == rows(9), "what is refused changes nothing"


@pytest.mark.parametrize(("change", "told"), [
    (lambda schema: schema[:-1], "missing in new schema"), (lambda schema: [*schema, SchemaField("more", "STRING", "REQUIRED")], "required fields"),
    (lambda schema: [schema[0], SchemaField("n", "STRING"), *schema[2:]], "changed type"),
    (lambda schema: [schema[0], SchemaField("n", "INTEGER", "REQUIRED"), *schema[2:]], "changed mode")])
def test_changes_of_a_table_that_the_service_refuses(change, told, ours) -> None:
    table = ours.client.get_table(ours.table(), retry=None)
    table.schema = change(list(table.schema))
    with pytest.raises(exceptions.BadRequest, match=told):
        ours.client.update_table(table, ["schema"], retry=None)


def test_a_partition_is_replaced_and_the_others_stay(ours) -> None:
    name = ours.table()
    ours.load(name, parquet([*rows(1, 2), *rows(3, day=NEXT)]))
    assert ours.load(part(name), parquet(rows(5)), replace=True) == 1
    assert [r["n"] for r in ours.ask(f"SELECT n FROM `{name}` ORDER BY n")] == [3, 5]
    assert ours.load(part(name), parquet([]), replace=True) == 0
    assert [r["n"] for r in ours.ask(f"SELECT n FROM `{name}` ORDER BY n")] == [3]


def test_an_id_of_a_job_is_taken_once(ours) -> None:
    name = ours.table()
    ours.load(name, parquet(rows(1)), job_id="once")
    with pytest.raises(exceptions.Conflict):
        ours.load(name, parquet(rows(2)), job_id="once")
    assert ours.client.get_job("once", location="EU", retry=None).state == "DONE" and ours.ask(f"SELECT n FROM `{name}`") == [{"n": 1}]
    with pytest.raises(exceptions.NotFound):
        ours.client.get_job("never", location="EU", retry=None)


def test_inserted_rows_are_checked_and_known_again(ours) -> None:
    name, insert = ours.table(), ours.client.insert_rows_json
    good, unknown, missing, wrong = {"id": "a", "d": "2026-03-04"}, {"id": "b", "d": "2026-03-04", "more": 1}, {"id": "c"}, {"id": "d", "d": "2026-03-04", "n": "x"}
    told = insert(name, [good, unknown, missing, wrong], row_ids=list("1234"), retry=None)
    assert [(e["index"], e["errors"][0]["reason"]) for e in sorted(told, key=lambda e: e["index"])] == [(0, "stopped"), *((n, "invalid") for n in (1, 2, 3))]
    told = insert(name, [good, unknown, missing, wrong], row_ids=list("1234"), skip_invalid_rows=True, retry=None)
    assert [e["index"] for e in told] == [1, 2, 3]
    assert insert(name, [good, {"id": "e", "d": "2026-03-04"}], row_ids=["1", "5"], retry=None) == []
    assert [r["id"] for r in ours.ask(f"SELECT id FROM `{name}` ORDER BY id")] == ["a", "e"]


def test_a_large_upload_and_a_small_one(ours) -> None:
    name = ours.table()
    content = parquet(rows(1))
    config = LoadJobConfig(source_format="PARQUET", write_disposition="WRITE_APPEND", create_disposition="CREATE_NEVER")
    ours.client.load_table_from_file(io.BytesIO(content), name, size=len(content), job_config=config).result(retry=None)  # multipart
    ours.client.load_table_from_file(io.BytesIO(content), name, job_config=config).result(retry=None)  # resumable
    assert ours.ask(f"SELECT COUNT(*) AS n FROM `{name}`") == [{"n": 2}]


@pytest.mark.parametrize(("fault", "kind", "done"), [
    (Fault("^PUT /upload", 503), exceptions.ServiceUnavailable, 0), (Fault("^PUT /upload", 429, "rateLimitExceeded"), exceptions.TooManyRequests, 0),
    (Fault("^PUT /upload", 403, "quotaExceeded"), exceptions.Forbidden, 0), (Fault("load ds", "fails", "internalError"), exceptions.InternalServerError, 0),
    (Fault("^PUT /upload", "lost"), ConnectionError, 1)])
def test_faults_on_request(fault, kind, done, ours) -> None:
    name = ours.table()
    ours.server.faults = [fault]
    with pytest.raises((kind, OSError) if kind is ConnectionError else kind):
        ours.load(name, parquet(rows(1)))
    assert fault.times == 0 and ours.ask(f"SELECT COUNT(*) AS n FROM `{name}`") == [{"n": done}]
