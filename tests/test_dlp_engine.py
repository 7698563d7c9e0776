"""The dlp engine against a DLP server that fails in every way: nothing unmasked, nothing lost."""

import json
import time
from dataclasses import replace
from typing import Any

import pytest

from schemas.errors import Misconfigured, Reason, Transient
from tests.dlp_contract import OVER_90, RULES, batch, contract, key, person, rule, secrets
from tests.dlp_faults import ANSWERS, FaultPlan
from tests.dlp_server import Service, serve
from tests.dlp_world import PATIENT, World
from tests.programs import free_port
from transforms.deidentify import deidentify
from transforms.engines.dlp import Dlp

QUICK = replace(PATIENT, attempt=0.1, total=0.3)
PASSING = ("429", "503", "500", "504", "hang")
ROWS = [person(i) for i in range(600)]


def check(world: World, rows: Any, stored: Any, refused: Any, of: Any = None) -> None:
    """Every row is stored or refused, and what is stored is what the local engine stores."""
    expected, _ = world.local(of).deidentify(batch(rows, of or contract()))
    by_origin = {row["origin"]: row for row in expected.to_pylist()}
    assert stored.num_rows + len(refused) == len(rows) and len({r.position for r in refused}) == len(refused)
    assert all(by_origin[row["origin"]] == row for row in stored.to_pylist())
    text = json.dumps(stored.to_pylist(), default=str)
    assert not [s for s in secrets(rows) if s in text]


def test_stores_what_the_local_engine_stores(world) -> None:
    rows = [*ROWS, {"text": "p1@example.com"}, {"ssn": "n/a", "phone": "5"}, {}, {"name": "", "note": "", "ip": ""}]
    stored, refused = deidentify(batch(rows, contract()), world.engine())
    expected, refusals = deidentify(batch(rows, contract()), world.local())
    assert stored.schema == expected.schema and stored.to_pylist() == expected.to_pylist()
    assert refused == refusals and [(r.position, r.field) for r in refused] == [(600, "text"), (601, "ssn")]


def test_few_calls(world) -> None:
    engine = world.engine()
    stored, refused = engine.deidentify(batch([person(i) for i in range(5000)], contract()))
    assert stored.num_rows == 5000 and not refused
    assert len(world.service.calls) <= 0.7 * 5 and engine.spent.calls == len(world.service.calls)
    assert engine.spent.bytes == sum(size for _, size, _ in world.service.calls)


class Together(FaultPlan):
    """No call goes on before so many are under way at one time."""

    def __init__(self, service: Service, most: int) -> None:
        super().__init__()
        self.service, self.most, self.until = service, most, time.monotonic() + 120

    def next(self) -> str:
        while self.service.at_once < self.most and time.monotonic() < self.until:
            time.sleep(0.01)
        return ""


def test_several_requests_at_once_but_no_more_than_allowed(world) -> None:
    engine = world.engine(in_flight=3, cache_entries=0)
    engine.deidentify(batch(ROWS[:2], contract()))
    world.service.latency, world.service.plan = 0.05, Together(world.service, 3)
    rows = [{"name": f"{i:020000}"} for i in range(200)]
    stored, refused = engine.deidentify(batch(rows, contract()))
    assert stored.num_rows == 200 and not refused and world.service.at_once == 3


@pytest.mark.parametrize("kind", PASSING)
def test_an_outage_fails_the_run(world, kind) -> None:
    world.service.plan = FaultPlan(kind, seconds=30)
    with pytest.raises(Transient) as caught:
        world.engine(backoff=QUICK).deidentify(batch(ROWS, contract()))
    assert not [s for s in secrets(ROWS) if s in str(caught.value)] and caught.value.__cause__ is None


def test_a_server_that_comes_back(world) -> None:
    server, address = serve(world.service, free_port())  # a port that nobody else is given while nobody listens
    server.stop(0).wait()
    restarted = []

    def sleep(seconds: float) -> None:
        if not restarted:
            restarted.append(serve(world.service, int(address.partition(":")[2]))[0])
        time.sleep(max(seconds, 0.01))

    engine = Dlp(world.config(endpoint=address), sleep=sleep)
    engine.setup()
    stored, refused = engine.deidentify(batch(ROWS, contract()))
    check(world, ROWS, stored, refused)
    assert not refused and engine.spent.again["UNAVAILABLE"] >= 1
    restarted[0].stop(0)


