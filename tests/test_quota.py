"""The quota's governor and the retries, under a clock of the test's own."""

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import Transient
from transforms.engines.quota import Again, Backoff, Caller, Governor, Spent


class Clock:
    """Time passes where someone sleeps, or where an attempt takes time."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@settings(max_examples=100, deadline=None)
@given(share=st.integers(1, 300), workers=st.integers(1, 5), gaps=st.lists(st.sampled_from([0.0, 0.0, 0.0, 0.1, 5.0, 70.0]), min_size=1, max_size=400))
def test_no_minute_holds_more_than_the_share(share, workers, gaps) -> None:
    clock = Clock()
    governor = Governor(share * workers, workers, clock, clock.sleep)
    times = []
    for gap in gaps:
        clock.now += gap
        governor.wait()
        times.append(clock.now)
    for first, last in zip(times, times[share:], strict=False):
        assert last - first >= 60 - 1e-6


def test_the_share_is_used() -> None:
    clock = Clock()
    governor = Governor(600, 2, clock, clock.sleep)
    waited = sum(governor.wait() for _ in range(900))
    assert clock.now - 1000 == pytest.approx(waited) and 178 < waited < 185  # 900 turns at 300 a minute


def test_threads_take_turns() -> None:
    clock, pauses = Clock(), []
    governor = Governor(60, 1, clock, pauses.append)  # one at a time, and time stands still
    threads = [threading.Thread(target=governor.wait) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(pauses) == pytest.approx([n * 60 / 59 for n in range(1, 20)])


def caller(clock: Clock, backoff: Backoff, draw: float = 1.0) -> Caller:
    return Caller(Governor(1e9, 1, clock, clock.sleep), backoff, clock, clock.sleep, lambda: draw)


class Failing:
    """Fails `times` times, each after `takes` seconds."""

    def __init__(self, clock: Clock, times: int, takes: float = 0.0) -> None:
        self.clock, self.times, self.takes, self.timeouts = clock, times, takes, list[float]()

    def __call__(self, timeout: float) -> str:
        self.timeouts.append(timeout)
        self.clock.now += min(self.takes, timeout)
        if len(self.timeouts) <= self.times:
            raise Again("UNAVAILABLE")
        return "answer"


@pytest.mark.parametrize(("times", "draw", "slept"), [
    (0, 1.0, []), (1, 1.0, [1]), (4, 1.0, [1, 1, 2, 4]), (4, 0.5, [0.5, 0.5, 0.5, 0.75]), (8, 1.0, [1, 1, 2, 4, 8, 16, 32, 60]), (3, 0.0, [0, 0, 0])])
def test_waits_grow_and_never_pass_what_has_failed(times, draw, slept) -> None:
    clock, spent = Clock(), Spent()
    assert caller(clock, Backoff(), draw).call(Failing(clock, times), spent) == "answer"
    assert clock.slept == pytest.approx(slept)
    assert spent.calls == times + 1 and spent.waited == pytest.approx(sum(slept)) and spent.again == ({"UNAVAILABLE": times} if times else {})


@pytest.mark.parametrize("outage", [0.5, 3.0, 20.0, 100.0])
def test_recovery_takes_no_longer_than_the_outage(outage) -> None:
    clock = Clock()
    until = clock.now + outage

    def attempt(timeout: float) -> float:
        if clock.now < until:
            raise Again("UNAVAILABLE")
        return clock.now

    assert caller(clock, Backoff()).call(attempt, Spent()) - until <= max(outage, 1.0)


def test_gives_up_at_the_total() -> None:
    clock = Clock()
    attempt = Failing(clock, 10**6, takes=1000)
    with pytest.raises(Transient, match="UNAVAILABLE"):
        caller(clock, Backoff(), 0.1).call(attempt, Spent())
    assert 240 < clock.now - 1000 <= 301
    assert set(attempt.timeouts[:5]) == {30.0} and min(attempt.timeouts) >= 1.0


def test_what_is_not_named_is_not_tried_again() -> None:
    clock = Clock()

    def attempt(timeout: float) -> None:
        raise KeyError

    with pytest.raises(KeyError):
        caller(clock, Backoff()).call(attempt, Spent())
    assert clock.slept == []


def test_sums() -> None:
    spent = Spent(1, 10, 0.5, {"a": 1})
    spent.add(Spent(2, 20, 0.25, {"a": 1, "b": 2}))
    assert spent == Spent(3, 30, 0.75, {"a": 2, "b": 2})
