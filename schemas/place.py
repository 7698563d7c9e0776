"""Where a contract lies: a folder whose files are opened by name.

A pathlib.Path is one, on one machine; Shipped is one wherever this package is installed; pipelines/sources/gcs_folder.py has that of a bucket.
"""

from dataclasses import dataclass
from importlib import resources
from typing import IO, Literal, Protocol

from schemas.errors import Fault, Misconfigured


class Place(Protocol):
    """A folder, or a file in it. Its text is what messages call it; pickled, it finds the same bytes in another process."""

    def __truediv__(self, name: str, /) -> "Place":
        """What has this name in the folder, whether or not it is there."""

    def open(self, mode: Literal["rb"], /) -> IO[bytes]:
        """The file's bytes. Raises FileNotFoundError where there is none, OSError or Misconfigured where it cannot be read."""


@dataclass(frozen=True)
class Shipped:
    """A folder or a file of this package. It knows no path of a machine, for a worker has the package somewhere else."""

    name: str

    def __truediv__(self, name: str, /) -> "Shipped":
        return Shipped(f"{self.name}/{name}")

    def open(self, mode: Literal["rb"], /) -> IO[bytes]:
        return resources.files("schemas").joinpath(self.name).open(mode)

    def __str__(self) -> str:
        return f"schemas/{self.name}"


def content(file: Place, most: int) -> bytes:
    """A file's bytes. Raises Misconfigured where there are more than `most`, and what opening the file raises."""
    with file.open("rb") as opened:
        found = opened.read(most + 1)
    if len(found) > most:
        raise Misconfigured([Fault(str(file), f"holds more than {most:,} bytes", "make it smaller")])
    return found
