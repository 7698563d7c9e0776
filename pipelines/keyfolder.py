"""Which keys a job uses: --keys, else PENSTOCK_KEYS, else .penstock/keys under the working directory; a folder, or a secret of
Secret Manager."""

import os
import sys
from pathlib import Path

from pipelines import secret_keys
from schemas.errors import Fault, Misconfigured
from transforms import keys
from transforms.keys import Keys


def keys_of_tables(given: str, there: bool, endpoint: str = "", make: bool = True) -> Keys | None:
    """The keys of a job that writes or reads tables; there: whether they hold events already, for which keys are never made anew: each
    row would be stored a second time, under other tokens. make, endpoint, and the answer: as of open_keys. Raises Misconfigured.
    """
    found = open_keys(given, make and not there, endpoint)
    if found is None and there:
        raise Misconfigured([Fault("--keys", f"there is no key folder {_chosen(given)}, and the tables are there already",
                                   "give the one that the tables were made with: tokens and digests depend on it")])
    return found


def open_keys(given: str, make: bool = True, endpoint: str = "") -> Keys | None:
    """The key folder, made on first use with a line that says so; None where it is missing and shall not be made (a request
    that cannot run leaves nothing behind). Raises Misconfigured where it is not whole.

    A secret, projects/P/secrets/S/versions/N, is never made; endpoint: of Secret Manager, where it is not Google's.
    """
    chosen = _chosen(given)
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


def _chosen(given: str) -> str:
    return given or os.environ.get("PENSTOCK_KEYS") or str(Path(".penstock") / "keys")
