"""Replays of what a stream refused: windows come right, late rows are stored already, and the stream goes on."""

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from pipelines.__main__ import main
from schemas.contract import SHIPPED
from tests.pubsub_clients import still
from tests.pubsub_server import Broker
from tests.replaying import ask, loosened, refuse
from transforms import keys

TOPIC, SUBSCRIPTION = "projects/test-project/topics/events", "projects/test-project/subscriptions/replayed"
WINDOWS = "select * exclude (run, contract_version, pane, is_late) from windows order by all"


@pytest.fixture
def short() -> "Broker":
    with still(TOPIC, SUBSCRIPTION) as broker:
        yield broker


def reading(number: int, at: str, **more: Any) -> bytes:
    row = json.loads((SHIPPED / "telemetry" / "sample.ndjson").read_bytes().splitlines()[0])
    return json.dumps(row | {"reading_id": f"reading-9000000-{number:08d}", "measured_at": at} | more).encode()


def test_what_a_stream_refused_comes_into_events_and_windows(short, capsys, tmp_path, key_folder) -> None:
    out, newer = tmp_path / "out", loosened(tmp_path / "next", "telemetry")
    assert main(["publish", "telemetry", f"--topic={TOPIC}", f"--pubsub_endpoint={short.host}", f"--truth={tmp_path / 't.json'}", "--rows=400"]) == 0

    def stream() -> dict[str, Any]:
        assert main(["stream", "--contract=telemetry", f"--subscription={SUBSCRIPTION}", f"--output={out}", f"--keys={key_folder}", "--json",
                     f"--pubsub_endpoint={short.host}", "--until_idle=500ms", "--wait=100ms"]) == 0
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    def replay(contract: object, *more: str) -> dict[str, Any]:
        assert main(["replay", f"--failures={out}", f"--private_key={key_folder / keys.PRIVATE}", f"--keys={key_folder}", "--json",
                     f"--contract={contract}", *more]) == 0
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    stream()
    first, last = (t.isoformat() for t in ask(out, "select min(measured_at) as a, max(measured_at) as b from events")[0].values())
    far = (ask(out, "select max(measured_at) as t from events")[0]["t"] + timedelta(days=40_000)).isoformat()
    short.publish(TOPIC, [reading(1, first, firmware=2), reading(2, last, firmware=2), reading(3, first), reading(4, last, site=7), reading(5, far)])
    books = stream()
    assert (books["stored"], books["late"], books["reasons"]) == (1, 1, {"unknown_field": 3, "future": 1})
    told = replay(newer)
    assert (told["stored"], told["reasons"], list(told["left"].values())) == (3, {"future": 1}, [1])
    replayed = ask(out, WINDOWS)
    assert main(["windows", f"--contract={newer}", f"--output={out}"]) == 0
    assert ask(out, WINDOWS) == replayed, "the days that were touched are rebuilt in the replay's transaction"
    assert ask(out, "select (select sum(readings) from windows) + 1 as windowed, (select count(*) from events) as stored") == [{"windowed": 404, "stored": 404}]
    late = replay("telemetry", "--reason=late")
    assert (late["read"], late["repeated"]) == (1, 1) and ask(out, "select count(*) as n from events") == [{"n": 404}]
    assert replay("telemetry", "--reason=late")["read"] == 0
    short.publish(TOPIC, [reading(6, last), reading(2, last)])
    books = stream()
    assert (books["stored"], books["repeated"]) == (1, 1), "a stream that goes on knows what the replay stored"


def test_the_shipped_contract_of_that_name_is_taken(tmp_path, key_folder, capsys) -> None:
    own = loosened(tmp_path / "own", "telemetry")
    head = (own / "contract.yaml").read_text().replace("name: telemetry", "name: thermometers")
    (own / "contract.yaml").write_text(head)
    for contract, name in (("telemetry", "shipped"), (str(own), "other")):
        rows = [("decode", "unknown_field", "a:1", reading(1, "2026-03-02T10:00:00Z", firmware=2))]
        refuse(tmp_path / name, "r", rows, (key_folder / keys.PUBLIC).read_bytes(), datetime.now(timezone.utc), contract=contract)
    ends = [f"--private_key={key_folder / keys.PRIVATE}", f"--keys={key_folder}"]
    assert main(["replay", f"--failures={tmp_path / 'shipped'}", *ends]) == 0
    assert "1 read = 0 stored + 0 repeated + 1 refused (unknown_field 1)" in capsys.readouterr().out
    assert main(["replay", f"--failures={tmp_path / 'other'}", *ends]) == 2
    assert "--contract: is missing" in capsys.readouterr().err
    assert main(["replay", f"--failures={tmp_path / 'other'}", "--contract=telemetry", *ends]) == 2
    assert "--contract: is telemetry, and the tables hold the events of thermometers" in capsys.readouterr().err
