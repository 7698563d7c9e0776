"""The replay job by its real flags: a batch run by the newer contract says what must come out; and what breaks on the way."""

import json
import multiprocessing
import shutil
from collections import Counter
from pathlib import Path

import pytest

from pipelines.__main__ import main
from pipelines.options import ReplayOptions
from pipelines.private_key import opener
from pipelines.replay import run as replay_job
from tests.kms_server import VERSION, Service, serve
from tests.replaying import ask, die, flags, replay, unsealed, worlds
from tests.runs import run as seen_run
from tests.scan import Scan
from transforms import keys
from transforms.seal import unseal

COMPARED = "* exclude (contract_version, policy_digest, run, watermark)"
STEPS = [("graph done", 2), ("marked", 2), ("committed", 1)]  # after each of them one more run is there
FEW = 12_000  # bytes of opened rows a run


@pytest.fixture(scope="module")
def made(key_folder) -> dict[str, Path]:
    return worlds(key_folder)


@pytest.fixture
def out(made, tmp_path) -> Path:
    return Path(shutil.copytree(made["old"], tmp_path / "world" / "out"))


def opened(made: dict[str, Path], out: Path, where: str = "true") -> Counter:
    return unsealed(made["keys"], ask(out, f"select * from failures where {where}"))


def as_new(made: dict[str, Path], out: Path) -> None:
    """The events are those of a batch run by the newer contract; so is what is still refused."""
    key = "select " + COMPARED + " from events order by application_id"
    ours, theirs = ask(out, key), ask(made["new"], key)
    assert ours == theirs and len(ours) > 1_500 * 0.9
    assert opened(made, out, "attempt > 1") == opened(made, made["new"])


def test_what_a_newer_contract_accepts_is_stored_and_nothing_else(made, out, capsys) -> None:
    before, there = opened(made, out), ask(out, "select count(*) as n from events")[0]["n"]
    row = replay(capsys, flags(made["next"], made["keys"], out))
    as_new(made, out)
    stored = ask(out, "select run, contract_version, watermark, origin from events where run is not null")
    assert row["read"] == sum(before.values()) and row["stored"] == len(stored) == ask(out, "select count(*) as n from events")[0]["n"] - there > 20
    assert {(r["contract_version"], r["watermark"]) for r in stored} == {("1.1", None)} and all(r["run"].startswith(row["run"]) for r in stored)
    assert {Path(r["origin"].rpartition(":")[0]).suffix for r in stored} == {".csv", ".parquet", ".avro", ".ndjson"}
    assert opened(made, out, "attempt = 1") == before, "failures only grow"
    outcomes = {r["outcome"]: r["n"] for r in ask(out, "select outcome, count(*) as n from replays group by all")}
    assert outcomes == {k: row[k] for k in ("stored", "repeated", "refused") if row[k]}
    told = ask(out, "select p.origin, e.run from replays p left join events e on e.origin = p.origin and e.run = p.replayed_by where outcome = 'stored'")
    assert len(told) == len(stored) and all(r["run"] for r in told)
    (books,) = ask(out, "select * from runs where job = 'replay'")
    assert (books["contract"], books["balanced"], books["read"], books["number"]) == ("census 1.1", True, row["read"], None)


def test_a_second_replay_does_nothing_unless_it_is_asked_to(made, out, capsys) -> None:
    first = replay(capsys, flags(made["next"], made["keys"], out))
    runs = ask(out, "select count(*) as n from runs")
    again = replay(capsys, flags(made["next"], made["keys"], out))
    assert (again["read"], again["runs"], sum(again["left"].values())) == (0, 0, first["refused"])
    assert ask(out, "select count(*) as n from runs") == runs
    third = replay(capsys, flags(made["next"], made["keys"], out, "--again"))
    assert (third["read"], third["refused"], third["stored"]) == (first["refused"], first["refused"], 0)
    assert replay(capsys, flags("census", made["keys"], out))["refused"] == first["refused"], "another version tries them again"
    attempts = ask(out, "select attempt, count(*) as n from failures group by all order by all")
    assert [r["attempt"] for r in attempts] == [1, 2, 3, 4] and {r["n"] for r in attempts[1:]} == {first["refused"]}


