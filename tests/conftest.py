"""What many tests share: generated events and a key folder, made once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.tools.generate import write
from tests.dlp_world import World, dlp_world
from transforms import keys
from transforms.keys import Keys


@pytest.fixture(scope="session")
def census(tmp_path_factory) -> Path:
    """A folder of 4,000 generated census events in one file, with truth.json."""
    folder = tmp_path_factory.mktemp("census")
    write("census", 4_000, 11, folder)
    return folder


@pytest.fixture(scope="session")
def key_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("k") / "keys"
    keys.make(folder)
    return folder


@pytest.fixture(scope="session")
def ring(key_folder) -> Keys:
    return Keys(str(key_folder))


@pytest.fixture
def world(ring) -> Iterator[World]:
    """A DLP server of its own, and what makes engines that ask it."""
    with dlp_world(ring) as world:
        yield world
