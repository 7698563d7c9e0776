"""Which key folder a job uses: --keys, else PENSTOCK_KEYS, else .penstock/keys under the working directory."""

import os
import sys
from pathlib import Path

from transforms import keys
from transforms.keys import Keys


def open_keys(given: str, make: bool = True) -> Keys | None:
    """The key folder, made on first use with a line that says so; None where it is missing and shall not be made (a request
    that cannot run leaves nothing behind). Raises Misconfigured where it is not whole."""
    folder = Path(given or os.environ.get("PENSTOCK_KEYS") or Path(".penstock") / "keys")
    if not (folder / keys.MASTER).exists():
        if not make:
            return None
        keys.make(folder)
        print(f"penstock: made a key folder, {folder}: keep {keys.MASTER} (tokens and digests depend on it) and "
              f"{keys.PRIVATE} (opens failures) safe and private", file=sys.stderr)
    found = Keys(str(folder))
    found.master()
    found.public_pem()
    return found