def test_the_same_file_refused_by_two_runs_is_stored_once(made, out, capsys) -> None:
    assert main(["batch", "--contract=census", f"--input={made['in']}/*", f"--output={out}", f"--keys={made['keys']}"]) == 0
    row = replay(capsys, flags(made["next"], made["keys"], out))
    alone = ask(made["old"], "select count(*) as n from failures")[0]["n"]
    assert (row["read"], row["runs"]) == (2 * alone, 2) and row["repeated"] >= row["stored"] > 20
    ours = ask(out, f"select {COMPARED} from events order by application_id")
    assert ours == ask(made["new"], f"select {COMPARED} from events order by application_id")
    again = opened(made, out, "attempt = 2")
    assert again == Counter({row: 2 * n for row, n in opened(made, made["new"]).items()})
    assert replay(capsys, flags(made["next"], made["keys"], out))["read"] == 0


def test_a_replay_killed_on_the_way_leaves_nothing_half_done(made, tmp_path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.replaying"])
    out = Path(shutil.copytree(made["old"], tmp_path / "out"))
    options = ReplayOptions(failures=str(out), private_key=str(made["keys"] / keys.PRIVATE), keys=str(made["keys"]), contract=str(made["next"]))
    for step, nth in STEPS:
        runs = ask(out, "select count(*) as n from runs where job = 'replay'")[0]["n"]
        child = context.Process(target=die, args=(options, step, nth, FEW))
        child.start()
        child.join(240)
        assert child.exitcode == -9
        assert ask(out, "select count(*) as n from runs where job = 'replay'")[0]["n"] == runs + 1
        marked = ask(out, "select outcome, count(*) as n from replays group by all")
        books = ask(out, "select sum(stored)::int as stored, sum(repeated)::int as repeated, sum(refused)::int as refused from runs where job = 'replay'")[0]
        assert {r["outcome"]: r["n"] for r in marked} == {name: n for name, n in books.items() if n}
    assert replay_job(options, [], most_bytes=FEW) == 0
    as_new(made, out)
    runs = ask(out, "select * from runs where job = 'replay'")
    assert len(runs) > 4 and all(r["balanced"] and r["read"] == r["stored"] + r["repeated"] + r["refused"] for r in runs)
    assert not list((out / "running").glob("*.lock"))


def test_of_two_replays_at_once_one_is_lost(made, out, capsys) -> None:
    options = ReplayOptions(failures=str(out), private_key=str(made["keys"] / keys.PRIVATE), keys=str(made["keys"]), contract=str(made["next"]))
    inner: list[int] = []

    def at(step: str) -> None:
        if step == "graph done" and not inner:
            inner.append(replay_job(options, []))

    assert replay_job(options, [], at) == 1 and inner == [0]
    assert "replayed the same rows while this run was working" in capsys.readouterr().err
    as_new(made, out)
    assert ask(out, "select count(*) - count(distinct (run, origin)) as twice from replays") == [{"twice": 0}]


def test_nothing_of_a_row_is_left_in_clear_anywhere(made, out, tmp_path) -> None:
    unwrap = opener(str(made["keys"] / keys.PRIVATE))
    secrets: dict[str, str] = {}
    for f in ask(out, "select * from failures where origin like '%.ndjson:%'"):
        try:
            row = json.loads(unseal(*(f[c] for c in ("sealed", "run", "stage", "reason", "origin")), unwrap))
        except ValueError:
            continue
        if isinstance(row, dict):
            secrets |= {f"{name} at {f['origin'].rpartition(':')[2]}": row[name] for name in ("full_name", "email", "phone", "ssn")
                        if isinstance(row.get(name), str) and len(row[name]) > 8}
    seen = seen_run(tmp_path / "world", *flags(made["next"], made["keys"], out))
    assert seen.code == 0 and len(secrets) > 30 and json.loads(seen.outputs["stdout"].splitlines()[-1])["stored"] > 20
    assert Scan(secrets).of(seen.outputs) == set()


def test_the_private_key_may_live_in_cloud_kms(made, out, capsys) -> None:
    service = Service((made["keys"] / keys.PRIVATE).read_bytes())
    server, address = serve(service)
    try:
        arguments = [a for a in flags(made["next"], made["keys"], out, f"--kms_endpoint={address}", f"--private_key={VERSION}") if not a.endswith(keys.PRIVATE)]
        told = replay(capsys, arguments)
        assert told["not_opened"] == 0 and 0 < service.calls < told["read"]
        as_new(made, out)
        service.enabled = False
        assert main([*arguments, "--again"]) == 2
        assert "enable that version" in capsys.readouterr().err
    finally:
        server.stop(0)
