"""Commands in processes of their own. None outlives this process, be it killed with SIGKILL."""

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import NamedTuple

_ONE_THREAD = {"OMP_NUM_THREADS": "1"}  # children share the cores among them: idle threads of BLAS cost each 5 % of its time
OURS = (sys.executable, "-m", "pipelines.child")


class Ended(NamedTuple):
    """How a process ended: its exit code (negative: the signal), and what it said."""

    code: int
    out: str
    err: str


class Children:
    """Starts processes; take it as a context, at whose end they end too."""

    def __init__(self, program: Sequence[str] = OURS) -> None:
        self._program, self._alive, self._ending = list(program), set[subprocess.Popen[str]](), False
        self._change = threading.Lock()

    def run(self, arguments: Sequence[str]) -> Ended:
        """Starts the program with these arguments and waits for its end; for threads, some at once. After end() it starts nothing: -15."""
        with self._change:
            if self._ending:
                return Ended(-15, "", "")
            # A session of its own: Ctrl-C is for this process alone, which ends the others in order.
            child = subprocess.Popen([*self._program, *arguments], stdin=self._read, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                     errors="replace", start_new_session=True, env=_ONE_THREAD | os.environ)
            self._alive.add(child)
        try:
            out, err = child.communicate()
        finally:
            with self._change:
                self._alive.discard(child)
        return Ended(child.returncode, out, err)

    def end(self) -> None:
        """Tells all to end (SIGTERM), and starts no more."""
        with self._change:
            self._ending = True
            for child in self._alive:
                child.terminate()

    def __enter__(self) -> "Children":
        self._read, self._write = os.pipe()  # see pipelines/child.py
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end()
        os.close(self._write)
        os.close(self._read)
