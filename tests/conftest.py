"""What many tests share: generated events and a key folder, made once."""

from pathlib import Path

import pytest

from pipelines.tools.generate import write
from transforms import keys


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
