"""The stream job by its real flags, on the broker: against the publisher's books, and against what batch makes of the same events."""

import json
import math
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from pipelines.__main__ import main
from pipelines.sinks.lake import Lake
from tests.pubsub_clients import still
from tests.pubsub_server import Broker

TOPIC, SUBSCRIPTION = "projects/test-project/topics/events", "projects/test-project/subscriptions/stream"


@pytest.fixture
def short() -> "Broker":
    with still(TOPIC, SUBSCRIPTION) as broker:
        yield broker


def publish(broker: Broker, tmp_path: Path, contract: str, *more: str) -> dict:
    truth = tmp_path / "truth.json"
    assert main(["publish", contract, f"--topic={TOPIC}", f"--pubsub_endpoint={broker.host}", f"--truth={truth}", *more]) == 0
    return json.loads(truth.read_text())


def arguments(broker: Broker, contract: str, output: Path, keys: Path, *more: str) -> list[str]:
    return ["stream", f"--contract={contract}", f"--subscription={SUBSCRIPTION}", f"--output={output}", f"--keys={keys}",
            f"--pubsub_endpoint={broker.host}", "--json", *more]


def stream(broker: Broker, capsys, contract: str, output: Path, keys: Path, *more: str) -> dict:
    """Runs the job until nothing comes, and answers the sum of its books."""
    code = main(arguments(broker, contract, output, keys, "--until_idle=1s", "--wait=100ms", *more))
    row = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert code == (0 if row["balanced"] else 1)
    return row