@pytest.mark.parametrize("kind", PASSING)
@pytest.mark.parametrize("plan", [{"calls": 3}, {"share": 0.1}])
def test_failures_that_pass_lose_nothing(world, kind, plan) -> None:
    engine = world.engine(backoff=replace(PATIENT, attempt=2.0) if kind == "hang" else PATIENT, cache_entries=0)
    world.service.plan = FaultPlan(kind, seconds=30, **plan)
    for part in range(0, 600, 150 if kind != "hang" else 600):
        rows = ROWS[part : part + 150]
        stored, refused = engine.deidentify(batch(rows, contract()))
        check(world, rows, stored, refused)
        assert not refused
    assert kind == "hang" or sum(engine.spent.again.values()) == world.service.plan.committed


@pytest.mark.parametrize("kind", sorted(ANSWERS))
@pytest.mark.parametrize("share", [1.0, 0.1])
def test_answers_that_prove_nothing_are_not_stored(world, kind, share) -> None:
    engine = world.engine(cache_entries=0, calls_to_find=20)
    for part in range(4 if share < 1 else 1):
        world.service.plan = FaultPlan(kind, share=share, seed=part)
        rows = ROWS[part * 40 : part * 40 + 40]
        if kind in ("unchanged_cells", "truncated"):  # one text among many that is not searched cannot be told from one without findings
            rows = [row | {"note": None} for row in rows]
        stored, refused = engine.deidentify(batch(rows, contract()))
        check(world, rows, stored, refused)
        assert {r.reason for r in refused} <= {Reason.NOT_DEIDENTIFIED}
        if kind == "reorder":
            assert not refused
        elif share == 1.0:
            assert stored.num_rows == 0


def test_one_wrong_answer_is_asked_again(world) -> None:
    world.service.plan = FaultPlan("unchanged_cells", calls=1)
    stored, refused = world.engine().deidentify(batch(ROWS, contract()))
    check(world, ROWS, stored, refused)
    assert not refused and len(world.service.calls) == 2


@pytest.mark.parametrize("name", ["name", "email", "ssn", "phone", "born", "income", "age"])
def test_each_transformation_is_seen_not_to_have_happened(world, name) -> None:
    of = contract([r for r in RULES if r["fields"][0]["name"] == name])
    world.service.plan = FaultPlan("unchanged")
    stored, refused = world.engine(of, calls_to_find=5).deidentify(batch(ROWS[1:7], of))
    assert stored.num_rows == 0 and {r.reason for r in refused} == {Reason.NOT_DEIDENTIFIED}


@pytest.mark.parametrize("at", [0, 299, 599])
def test_halving_finds_the_one_row(world, at) -> None:
    rows = [row | {"name": f"name {i}"} for i, row in enumerate(ROWS)]
    world.service.poison = f"name {at}"
    stored, refused = world.engine().deidentify(batch(rows, contract()))
    check(world, rows, stored, refused)
    assert [(r.position, r.field, r.reason) for r in refused] == [(at, "name", Reason.NOT_DEIDENTIFIED)]
    assert len(world.service.calls) <= 2 + 2 * 12  # 600 rows are about 4,000 items


def test_a_refused_value_refuses_each_row_that_holds_it(world) -> None:
    world.service.poison = "Person 3"
    stored, refused = world.engine().deidentify(batch(ROWS, contract()))
    assert [r.position for r in refused] == [i for i in range(600) if i % 40 == 3] and {r.field for r in refused} == {"name"}
    assert stored.num_rows == 585


def test_smaller_requests_on_request(world) -> None:
    rows = [{"note": " ".join(f"a{i}b{n}@example.org" for n in range(100))} for i in range(90)]  # 9,000 findings
    engine = world.engine()
    stored, refused = engine.deidentify(batch(rows, contract()))
    check(world, rows, stored, refused)
    assert not refused
    before = len(world.service.calls)
    engine.deidentify(batch(rows, contract()))
    assert len(world.service.calls) - before == 4  # it has learnt how many findings there are: at most 2,400 a call


