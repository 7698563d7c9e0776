"""Windows on a dataset of BigQuery: the rows that the lake has of the same input, whatever is rebuilt and wherever it dies."""

import json
import random
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.__main__ import main
from pipelines.options import ReplayOptions
from pipelines.replay import run as replay
from pipelines.sinks.bigquery import dataset
from pipelines.sinks.bigquery_client import Patience, connect
from pipelines.sinks.bigquery_jobs import Place
from pipelines.sinks.bigquery_tables import apply, compare, wanted_tables
from pipelines.sinks.bigquery_windows import alone, rewindow, rewindow_all
from pipelines.sinks.lake import Lake
from pipelines.tools.generate import write
from schemas.contract import SHIPPED, load
from schemas.errors import Transient
from tests.bigquery_server import BigQuery, Fault
from tests.gcs_server import Storage
from tests.replay_ground import Ground
from transforms import keys

OUT = "bq://project.ds"
QUICK = Patience(seconds=60.0, first=0.02, answer=30.0, job=60.0)
FEW = 3_000
COUNT = {"telemetry": "readings", "weblog": "requests"}
KINDS = ["telemetry", "weblog"]  # hours with a model, sessions


@pytest.fixture
def service(tmp_path) -> Iterator[BigQuery]:
    with BigQuery("project", gcs=str(tmp_path / "gcs")) as service:
        yield service


def make(service: BigQuery, contract: str) -> Place:
    service.store.make_dataset("ds", {})
    client = connect("project", service.url)
    for table in compare(client, dataset(OUT), wanted_tables(load(contract), ""), QUICK):
        apply(client, dataset(OUT), table, QUICK)
    return Place(client, "EU", QUICK)


def windows(service: BigQuery) -> list[dict]:
    return service.ask("SELECT * FROM ds.windows ORDER BY ALL")


@pytest.fixture(scope="module")
def lakes(tmp_path_factory, key_folder) -> dict[str, Path]:
    """By contract the files and the lake that batch makes of them."""
    made = {}
    for contract in KINDS:
        folder = tmp_path_factory.mktemp(contract)
        write(contract, FEW, 5, folder / "in")
        (folder / "in" / "truth.json").unlink()
        assert main(["batch", f"--contract={contract}", f"--input={folder}/in/*", f"--output={folder}/out", f"--keys={key_folder}"]) == 0
        made[contract] = folder
    return made


def rows_of(lake: Path, table: str = "windows") -> list[dict]:
    reader = Lake.reader(str(lake / "out"))
    found = reader.query(f"select * from {table} order by all").to_pylist()
    reader.close()
    return found


