"""The contract that an option names: a shipped one, a folder of this machine, or one in Cloud Storage."""

from pathlib import Path

from schemas import contract
from schemas.contract import Contract
from schemas.errors import Fault

SCHEME = "gs://"


def load(name: str, allow_unwrapped_keys: bool = False, storage_endpoint: str = "") -> Contract:
    """Reads and checks a contract. Raises Misconfigured with all faults.

    allow_unwrapped_keys: take templates that hold a key in clear, for tests; storage_endpoint: as for pipelines.sources.gcs.client.
    """
    if not name.startswith(SCHEME):
        return contract.load(name, allow_unwrapped_keys)
    from pipelines.sources.gcs_folder import folder  # it imports Beam

    return contract.read(folder(name, storage_endpoint), allow_unwrapped_keys)


def out_of_reach(name: str) -> list[Fault]:
    """A fault of a contract that workers of Dataflow's have no way to."""
    if name.startswith(SCHEME) or name in contract.shipped() or not Path(name).is_dir():
        return []
    return [Fault("--contract", f"{name} is a folder of this machine, where no worker of Dataflow's finds it",
                  "copy it to Cloud Storage and give gs://BUCKET/FOLDER, or put it under schemas/ of the image and give its name")]
