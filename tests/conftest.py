"""What many tests share: generated events and a key folder, made once."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from pipelines.tools.generate import write
from tests.dlp_world import World, dlp_world
from tests.key_folders import settled
from tests.pubsub_emulator import MISSING, emulator
from tests.pubsub_server import Broker
from transforms.keys import Keys

# The same examples each time, and no failure because a machine was slow; to look for others: pytest --hypothesis-profile=seek
settings.register_profile("tests", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("seek", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

# Files of a minute or more come first: on several cores the last file to start is the one that all wait for.
LONG = ("test_kills", "test_readme", "test_leaks", "test_stream_graph", "test_job_file", "test_leaks_bigquery", "test_suspects", "test_replay_graph", "test_fuzz",
        "test_lake_kill", "test_stream_bigquery")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


@pytest.fixture(scope="session")
def census(tmp_path_factory) -> Path:
    """A folder of 4,000 generated census events in one file, with truth.json."""
    folder = tmp_path_factory.mktemp("census")
    write("census", 4_000, 11, folder)
    return folder


@pytest.fixture(scope="session")
def key_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("k") / "keys"
    settled(folder)
    return folder


@pytest.fixture(scope="session")
def ring(key_folder) -> Keys:
    return Keys(str(key_folder))


@pytest.fixture
def world(ring) -> Iterator[World]:
    """A DLP server of its own, and what makes engines that ask it."""
    with dlp_world(ring) as world:
        yield world


@pytest.fixture
def broker() -> Iterator[Broker]:
    """A Pub/Sub broker of its own."""
    with Broker() as broker:
        yield broker


@pytest.fixture(scope="session")
def emulator_host() -> Iterator[str]:
    """HOST:PORT of Google's emulator, one for all tests: names of topics and subscriptions are a test's own."""
    with emulator() as host:
        if host is None:
            pytest.skip(MISSING)
        yield host