def child(broker: Broker, contract: str, output: Path, keys: Path, *more: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-m", "pipelines", *arguments(broker, contract, output, keys, *more)],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(true, seconds: float = 300) -> None:
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "it did not come to that"
        time.sleep(0.05)


def ask(output: Path, sql: str) -> list[dict]:
    reader = Lake.reader(str(output))
    try:
        return reader.query(sql).to_pylist()
    finally:
        reader.close()


def stored(output: Path) -> int:
    if not (output / "catalog.sqlite").exists():
        return 0
    try:
        return ask(output, "select count(*) as n from events")[0]["n"]
    except Exception:  # the tables are being made: files without tables, tables without columns, a lock; what there is to ask comes then
        return 0


def test_books_are_the_publishers(short, capsys, tmp_path, key_folder) -> None:
    truth = publish(short, tmp_path, "census", "--rows=3000", "--repeats=0.05", "--conflicts=0.005", "--malformed=0.01", "--disorder=60s")
    row = stream(short, capsys, "census", tmp_path / "out", key_folder, "--max_messages=700")
    assert {k: row[k] for k in ("read", "stored", "repeated", "refused", "reasons")} == {k: truth[k] for k in ("read", "stored", "repeated", "refused", "reasons")}
    runs = ask(tmp_path / "out", "select * from runs order by number")
    assert [r["number"] for r in runs] == list(range(1, len(runs) + 1)) and len(runs) >= 5
    assert all(r["balanced"] and r["read"] == r["stored"] + r["repeated"] + r["refused"] and r["job"] == "stream" for r in runs)
    assert {r["d"].isoformat(): r["n"] for r in ask(tmp_path / "out", "select d, count(*) as n from events group by d")} == truth["stored_by_day"]
    assert {r["reason"]: r["n"] for r in ask(tmp_path / "out", "select reason, count(*) as n from failures group by reason")} == truth["reasons"]
    assert all(r["origin"].startswith(f"{SUBSCRIPTION}:") and r["run"].startswith(row["run"]) for r in ask(tmp_path / "out", "select origin, run from events"))
    counts = short.counts(SUBSCRIPTION)
    assert (counts.acknowledged, counts.outstanding, counts.backlog) == (truth["read"], 0, 0)


def test_what_comes_again_after_everything_was_stored_is_repeated(short, capsys, tmp_path, key_folder) -> None:
    """A stream that starts anew knows from the tables what was stored, and what was refused."""
    options = ["--rows=500", "--malformed=0.02"]
    first = publish(short, tmp_path, "gaming", *options)
    assert stream(short, capsys, "gaming", tmp_path / "out", key_folder)["stored"] == 500
    publish(short, tmp_path, "gaming", *options)
    row = stream(short, capsys, "gaming", tmp_path / "out", key_folder)
    assert (row["stored"], row["repeated"], row["refused"]) == (0, first["stored"], first["refused"])
    numbers = [r["number"] for r in ask(tmp_path / "out", "select number from runs order by number")]
    assert numbers == list(range(1, len(numbers) + 1)), "run numbers go on where the last stream stopped"


@pytest.mark.parametrize("contract, windows", [("weblog", 3_052), ("telemetry", None), ("gaming", None)])
def test_streamed_windows_are_those_of_batch(short, capsys, tmp_path, key_folder, contract, windows) -> None:
    """The stream writes the windows that its watermark closed; `windows` adds the open ones; batch makes them all at once."""
    rows = 10_000 if contract == "weblog" else 2_000
    publish(short, tmp_path, contract, f"--rows={rows}", "--disorder=60s", "--repeats=0.02")
    row = stream(short, capsys, contract, tmp_path / "out", key_folder, "--max_messages=900")
    assert (row["stored"], row["late"]) == (rows, 0)
    columns = "* exclude (run, model_name, model_version, model_digest)"
    closed = ask(tmp_path / "out", f"select {columns} from windows order by all")
    assert closed and all(w["window_end"].isoformat() <= row["watermark"] for w in closed)
    assert main(["windows", f"--contract={contract}", f"--output={tmp_path / 'out'}"]) == 0
    rebuilt = ask(tmp_path / "out", f"select {columns} from windows order by all")
    assert windows in (None, len(rebuilt))
    kept = [w for w in rebuilt if w["window_end"].isoformat() <= row["watermark"]]
    assert not different(kept, closed) and len(rebuilt) > len(kept)
    lines = tmp_path / "lines.ndjson"
    write_sample(contract, rows, lines)
    assert main(["batch", f"--contract={contract}", f"--input={lines}", f"--output={tmp_path / 'batch'}", f"--keys={key_folder}"]) == 0
    assert not different(ask(tmp_path / "batch", f"select {columns} from windows"), rebuilt)


def different(some: Iterable[dict], others: Iterable[dict]) -> list[object]:
    """Where two lists of rows, sorted by key and start, differ; sums of floats depend on their order in the last digits."""
    pairs = [sorted(rows, key=lambda r: (r["key"] or "", r["window_start"])) for rows in (some, others)]
    found = [(a["key"], a["window_start"], c, a[c], b[c]) for a, b in zip(*pairs) for c in a
             if a[c] != b[c] and not (isinstance(a[c], float) and isinstance(b[c], float) and math.isclose(a[c], b[c], rel_tol=1e-4 if c == "prediction" else 1e-9))]
    return found + ([len(rows) for rows in pairs] if len(pairs[0]) != len(pairs[1]) else [])


def write_sample(contract: str, rows: int, path: Path) -> None:
    import importlib

    import orjson
    samples = importlib.import_module(f"pipelines.tools.samples.{contract}").events(rows, 7)
    path.write_bytes(b"\n".join(orjson.dumps(s.row) for s in samples))


def test_late_rows_are_stored_and_kept_apart_and_the_windows_are_right(short, capsys, tmp_path, key_folder) -> None:
    """Rows sent when their windows are closed: in events, in failures (late), in no window."""
    publish(short, tmp_path, "telemetry", "--rows=1000")
    stream(short, capsys, "telemetry", tmp_path / "out", key_folder)
    before = ask(tmp_path / "out", "select key, window_start, readings from windows order by all")
    start = ask(tmp_path / "out", "select min(measured_at) as t from events")[0]["t"]
    row = json.loads(next(open(Path(__file__).parent.parent / "schemas" / "telemetry" / "sample.ndjson")))
    short.publish(TOPIC, [json.dumps(row | {"reading_id": f"reading-9000000-0000000{i}", "measured_at": start.isoformat()}).encode() for i in range(7)])
    books = stream(short, capsys, "telemetry", tmp_path / "out", key_folder)
    assert (books["stored"], books["late"], books["refused"], books["balanced"]) == (7, 7, 0, True)
    assert ask(tmp_path / "out", "select stage, reason, count(*) as n from failures group by all") == [{"stage": "window", "reason": "late", "n": 7}]
    after = ask(tmp_path / "out", "select key, window_start, readings from windows order by all")
    assert after[:len(before)] == before
    assert main(["windows", "--contract=telemetry", f"--output={tmp_path / 'out'}"]) == 0
    (sums,) = ask(tmp_path / "out", "select sum(readings) as windowed, (select count(*) from events) as stored, (select sum(late) from runs) as late from windows")
    assert sums["stored"] == sums["windowed"] + sums["late"], "a rebuild does not take in what was late"


def test_a_signal_ends_it_in_order(short, tmp_path, key_folder) -> None:
    publish(short, tmp_path, "gaming", "--rows=3000")
    job = child(short, "gaming", tmp_path / "out", key_folder, "--wait=100ms", "--max_messages=300")
    until(lambda: stored(tmp_path / "out") > 0)
    job.send_signal(signal.SIGTERM)
    out, err = job.communicate(timeout=300)
    assert job.returncode == 0, err
    row = json.loads(out.splitlines()[-1])
    assert row["stored"] == stored(tmp_path / "out") > 0 and "Traceback" not in err
    short.clock.time += 1  # what was on its way to it comes back with its deadline
    until(lambda: short.counts(SUBSCRIPTION).outstanding == 0)
    assert short.counts(SUBSCRIPTION).acknowledged == row["read"], "what was not stored was given back"


def test_a_second_stream_is_refused_and_told_who_holds_the_tables(short, tmp_path, key_folder, capsys) -> None:
    publish(short, tmp_path, "gaming", "--rows=100")
    job = child(short, "gaming", tmp_path / "out", key_folder)
    try:
        until(lambda: stored(tmp_path / "out") > 0)
        assert main(arguments(short, "gaming", tmp_path / "out", key_folder)) == 2
        assert "is held by the stream" in (told := capsys.readouterr().err) and f"process {job.pid}" in told and SUBSCRIPTION in told
        lines = tmp_path / "lines.ndjson"
        write_sample("gaming", 50, lines)
        assert main(["batch", "--contract=gaming", f"--input={lines}", f"--output={tmp_path / 'out'}", f"--keys={key_folder}"]) == 0
        publish(short, tmp_path, "gaming", "--rows=150")
        until(lambda: stored(tmp_path / "out") == 150)
    finally:
        job.send_signal(signal.SIGINT)
        out, err = job.communicate(timeout=300)
    assert job.returncode == 0 and "tried again" not in err, "a batch run beside it is no failure"


@pytest.mark.parametrize("more, words", [
    (["--subscription=projects/test-project/subscriptions/none"], "subscriptions/none"),
    (["--subscription=s"], "--subscription: has not the form"),
    (["--for=soon"], "--for: is not a span of time"),
    (["--contract=nothing"], "neither a shipped contract nor a folder"),
    (["--pubsub_endpoint=example.org:443"], "--pubsub_endpoint"),
])
def test_what_cannot_run_says_why_and_leaves_nothing(short, tmp_path, key_folder, capsys, more, words) -> None:
    given = [a for a in arguments(short, "gaming", tmp_path / "out", key_folder) if not any(a.startswith(m.split("=")[0] + "=") for m in more)]
    assert main([*given, *more]) == 2
    assert words in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_subscription_that_goes_away_ends_it(short, tmp_path, key_folder, capsys) -> None:
    publish(short, tmp_path, "gaming", "--rows=100")
    job = child(short, "gaming", tmp_path / "out", key_folder, "--wait=100ms")
    until(lambda: stored(tmp_path / "out") == 100)
    short.delete(SUBSCRIPTION)
    out, err = job.communicate(timeout=300)
    assert job.returncode == 1 and "penstock stream ended" in err and "Traceback" not in err
    assert json.loads(out.splitlines()[-1])["stored"] == 100


def test_it_ends_after_for(short, tmp_path, key_folder, capsys) -> None:
    publish(short, tmp_path, "gaming", "--rows=100")
    stored = 0
    for _ in range(20):  # a machine that stalls may let one pass before anything was read
        assert main(arguments(short, "gaming", tmp_path / "out", key_folder, "--for=4s", "--wait=100ms")) == 0
        stored += json.loads(capsys.readouterr().out.splitlines()[-1])["stored"]
        if stored == 100:
            break
        short.clock.time += 1
    assert stored == 100


def test_times_too_far_ahead_are_refused_and_move_nothing(short, tmp_path, key_folder, capsys) -> None:
    publish(short, tmp_path, "telemetry", "--rows=200")
    row = json.loads(next(open(Path(__file__).parent.parent / "schemas" / "telemetry" / "sample.ndjson")))
    short.publish(TOPIC, [json.dumps(row | {"reading_id": "reading-9000000-00000000", "measured_at": "2199-01-01T00:00:00Z"}).encode()])
    books = stream(short, capsys, "telemetry", tmp_path / "out", key_folder)
    assert (books["stored"], books["reasons"]) == (200, {"future": 1})
    assert books["greatest"] < "2014" and books["watermark"] < "2014"
