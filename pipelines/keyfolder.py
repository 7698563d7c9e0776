"""Which keys a job uses: --keys, else PENSTOCK_KEYS, else .penstock/keys under the working directory; a folder, or a secret of
Secret Manager."""

import os
import sys
from pathlib import Path

from pipelines import secret_keys
from transforms import keys
from transforms.keys import Keys


def open_keys(given: str, make: bool = True, endpoint: str = "") -> Keys | None:
    """The key folder, made on first use with a line that says so; None where it is missing and shall not be made (a request
    that cannot run leaves nothing behind). Raises Misconfigured where it is not whole.

    A secret, projects/P/secrets/S/versions/N, is never made; endpoint: of Secret Manager, where it is not Google's.
    """
    chosen = given or os.environ.get("PENSTOCK_KEYS") or str(Path(".penstock") / "keys")
    if secret_keys.named(chosen):
        return secret_keys.open_secret(chosen, endpoint)
    folder = Path(chosen)
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
