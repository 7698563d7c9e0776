"""A container of the image, by buildah alone: commands run in it with the image's environment, with or without a network."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

USER = 10001


class Box:
    """name: the container's; shared: a folder that it has under the same path."""

    def __init__(self, name: str, shared: Path):
        self.name, self.shared = name, shared

    def command(self, *words: str, user: int = USER, network: bool = False, environment: dict[str, str] | None = None) -> list[str]:
        """The command line that runs words inside; without a network not even loopback is up. environment: beside the image's."""
        cut = [] if network else ["unshare", "--net", "--"]
        given = [word for name, value in {"HOME": "/home/penstock", **(environment or {})}.items() for word in ("--env", f"{name}={value}")]
        return [*cut, "buildah", "run", "--isolation", "chroot", "--user", str(user), *given, "--volume", f"{self.shared}:{self.shared}", self.name, "--", *words]

    def run(self, *words: str, user: int = USER, network: bool = False, environment: dict[str, str] | None = None) -> str:
        """What words print. Raises CalledProcessError."""
        return subprocess.run(self.command(*words, user=user, network=network, environment=environment), check=True, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL).stdout

    def size(self) -> int:
        """Bytes of its files, unpacked."""
        mounted = subprocess.run(["buildah", "mount", self.name], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
        return int(subprocess.run(["du", "--summarize", "--bytes", mounted], check=True, stdout=subprocess.PIPE, text=True).stdout.split()[0])


@contextmanager
def opened(image: str, shared: Path) -> Iterator[Box]:
    """A container of image, removed at the end: buildah would leave it mounted."""
    name = subprocess.run(["buildah", "from", image], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    try:
        yield Box(name, shared)
    finally:
        subprocess.run(["buildah", "rm", name], check=True, stdout=subprocess.DEVNULL)


def config(image: str) -> dict:
    """The image's configuration: Env, Entrypoint, Labels, User."""
    told = subprocess.run(["buildah", "inspect", "--type", "image", image], check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(told)["Docker"]["config"]
