"""Key folders whose tokens and digests are the same each time."""

import hashlib
from pathlib import Path

from transforms import keys


def settled(folder: Path) -> None:
    """Makes a key folder whose master key is the same each time, by the folder's name: in hashes and tokens of random keys, what a test looks for may
    stand by chance."""
    keys.make(folder)
    (folder / keys.MASTER).write_bytes(hashlib.sha256(folder.name.encode()).digest())
