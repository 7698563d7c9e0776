"""Which failures a replay takes, which it leaves alone, and what it says where it cannot run."""

import json
import shutil
from datetime import datetime, timezone
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.__main__ import main
from pipelines.canary import Trial
from pipelines.options import ReplayOptions
from pipelines.replay import run as replay_job
from pipelines.replay_choice import choice
from pipelines.sinks.lake import Lake
from pipelines.sinks.lake_replays import Pending
from schemas.contract import SHIPPED
from schemas.errors import Reason, Stage
from tests.replaying import ask, flags, refuse, replay
from transforms import keys
from transforms.batch import refused_rows
from transforms.formats.block import Message

JUNE, JULY = (datetime(2026, month, 3, 10, tzinfo=timezone.utc) for month in (6, 7))
CHOICES = [
    ({}, 7), ({"stage": "deidentify"}, 1), ({"reason": "malformed"}, 2), ({"run": "july"}, 3), ({"since": "2026-06-04"}, 4), ({"until": "2026-06-03"}, 3),
    ({"until": "2026-06-03T10:00:00Z"}, 0), ({"since": "2026-06-03T12:00:00.5+02:00"}, 4), ({"since": "2026-06-03T10:00:00Z", "until": "2026-07-04"}, 6),
    ({"run": "june", "reason": "malformed", "stage": "decode"}, 1), ({"run": "it's nobody"}, 0)]


def test_what_is_chosen(chosen) -> None:
    reader = Lake.reader(str(chosen))
    for given, rows in CHOICES:
        pending = Pending(reader, choice(ReplayOptions(failures=str(chosen), dry_run=True, **given)))
        assert sum(g.rows for g in pending.groups() if not g.left) == rows == len(list(pending.rows())), given
    reader.close()


