"""Runs commands as a user does, in a process of their own, and keeps every byte that they leave or show on the way."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

REPOSITORY = Path(__file__).parents[1]
_POLL, _SECONDS = 0.01, 600  # seconds: between two looks, and at most

# A program of its own, for between a fork and its exec no Python may run in a process that has threads of gRPC.
_LIMITED = ("import os, resource, sys; most = int(sys.argv[1]); resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)); "
            "os.execv(sys.argv[2], sys.argv[2:])")


class Seen(NamedTuple):
    """What a command answered: its exit code, and by name all that could be seen of it: stdout, stderr, and each content of
    each file below its home, its working directory, its TMPDIR and its output, at the end or while it ran.
    """

    code: int
    outputs: dict[str, bytes]

    def text(self) -> str:
        return (self.outputs["stdout"] + self.outputs["stderr"]).decode("utf-8", "replace")


def run(world: Path, *arguments: str, most_bytes: int | None = None, command: Sequence[str] = ("-m", "pipelines"),
        dies: Callable[[], bool] | None = None) -> Seen:
    """Runs `penstock ARGUMENTS` in world/cwd, with a HOME and a TMPDIR of its own beside it; outputs belong in world/out.

    most_bytes: no file may grow beyond; stands for a full disk. command: what Python runs in place of penstock; dies: it is killed
    (SIGKILL) as soon as this is true.
    """
    for name in ("home", "tmp", "cwd"):
        (world / name).mkdir(parents=True, exist_ok=True)
    environment = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG", "LD_LIBRARY_PATH", "SYSTEMROOT")}
    environment |= {"HOME": str(world / "home"), "TMPDIR": str(world / "tmp"), "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}
    program = [sys.executable, *command, *arguments]
    if most_bytes is not None:
        program = [sys.executable, "-c", _LIMITED, str(most_bytes), *program]
    watch = _Watch(world)
    watch.start()
    try:
        code, out, err = _ended(program, dies, cwd=world / "cwd", env=environment)
    finally:
        watch.stop()
    return Seen(code, {"stdout": out, "stderr": err, **watch.seen})


def _ended(command: list[str], dies: Callable[[], bool] | None, **given: Any) -> tuple[int, bytes, bytes]:
    """(exit code, stdout, stderr)."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **given) as job:
        until = time.monotonic() + _SECONDS
        try:
            while True:
                try:
                    out, err = job.communicate(timeout=_POLL if dies else _SECONDS)
                    return job.returncode, out, err
                except subprocess.TimeoutExpired:
                    if not dies or time.monotonic() > until:
                        raise
                    if dies():
                        job.kill()
        except BaseException:
            job.kill()
            raise


def look() -> None:
    """What stands below the folders of all commands under way is kept now: who calls it, in a server that they ask, has them wait for it."""
    for watch in list(_Watch.living):
        watch.look()


class _Watch(threading.Thread):
    """Copies every file below a folder whenever it has changed."""

    living: "ClassVar[set[_Watch]]" = set()

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.seen: dict[str, bytes] = {}
        self._folder, self._end, self._lock = folder, threading.Event(), threading.Lock()
        self._known: dict[str, tuple[int, int, int]] = {}

    def run(self) -> None:
        while not self._end.wait(_POLL):
            self.look()

    def start(self) -> None:
        super().start()
        self.living.add(self)

    def stop(self) -> None:
        self.living.discard(self)
        self._end.set()
        self.join()
        self.look()  # what is left

    def look(self) -> None:
        with self._lock:
            self._look([str(self._folder)])

    def _look(self, folders: Sequence[str]) -> None:
        for folder in folders:
            try:
                entries = list(os.scandir(folder))
            except OSError:  # it has gone meanwhile
                continue
            for entry in entries:
                try:
                    if entry.is_dir(follow_symlinks=False):
                        self._look([entry.path])
                        continue
                    state = entry.stat(follow_symlinks=False)
                    now = state.st_ino, state.st_size, state.st_mtime_ns
                    if self._known.get(entry.path) != now:
                        name = entry.path[len(str(self._folder)) + 1:]
                        self.seen[f"{name} ({sum(n.startswith(f'{name} (') for n in self.seen)})"] = Path(entry.path).read_bytes()
                        self._known[entry.path] = now
                except OSError:
                    continue