@pytest.mark.parametrize(("kind", "error"), [("403", Misconfigured), ("501", Transient)])
def test_answers_that_end_the_run(world, kind, error) -> None:
    world.service.plan = FaultPlan(kind)
    with pytest.raises(error):
        world.engine().deidentify(batch(ROWS, contract()))
    assert len(world.service.calls) == 1


def test_what_is_not_found_refuses_all_at_one_call(world) -> None:
    world.service.plan = FaultPlan("404")
    stored, refused = world.engine().deidentify(batch(ROWS, contract()))
    assert stored.num_rows == 0 and len(refused) == 600 and len(world.service.calls) == 1


def test_a_policy_that_dlp_never_takes_is_not_searched_for_ever(world) -> None:
    world.service.plan = FaultPlan("400")
    engine = world.engine(calls_to_find=30)
    for calls in (30, 31):
        stored, refused = engine.deidentify(batch(ROWS, contract()))
        assert stored.num_rows == 0 and len(refused) == 600 and len(world.service.calls) == calls
    world.service.plan = FaultPlan()
    assert engine.deidentify(batch(ROWS, contract()))[1] == []


def test_too_large_is_refused_alone(world) -> None:
    rows = [{"note": "x" * 490_000}, {"note": "y " * 200_000}, {"note": "z"}]
    stored, refused = world.engine().deidentify(batch(rows, contract()))
    assert [(r.position, r.reason, r.field) for r in refused] == [(0, Reason.TOO_LARGE, "note")] and stored["note"].to_pylist() == ["y " * 200_000, "z"]


def test_suppressed_records_are_refused(world) -> None:
    of = contract(suppressed=[OVER_90])
    stored, refused = world.engine(of).deidentify(batch(ROWS, of))
    check(world, ROWS, stored, refused, of)
    assert [(r.position, r.field) for r in refused] == [(i, None) for i in range(600) if 20 + i % 80 > 90]


def test_known_tokens_are_not_asked_again(world) -> None:
    of = contract([r for r in RULES if r["fields"][0]["name"] in ("name", "ssn")])
    engine = world.engine(of, cache_seconds=1e6)
    first, _ = engine.deidentify(batch(ROWS, of))
    again, _ = engine.deidentify(batch(ROWS[:300], of))
    assert len(world.service.calls) == 1 and again.equals(first.slice(0, 300))
    engine.deidentify(batch([{"name": "Person 1"}, {"name": "new"}], of))
    assert len(world.service.calls) == 2 and world.service.calls[1][2] == 3  # one row: its id, a name, no ssn


@pytest.mark.parametrize(("of", "changed"), [
    (contract(), {"cache_entries": 0}), (contract([r for r in RULES if r["fields"][0]["name"] in ("note", "phone", "income")]), {}),
    (contract([rule("name", cryptoHashConfig={"cryptoKey": key("hash")})]), {"cache_seconds": 0.0})])
def test_what_is_not_kept(world, of, changed) -> None:
    engine = world.engine(of, **changed)
    for _ in range(2):
        engine.deidentify(batch(ROWS[:10], of))
    assert len(world.service.calls) == 2 and world.service.calls[0] == world.service.calls[1]


def test_few_tokens_are_kept_and_no_value(world) -> None:
    of = contract([rule("name", cryptoHashConfig={"cryptoKey": key("hash")})])
    engine = world.engine(of, cache_entries=5)
    engine.deidentify(batch(ROWS, of))
    assert len(engine._memo) == 5
    assert not [s for s in secrets(ROWS) if s in repr(engine._memo.__dict__)]


def test_refused_values_are_not_kept(world) -> None:
    of = contract([rule("name", cryptoHashConfig={"cryptoKey": key("hash")})])
    engine = world.engine(of)
    world.service.poison = "Person 3"
    assert len(engine.deidentify(batch(ROWS[:40], of))[1]) == 1
    world.service.poison = ""
    assert engine.deidentify(batch(ROWS[:40], of))[1] == []