@pytest.mark.parametrize("contract", KINDS)
def test_batch_makes_the_windows_that_the_lake_has(contract, lakes, service, key_folder, capsys) -> None:
    make(service, contract)
    days = sorted({row["d"].isoformat() for row in rows_of(lakes[contract], "events")})
    batch = ["batch", f"--contract={contract}", f"--input={lakes[contract]}/in/*", f"--output={OUT}", f"--bigquery_endpoint={service.url}",
             f"--keys={key_folder}", f"--partition={','.join(days)}"]
    assert main(batch) == 0
    made = windows(service)
    assert made == rows_of(lakes[contract]) and len(made) > 20
    assert main(batch) == 0 and windows(service) == made, "a rerun gives the same rows"
    capsys.readouterr()
    assert main(["windows", f"--contract={contract}", f"--output={OUT}", f"--bigquery_endpoint={service.url}", "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert windows(service) == made and (told["written"], told["deleted"]) == (len(made), len(made))
    assert told["events"] == service.ask("SELECT count(*) AS n FROM ds.events")[0]["n"]


@pytest.mark.parametrize("contract", KINDS)
def test_windows_are_made_of_the_stored_events_of_some_days_or_all(contract, lakes, service, capsys) -> None:
    place = make(service, contract)
    lake = rows_of(lakes[contract])
    fill(service, lakes[contract])
    days = sorted({row["d"] for row in lake})
    command = ["windows", f"--contract={contract}", f"--output={OUT}", f"--bigquery_endpoint={service.url}"]
    for day in days[1::2] + days[::2]:
        assert main([*command, f"--partition={day}"]) == 0
    assert windows(service) == lake
    service.store.db.execute("UPDATE ds.windows SET window_end = window_end + INTERVAL 1 MINUTE, pane = 3 WHERE d = (SELECT min(d) FROM ds.windows)")
    service.store.db.execute("DELETE FROM ds.windows WHERE d = (SELECT max(d) FROM ds.windows)")
    service.store.db.execute(f"""INSERT INTO ds.windows SELECT * REPLACE (window_start + INTERVAL 300 DAY AS window_start, window_end + INTERVAL 300 DAY AS window_end,
                                 d + 300 AS d) FROM ds.windows WHERE d = DATE '{days[0]}'""")
    service.store.db.execute("""INSERT INTO ds.windows SELECT * REPLACE (4 AS pane, 's' AS run) FROM ds.windows WHERE rows > 2 UNION ALL
                                SELECT * REPLACE (window_start AS window_end, 5 AS pane, 's' AS run) FROM ds.windows WHERE rows = 2""".replace("rows", COUNT[contract]))
    rewindow_all(place, dataset(OUT), load(contract), [], "r", most=FEW // 4)
    assert windows(service) == lake, "also a few days at a time; a day without events is emptied"


def fill(service: BigQuery, lake: Path, where: str = "true", table: str = "events") -> None:
    reader = Lake.reader(str(lake / "out"))
    service.store.db.register("incoming", reader.query(f"select * from {table} where {where}"))
    service.store.db.execute(f"INSERT INTO ds.{table} BY NAME SELECT * FROM incoming")
    service.store.db.unregister("incoming")
    reader.close()


class Killed(BaseException):
    """Stands for kill -9."""


@pytest.mark.parametrize("seed", [1])
def test_a_rebuild_that_dies_is_put_right_by_the_next_one(seed, lakes, service) -> None:
    """Days of sessions are emptied and filled again; each rebuild may die before any of its days."""
    chance, contract = random.Random(seed), load("weblog")
    place = make(service, "weblog")
    fill(service, lakes["weblog"])
    rewindow_all(place, dataset(OUT), contract, [], "first")
    lake = rows_of(lakes["weblog"])
    days = sorted({row["d"] for row in rows_of(lakes["weblog"], "events")})

    def at(step: str) -> None:
        if chance.random() < 0.4:
            raise Killed

    for _ in range(3):
        some = chance.sample(days, chance.randint(1, min(3, len(days))))
        gone = ", ".join(f"DATE '{day}'" for day in some)
        service.store.db.execute(f"DELETE FROM ds.events WHERE d IN ({gone})")
        settle(place, contract, some, at)
        fill(service, lakes["weblog"], f"d in ({gone})")
        settle(place, contract, some, at)
        assert windows(service) == lake


def settle(place: Place, contract, days, at) -> None:
    """Rebuilds until it does not die."""
    for n in range(20):
        try:
            rewindow(place, dataset(OUT), contract, days, f"r{n}", at)
            return
        except Killed:
            continue
    rewindow(place, dataset(OUT), contract, days, "last")


@pytest.mark.parametrize("fatal", ["windows", "failures", ""])
def test_a_replay_puts_the_windows_right(fatal, lakes, service, tmp_path, key_folder, capsys) -> None:
    """Also where it died before it came to them: what finishes it makes them. "": the graph for Dataflow, which does not die."""
    older = Path(shutil.copytree(SHIPPED / "weblog", tmp_path / "older", ignore=shutil.ignore_patterns("*.gz", "*.py")))
    for name, was, narrow in (("event.avsc", '"maximum": 599', '"maximum": 299'), ("contract.yaml", 'version: "1.0"', 'version: "0.9"')):
        text = (older / name).read_text()
        assert was in text
        (older / name).write_text(text.replace(was, narrow))
    assert main(["batch", f"--contract={older}", f"--input={lakes['weblog']}/in/*", f"--output={tmp_path}/out", f"--keys={key_folder}"]) == 0
    make(service, "weblog")
    for table in ("events", "failures", "runs", "windows"):
        fill(service, tmp_path, table=table)
    before = windows(service)
    options = ReplayOptions(failures=OUT, bigquery_endpoint=service.url, keys=str(key_folder), private_key=str(key_folder / keys.PRIVATE))

    def at(step: str) -> None:
        if step.startswith(fatal):
            raise Killed

    if fatal:
        with pytest.raises(Killed):
            replay(options, [], at)
        assert replay(options, []) == 0
    else:
        with Storage(tmp_path / "gcs", "load") as storage:
            Ground({}, storage, service, None, replace(options, staging="gs://load/here", storage_endpoint=storage.url)).run()
    stored = "(SELECT * EXCLUDE (contract_version, policy_digest, run) FROM {})"
    assert service.ask(f"{stored.format('ds.events')} ORDER BY ALL") == rows_of(lakes["weblog"], stored.format("events"))
    ours, theirs = windows(service), rows_of(lakes["weblog"])
    assert [row | {"contract_version": ""} for row in ours] == [row | {"contract_version": ""} for row in theirs] and ours != before


def test_windows_wait_for_who_writes(lakes, service, capsys) -> None:
    make(service, "telemetry")
    held = {"schema": {"fields": [{"name": "run", "type": "STRING"}]}, "description": json.dumps({"run": "the stream", "holder": "h"})}
    service.store.make_table("ds", "penstock_writing_stream", held)
    command = ["windows", "--contract=telemetry", f"--output={OUT}", f"--bigquery_endpoint={service.url}"]
    for more in ([], ["--partition=2026-03-02"]):
        assert main([*command, *more]) == 2
        assert "is being written by the stream" in capsys.readouterr().err
    service.store.delete_table("ds", "penstock_writing_stream")
    assert main(command) == 0 and not [name for _, name in service.store.tables if name.startswith("penstock_")]


def test_rebuilds_come_one_after_the_other(service) -> None:
    """Days next to each other share windows: a backfill has several runs at once."""
    place = make(service, "telemetry")
    order: list[str] = []

    def second() -> None:
        with alone(place._replace(client=connect("project", service.url)), dataset(OUT), "b"):
            order.append("second")

    with alone(place, dataset(OUT), "a"):
        service.calls.clear()
        waiting = threading.Thread(target=second)
        waiting.start()
        while sum("POST" in call and call.endswith("/tables") for call in service.calls) < 2:  # it was refused at least once
            time.sleep(0.001)
        order.append("first")
    waiting.join()
    assert order == ["first", "second"]
    with alone(place, dataset(OUT), "a"), pytest.raises(Transient), alone(place._replace(patience=replace(QUICK, job=0.3)), dataset(OUT), "b"):
        pass


def test_what_breaks_is_waited_for_or_told(lakes, service, capsys) -> None:
    make(service, "telemetry")
    fill(service, lakes["telemetry"])
    command = ["windows", "--contract=telemetry", f"--output={OUT}", f"--bigquery_endpoint={service.url}"]
    service.faults = [Fault("^PUT /upload/", "lost"), Fault("^GET .*/queries/", 503), Fault(r"load ds.windows\$", "fails", "backendError")]
    assert main(command) == 0 and not any(f.times for f in service.faults)
    assert windows(service) == rows_of(lakes["telemetry"])
    service.faults = [Fault(r"load ds.windows\$", "fails", "quotaExceeded")]
    assert main(command) == 1 and "quotaExceeded" in capsys.readouterr().err
    assert main([command[0], "--contract=census", *command[2:]]) == 2
    assert "declares no windows" in capsys.readouterr().err
    service.store.delete_table("ds", "windows")
    assert main(command) == 2 and "windows: is missing" in capsys.readouterr().err