def test_a_dry_run_tells_and_writes_nothing(chosen, capsys) -> None:
    before = {p: p.stat().st_mtime_ns for p in chosen.rglob("*") if p.suffix in (".parquet", ".sqlite", ".lock")}
    assert main(["replay", f"--failures={chosen}", "--dry_run", "--run=june"]) == 0
    table = capsys.readouterr().out
    assert main(["replay", f"--failures={chosen}", "--dry_run", "--run=june", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rows"] == 3 and [(g["stage"], g["reason"], g["rows"]) for g in told["groups"]] == [
        ("decode", "malformed", 1), ("decode", "wrong_type", 1), ("deidentify", "not_deidentified", 1)]
    assert sorted(told["left"].values()) == [1, 1, 1] and "3  would be replayed" in table and table.count("left alone") == 3
    assert before == {p: p.stat().st_mtime_ns for p in chosen.rglob("*") if p.suffix in (".parquet", ".sqlite", ".lock")}


@pytest.fixture(scope="module")
def chosen(tmp_path_factory, key_folder) -> Path:
    """Failures of two runs, and of two keys."""
    output, other = tmp_path_factory.mktemp("chosen") / "out", tmp_path_factory.mktemp("other") / "keys"
    keys.make(other)
    row = (SHIPPED / "census" / "sample.ndjson").read_bytes().splitlines()[0]
    public = (key_folder / keys.PUBLIC).read_bytes()
    refuse(output, "june", [("decode", "malformed", "a:1", b"{"), ("decode", "wrong_type", "a:2", row), ("deidentify", "not_deidentified", "a:3", row),
                            ("read", "truncated", "a:9", b"{"), ("load", "rejected_by_sink", "a:8", row), ("decode", "malformed", "a:7", None)], public, JUNE)
    refuse(output, "july", [("decode", "malformed", "b:1", b"{"), ("infer", "unscorable", "b:2", row), ("window", "late", "b:9", row),
                            ("decode", "unknown_field", "projects/p/subscriptions/s:7", row)], public, JULY)
    refuse(output, "other", [("decode", "missing_field", "c:1", row)], (other / keys.PUBLIC).read_bytes(), datetime(2026, 8, 1, tzinfo=timezone.utc))
    return output


def test_rows_that_cannot_be_tried_are_left_alone_and_told(chosen, tmp_path, key_folder, capsys) -> None:
    out = Path(shutil.copytree(chosen, tmp_path / "out"))
    ends = [f"--keys={key_folder}", f"--private_key={key_folder / keys.PRIVATE}", "--json", f"--failures={out}"]
    assert replay(capsys, ["replay", *ends, "--run=other"], 1)["not_opened"] == 1
    row = replay(capsys, ["replay", *ends])
    assert (row["not_opened"], row["read"], row["stored"], row["repeated"], row["reasons"]) == (1, 6, 1, 3, {"malformed": 2})
    assert sorted(row["left"].values()) == [1, 1, 1, 1]
    assert ask(out, "select origin from events") == [{"origin": "a:2"}], "the first copy, as the runs had it"
    assert replay(capsys, ["replay", *ends, "--reason=late"])["read"] == 0, "its event is not there"


def test_rows_that_crash_are_tried_in_a_child_first(tmp_path, key_folder, capsys) -> None:
    out, row = tmp_path / "out", json.loads((SHIPPED / "census" / "sample.ndjson").read_bytes().splitlines()[0])
    origin = "projects/p/subscriptions/s:"
    rows = [("decode", "crashes", f"{origin}{i}", json.dumps(row | {"application_id": f"CSV{i}", "age": 30 + 101 * (i == 1)}).encode()) for i in range(2)]
    refuse(out, "r", rows, (key_folder / keys.PUBLIC).read_bytes(), JUNE, attempt=3)
    told = replay(capsys, flags("census", key_folder, out, "--reason=crashes"))
    assert (told["stored"], told["reasons"]) == (1, {"out_of_range": 1})
    assert ask(out, "select origin, attempt from failures where attempt > 3") == [{"origin": f"{origin}1", "attempt": 4}]


def test_a_row_that_kills_the_child_is_refused_again(tmp_path, key_folder) -> None:
    out, row = tmp_path / "out", (SHIPPED / "census" / "sample.ndjson").read_bytes().splitlines()[0]
    rows = [("decode", reason, f"projects/p/subscriptions/s:{i}", row) for i, reason in enumerate(["wrong_type", "crashes", "crashes"])]
    refuse(out, "r", rows, (key_folder / keys.PUBLIC).read_bytes(), JUNE, attempt=3)
    options = ReplayOptions(failures=str(out), private_key=str(key_folder / keys.PRIVATE), keys=str(key_folder))

    def dies(trial: Trial, subscription: str, messages: list[Message]) -> dict[str, pa.RecordBatch]:
        assert [m.id for m in messages] == ["1", "2"]
        return {"1": refused_rows(Stage.INFER, [(Reason.CRASHES, None, f"{subscription}:1", None, messages[0].data)], 3)}

    assert replay_job(options, [], canary=dies) == 0
    failed = ask(out, "select stage, reason, origin, attempt from failures where run <> 'r'")
    assert failed == [{"stage": "infer", "reason": "crashes", "origin": "projects/p/subscriptions/s:1", "attempt": 4}]
    assert ask(out, "select origin, outcome from replays order by all") == [
        {"origin": f"projects/p/subscriptions/s:{i}", "outcome": outcome} for i, outcome in enumerate(["stored", "refused", "repeated"])]


@pytest.mark.parametrize(("arguments", "words"), [
    (["--stage=load_balancing", "--reason=bored", "--since=yesterday", "--until=2026-02-30"], ["--stage", "--reason", "--since", "--until"]),
    (["--since=2026-03-04t10:00:00"], ["--since: has not the form"]), ([], ["--private_key: is missing"]),
    (["--since=2026-03-05", "--until=2026-03-04"], ["--until: is not after"]), (["--private_key=nowhere"], ["--private_key: cannot be read", "--keys"]),
    (["--private_key=nowhere", "--contract=weblog"], ["--private_key", "--contract: is weblog"])])
def test_what_cannot_run_is_told_at_once(chosen, arguments, words, capsys, tmp_path) -> None:
    assert main(["replay", f"--failures={chosen}", f"--keys={tmp_path / 'none'}", *arguments]) == 2
    err = capsys.readouterr().err
    assert all(word in err for word in words), err
    assert not (tmp_path / "none").exists(), "a key folder is not made: it would be another one"
