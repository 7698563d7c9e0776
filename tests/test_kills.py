"""The stream job is killed again and again while messages come: 50 times here, 200 times by `make kill`."""

from collections import Counter

import pytest

from tests import kill_child
from tests.kills import Drive, drive, driven, drives


@pytest.mark.timeout(1800)
def test_killed_at_any_step_it_loses_nothing_stores_nothing_twice_and_every_window_is_right() -> None:
    reports = driven(drives(50, seed=1))
    assert {report.drive.contract: report.faults for report in reports} == {report.drive.contract: {} for report in reports}
    deaths = sum((report.deaths for report in reports), Counter[str]())
    assert deaths.total() - deaths["told to end"] == 50 and set(kill_child.STEPS) <= deaths.keys()
    for report in reports:
        assert report.figures["stored"] > 1_000 and report.figures["repeated"] > 100 and report.figures["refused"] > 20
    assert all(report.figures["windows"] > 30 and report.figures["held back"] > 5 for report in reports if report.drive.contract != "census")
    assert sum(report.figures["late"] for report in reports) > 10


@pytest.mark.timeout(1800)
def test_the_proof_sees_what_must_not_be() -> None:
    """Controls: forms of the job that lose rows, or tell windows too early, when they are killed."""
    lost, early = driven([Drive("telemetry", 4, seed=1, form="acknowledges first"), Drive("telemetry", 4, seed=1, form="holds nothing")])
    assert any(fault.startswith("lost") for fault in lost.faults)
    assert any(fault.startswith("late, and published in time") for fault in early.faults)
    assert any(fault.startswith("windows that lack rows") for fault in early.faults)


@pytest.mark.timeout(1800)
def test_killed_beside_the_emulator_of_google(emulator_host: str) -> None:
    report = drive(Drive("gaming", 10, seed=1, emulator=emulator_host, deadline=10))
    assert report.faults == {} and report.figures["windows"] > 30
