"""The plan's model: cases reckoned by hand, and what must hold at every load."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.plan.model import (
    HOURS,
    Cost,
    DlpShare,
    Load,
    Machine,
    Measured,
    Need,
    Price,
    Quota,
    batches,
    costs,
    dlp_requests,
    needed,
    needs,
    raised_first,
    shards,
    shuffled,
    workers,
    written,
)

MEASURED = Measured(cpu_seconds=100e-6, busy=0.5, passes=4, overhead_bytes=20, shards=64, batch=2_000, refused=0.01, sealed_bytes=600, retained_days=7, key_versions=8)
MACHINE = Machine(2, 8.0, 30)
SHARE = DlpShare(requests=0.0005, inspected_bytes=60, transformed_bytes=140)
PLAIN = Load(rate=10_000, event_bytes=500, stored_bytes=600, dlp=None, wait=1.0, write="storage_write")


def with_(load: Load, **changes) -> Load:
    return Load(**{**load.__dict__, **changes})


@pytest.mark.parametrize("rate, machine, expected", [
    (10_000, Machine(2, 8, 30), 1),      # 10,000 x 100 us = 1 vCPU of work; at 50 % that is 2 vCPUs
    (10_001, Machine(2, 8, 30), 2),      # a little more than 2 vCPUs
    (1_000_000, Machine(4, 16, 30), 50),  # 100 vCPUs of work, 200 to plan for
    (1, Machine(2, 8, 30), 1),           # never none
])
def test_workers(rate, machine, expected) -> None:
    assert workers(with_(PLAIN, rate=rate), MEASURED, machine) == expected


def test_workers_that_are_there_anyway_are_paid() -> None:
    idle = with_(PLAIN, rate=1, least=3)
    assert workers(idle, MEASURED, MACHINE) == 3 and needed(idle, MEASURED, MACHINE)["compute_cpus"] == 6


def test_shards_are_the_threads_that_the_work_takes() -> None:
    assert shards(PLAIN, MEASURED) == 2
    assert shards(with_(PLAIN, rate=1_000_000), MEASURED) == 200


@pytest.mark.parametrize("rate, wait, expected", [
    (64, 1.0, 32.0),           # a shard's first message, a second's wait, a second until the next: every two seconds
    (6_400, 1.0, 64 / 1.01),   # 100 messages a second and shard: hardly any time between batches
    (1_000_000, 1.0, 500.0),   # full batches of 2,000
    (6_400, 10.0, 64 / 10.01),
    (0, 1.0, 0.0),
])
def test_batches(rate, wait, expected) -> None:
    assert batches(with_(PLAIN, rate=rate, wait=wait), MEASURED) == pytest.approx(expected)


def test_dlp_is_asked_once_a_batch_at_least() -> None:
    few = with_(PLAIN, rate=64, dlp=SHARE)
    assert dlp_requests(few, MEASURED) == pytest.approx(32.0)
    many = with_(PLAIN, rate=1_000_000, dlp=DlpShare(0.002, 60, 140))
    assert dlp_requests(many, MEASURED) == pytest.approx(2_000.0)  # four requests for each of 500 full batches
    assert dlp_requests(with_(many, dlp=DlpShare(0, 0, 0)), MEASURED) == 0  # a policy that transforms nothing
    assert dlp_requests(PLAIN, MEASURED) == 0


def test_bytes() -> None:
    assert shuffled(PLAIN, MEASURED) == 10_000 * 520 * 4
    assert written(PLAIN, MEASURED) == pytest.approx(10_000 * (600 * 0.99 + 0.01 * 1_100))


def test_what_is_needed_of_each_quota() -> None:
    found = needed(with_(PLAIN, dlp=SHARE), MEASURED, MACHINE)
    assert found == {
        "workers": 1, "max_workers": 1, "shards": 2, "compute_cpus": 2, "compute_disk_gb": 30,
        "pubsub_publish_bytes_per_minute": 300e6, "pubsub_subscribe_bytes_per_minute": 312e6,
        "bigquery_write_bytes_per_second": pytest.approx(6_050_000), "bigquery_write_connections": 6,
        "dlp_requests_per_minute": pytest.approx(64 / 1.0064 * 60), "kms_requests_per_minute": pytest.approx(2 + 64 / 1.0064 * 60)}
    inserted = needed(with_(PLAIN, write="insert_all"), MEASURED, MACHINE)
    assert "bigquery_insert_bytes_per_second" in inserted and not {"bigquery_write_bytes_per_second", "bigquery_write_connections"} & inserted.keys()
    assert "bigquery_write_streams_per_4h" in needed(with_(PLAIN, write="exactly_once"), MEASURED, MACHINE)


def quota(name: str, given: float | None) -> Quota:
    return Quota(name, given, "things", "here", "ask")


def test_the_fullest_quota_comes_first_and_unknown_ones_last() -> None:
    quotas = {name: quota(name, 10.0) for name in needed(PLAIN, MEASURED, MACHINE)} | {"compute_cpus": quota("compute_cpus", None), "shards": quota("shards", 1.0)}
    found = needs(PLAIN, MEASURED, MACHINE, quotas)
    assert [n.share is None for n in found] == [False] * (len(found) - 1) + [True]
    assert [n.share for n in found[:-1]] == sorted((n.share for n in found[:-1]), reverse=True)
    names = [n.quota.name for n in raised_first(found)]
    assert "shards" in names and "compute_cpus" not in names and "workers" not in names


def test_nothing_given_is_infinitely_full() -> None:
    assert Need(quota("x", 0.0), 1).share == math.inf


@pytest.mark.parametrize("price, quantity, dollars", [
    (Price("a", "A", 2.0, "GiB"), 3.0, 6.0),
    (Price("a", "A", 2.0, "GiB", free=1.0), 3.0, 4.0),
    (Price("a", "A", 2.0, "GiB", free=5.0), 3.0, 0.0),
    (Price("a", "A", 3.0, "GiB", free=1.0, over=1_024, price_over=2.0), 1_124.0, 1_023 * 3.0 + 100 * 2.0),
])
def test_dollars(price, quantity, dollars) -> None:
    assert Cost(price, quantity).dollars == pytest.approx(dollars)


def test_the_bill() -> None:
    names = ("worker_vcpu", "worker_memory", "worker_disk", "streaming_engine", "pubsub_throughput", "pubsub_retention", "bigquery_storage", "kms_versions",
             "kms_operations", "bigquery_write", "bigquery_insert", "dlp_inspect", "dlp_transform")
    prices = {name: Price(name, name, 1.0, "unit") for name in names}
    bill = {c.price.name: c.quantity for c in costs(with_(PLAIN, dlp=SHARE), MEASURED, MACHINE, prices)}
    gib = HOURS * 3600 / 2**30
    assert bill["worker_vcpu"] == 2 * HOURS and bill["worker_memory"] == 8 * HOURS and bill["worker_disk"] == 30 * HOURS
    assert bill["streaming_engine"] == pytest.approx(20_800_000 * gib)
    assert bill["pubsub_throughput"] == pytest.approx((5_000_000 + 5_200_000) * gib)
    assert bill["pubsub_retention"] == pytest.approx(5_000_000 * 7 * 86_400 / 2**30)
    assert bill["bigquery_write"] == bill["bigquery_storage"] == pytest.approx(6_050_000 * gib)
    assert bill["dlp_inspect"] == pytest.approx(600_000 * gib) and bill["dlp_transform"] == pytest.approx(1_400_000 * gib)
    small = {c.price.name: c.quantity for c in costs(with_(PLAIN, write="insert_all", stored_bytes=100), MEASURED, MACHINE, prices)}
    assert small["bigquery_insert"] == pytest.approx(10_000_000 * gib)  # a row counts as 1 KB
    assert "bigquery_write" not in small and "dlp_inspect" not in small


loads = st.builds(Load, rate=st.integers(1, 2_000_000), event_bytes=st.floats(1, 1e6), stored_bytes=st.floats(1, 1e6),
                  dlp=st.none() | st.builds(DlpShare, st.floats(0, 0.01), st.floats(0, 1e4), st.floats(0, 1e4)), wait=st.floats(0.01, 60),
                  write=st.sampled_from(["storage_write", "exactly_once", "insert_all"]), least=st.integers(1, 50))
constants = st.builds(Measured, cpu_seconds=st.floats(1e-6, 1e-2), busy=st.floats(0.1, 1), passes=st.floats(1, 6), overhead_bytes=st.floats(0, 500),
                      shards=st.integers(1, 1_024), batch=st.integers(1, 10_000), refused=st.floats(0, 1), sealed_bytes=st.floats(0, 1e4),
                      retained_days=st.floats(0, 31), key_versions=st.integers(0, 50))
machines = st.builds(Machine, st.integers(1, 96), st.floats(1, 768), st.floats(0, 500))
PRICES = {name: Price(name, name, 1.0, "unit", free=1.0, over=100.0, price_over=0.5) for name in (
    "worker_vcpu", "worker_memory", "worker_disk", "streaming_engine", "pubsub_throughput", "pubsub_retention", "bigquery_storage", "kms_versions",
    "kms_operations", "bigquery_write", "bigquery_insert", "dlp_inspect", "dlp_transform")}


@settings(max_examples=200, deadline=None)
@given(loads, constants, machines, st.floats(1.0, 100.0))
def test_more_of_a_rate_never_needs_less(load, measured, machine, factor) -> None:
    more = with_(load, rate=load.rate * factor)
    before, after = needed(load, measured, machine), needed(more, measured, machine)
    assert before.keys() == after.keys()
    assert all(after[name] >= before[name] * (1 - 1e-9) for name in before)
    bill, larger = costs(load, measured, machine, PRICES), costs(more, measured, machine, PRICES)
    assert all(b.dollars >= a.dollars * (1 - 1e-9) for a, b in zip(bill, larger))


@settings(max_examples=100, deadline=None)
@given(loads, constants, machines, st.floats(1.0, 10.0))
def test_larger_events_and_slower_ones_never_need_less(load, measured, machine, factor) -> None:
    before = needed(load, measured, machine)
    larger = needed(with_(load, event_bytes=load.event_bytes * factor, stored_bytes=load.stored_bytes * factor), measured, machine)
    slower = needed(load, Measured(**{**measured.__dict__, "cpu_seconds": measured.cpu_seconds * factor}), machine)
    assert all(larger[name] >= before[name] * (1 - 1e-9) and slower[name] >= before[name] * (1 - 1e-9) for name in before)


@settings(max_examples=100, deadline=None)
@given(loads, constants, machines)
def test_the_workers_planned_carry_the_load(load, measured, machine) -> None:
    count = workers(load, measured, machine)
    assert count * machine.vcpus * measured.busy >= load.rate * measured.cpu_seconds * (1 - 1e-9)
    assert count == load.least or (count - 1) * machine.vcpus * measured.busy < load.rate * measured.cpu_seconds


@settings(max_examples=100, deadline=None)
@given(loads, constants, st.floats(1.0, 100.0))
def test_a_longer_wait_never_asks_more_often(load, measured, factor) -> None:
    longer = with_(load, wait=load.wait * factor)
    assert batches(longer, measured) <= batches(load, measured) * (1 + 1e-9)
    assert dlp_requests(longer, measured) <= dlp_requests(load, measured) * (1 + 1e-9)
