"""Keys that did not make the tables are refused by every job that would store with them, and none are made beside tables that are there."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.__main__ import main
from tests.bigquery_server import BigQuery
from tests.pubsub_server import Broker
from tests.test_stream import SUBSCRIPTION, publish, short  # noqa: F401

OTHERS = "did not make the events that the tables hold: rows would be stored a second time, under other tokens"


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("other") / "keys"
    assert main(["keys", str(folder)]) == 0
    return folder


@pytest.fixture
def here(tmp_path) -> Iterator[Path]:
    """A working directory in which no job was started yet."""
    before = os.getcwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(before)


@pytest.fixture(params=["folder", "bigquery"])
def tables(request, here, tmp_path, census, key_folder, capsys) -> Iterator[list[str]]:
    """Flags of tables that hold two days of census, made with key_folder."""
    if request.param == "folder":
        flags = [f"--output={tmp_path / 'out'}"]
        assert main(["batch", "--contract=census", f"--input={census}/*.ndjson", *flags, f"--keys={key_folder}"]) == 0
        yield flags
        return
    with BigQuery("project") as service:
        service.store.make_dataset("ds", {})
        flags = ["--output=bq://project.ds", f"--bigquery_endpoint={service.url}"]
        assert main(["tables", "--contract=census", *flags, "--apply"]) == 0
        assert main(["batch", "--contract=census", f"--input={census}/*.ndjson", *flags, f"--keys={key_folder}", "--partition=2026-03-02,2026-03-03"]) == 0
        yield flags


def count(tables: list[str], capsys: pytest.CaptureFixture[str]) -> list[dict]:
    capsys.readouterr()
    out = tables[0].removeprefix("--output=")
    assert main(["query", out, "select count(*) as n, count(distinct run) as runs from events", "--format=json", *tables[1:]]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_batch_with_other_keys(tables, other, key_folder, census, capsys) -> None:
    before = count(tables, capsys)
    job = ["batch", "--contract=census", f"--input={census}/*.ndjson", *tables]
    assert main([*job, f"--keys={other}", "--partition=2026-03-04"]) == 2
    assert f"--keys: {other} {OTHERS}" in capsys.readouterr().err and count(tables, capsys) == before
    assert main([*job, f"--keys={key_folder}", "--partition=2026-03-02"]) == 0


def test_keys_are_not_made_beside_tables(tables, census, tmp_path, capsys) -> None:
    """As where a job starts in another working directory than the last one did."""
    before = count(tables, capsys)
    assert main(["batch", "--contract=census", f"--input={census}/*.ndjson", *tables, "--partition=2026-03-04"]) == 2
    assert "--keys: there is no key folder .penstock/keys, and the tables are there already" in capsys.readouterr().err
    assert not (tmp_path / ".penstock" / "keys").exists() and count(tables, capsys) == before


def test_a_stream_with_other_keys(tables, other, short: Broker, tmp_path, capsys) -> None:  # noqa: F811
    publish(short, tmp_path, "census", "--rows=20")
    assert main(["stream", "--contract=census", f"--subscription={SUBSCRIPTION}", f"--pubsub_endpoint={short.host}", f"--keys={other}", "--until_idle=1s",
                 *tables, *(["--bigquery_storage_endpoint=localhost:9"] if "bq://" in tables[0] else [])]) == 2
    assert OTHERS in capsys.readouterr().err and short.counts(SUBSCRIPTION).acknowledged == 0


def test_a_replay_with_other_keys(tables, other, key_folder, capsys) -> None:
    before = count(tables, capsys)
    given = ["replay", tables[0].replace("--output", "--failures"), *tables[1:], f"--private_key={key_folder}/failures.private.pem"]
    assert main([*given, f"--keys={other}"]) == 2
    assert OTHERS in capsys.readouterr().err and count(tables, capsys) == before
    assert main([*given, f"--keys={key_folder}"]) == 0


def test_all_days_made_anew_with_other_keys(census, key_folder, other, tmp_path, capsys) -> None:
    """Where no row of the old keys stays there is nothing to mix."""
    job = ["batch", "--contract=census", f"--input={census}/*.ndjson", f"--output={tmp_path / 'out'}", "--partition=2026-03-02"]
    assert [main([*job, f"--keys={keys}"]) for keys in (key_folder, other)] == [0, 0]
    assert main([*job[:-1], "--partition=2026-03-03", f"--keys={key_folder}"]) == 2 and OTHERS in capsys.readouterr().err


def test_a_backfill_makes_no_keys_beside_tables(tables, tmp_path, capsys) -> None:
    given = ["backfill", "--contract=census", "--input=raw/{partition}/*", *tables, "--from=2026-03-02", "--to=2026-03-02"]
    assert main(given) == 2
    assert "there is no key folder .penstock/keys" in capsys.readouterr().err and not (tmp_path / ".penstock").exists()


@pytest.mark.parametrize(("name", "expected"), [("empty", "bq://project.empty: events: is missing; make it: penstock tables --apply"),
                                                ("nowhere", "bq://project.nowhere: is no dataset; make it")])
def test_a_backfill_into_no_tables_begins_no_day_and_makes_no_keys(name, expected, here, capsys) -> None:
    with BigQuery("project") as service:
        service.store.make_dataset("empty", {})
        given = ["backfill", "--contract=census", "--input=raw/{partition}/*", f"--output=bq://project.{name}", f"--bigquery_endpoint={service.url}"]
        assert main([*given, "--from=2026-03-02", "--to=2026-03-03"]) == 2
    assert expected in capsys.readouterr().err and list(here.iterdir()) == []
