"""A contract's folder in Cloud Storage: its files as they were when it was listed, each of that generation and of no other.

What is pickled are names, generations and sizes: a worker fetches by them the model that was checked, which a bucket that keeps versions
still has when it was replaced, or says that it is gone.
"""

import io
from dataclasses import dataclass
from typing import IO, Literal

from pipelines.sources.gcs import SCHEME, Changed, Object, client, fetched, within
from schemas.errors import Fault, Misconfigured
from schemas.model import MAX_BYTES  # no file of a contract may be larger


@dataclass(frozen=True)
class File:
    """A file by its object; None: there was none of this name. endpoint: as for `client`."""

    path: str
    found: Object | None
    endpoint: str

    def __truediv__(self, name: str, /) -> "File":
        return File(f"{self.path}/{name}", None, self.endpoint)

    def open(self, mode: Literal["rb"], /) -> IO[bytes]:
        """Its bytes, though no more than tell that they are too many. Raises FileNotFoundError, or Misconfigured with what to do."""
        if self.found is None:
            raise FileNotFoundError(self.path)
        if self.found.packed:
            raise self._fault("is stored with Content-Encoding gzip", "upload it as it is")
        size = min(self.found.size, MAX_BYTES + 1)
        try:
            return io.BytesIO(fetched(client(self.endpoint), self.path, self.found.generation, 0, size, kept=True) if size else b"")
        except Changed:
            raise self._fault("was replaced or deleted after it was listed, and the bucket keeps no versions",
                              "start or update the job again; a version of a contract that jobs run with has a folder of its own") from None
        except PermissionError:
            raise self._fault("may not be read", "give the account roles/storage.objectViewer on the bucket") from None
        except OSError:
            raise self._fault("cannot be reached", "check the credentials, the network and --storage_endpoint") from None

    def __str__(self) -> str:
        return self.path

    def _fault(self, problem: str, remedy: str) -> Misconfigured:
        return Misconfigured([Fault(self.path, problem, remedy)])


@dataclass(frozen=True)
class Folder:
    """Of path (gs://BUCKET/NAME) what lies directly in it."""

    path: str
    objects: tuple[Object, ...]
    endpoint: str

    def __truediv__(self, name: str, /) -> File:
        path = f"{self.path}/{name}"
        return File(path, next((o for o in self.objects if o.path == path), None), self.endpoint)

    def open(self, mode: Literal["rb"], /) -> IO[bytes]:
        raise IsADirectoryError(self.path)

    def __str__(self) -> str:
        return self.path


def folder(path: str, endpoint: str = "") -> Folder:
    """A contract's folder, listed now. Raises Misconfigured where it cannot be, or nothing lies in it."""
    path = path.rstrip("/")
    found = within(client(endpoint), path, "--contract")
    if not found:
        raise Misconfigured([Fault("--contract", f"{path} holds no file", f"give the folder that holds contract.yaml, as {SCHEME}BUCKET/FOLDER")])
    return Folder(path, tuple(found), endpoint)
