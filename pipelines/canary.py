"""A child process in which messages that may kill are tried one by one: it dies in place of the stream, and that tells.

    parent -> child, stdin:  what it takes to try (Trial), then a message at a time, each with its length before it
    child -> parent, stdout: a line of JSON before each stage after the first, {} when the message has come through

No message is in a file, an argument, a log or a core dump. The system itself ends a child that takes too long, whatever hangs
in it, and one whose parent has died finds its stdin at the end. Signals that end a stream in order do not reach it.
"""

import os
import pickle
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from types import TracebackType
from typing import Any, BinaryIO

import orjson
import pyarrow as pa
from apache_beam.internal import pickler
from apache_beam.ml.inference.base import ModelHandler

from schemas.contract import Contract
from schemas.errors import Reason, Stage
from transforms.batch import DAY, refused_rows
from transforms.columns import Typing
from transforms.decode import Digest, decode
from transforms.deidentify import EngineConfig, deidentify
from transforms.formats.block import Block, Message
from transforms.formats.messages import Front
from transforms.infer import ROW_ERRORS, infer, scorer_of
from transforms.keys import Keys
from transforms.rows import as_json

COMMAND = (sys.executable, "-m", "pipelines.canary")
ATTEMPT = 3  # the message killed the stream twice before
_LENGTH = 8  # bytes

Reached = tuple[Stage, bytes, date | None]  # the stage that begins, and the row as it would be sealed there, with its day


class Unready(Exception):
    """The child process died before it was given a message."""


@dataclass(frozen=True)
class Trial:
    """What a message is tried with: that of the stream. seconds: for one message, and for the start."""

    contract: Contract
    keys: Keys
    engine: EngineConfig
    handler: "ModelHandler[Any, Any, Any] | None"
    front: Front
    seconds: float = 60.0


def fatal(trial: Trial, subscription: str, messages: Iterable[Message], stop: Callable[[], bool] = lambda: False,
          command: Sequence[str] = COMMAND) -> dict[str, pa.RecordBatch]:
    """Those that kill a child process, by id, as REFUSED rows of one row; tries no more once stop() is true.

    command: runs main(). Raises Unready.
    """
    found: dict[str, pa.RecordBatch] = {}
    with _Canary(trial, command) as canary:
        for message in messages:
            if stop():
                break
            if (last := canary.last(subscription, message)) is not None:
                stage, row, day = last
                found[message.id] = refused_rows(stage, [(Reason.CRASHES, None, f"{subscription}:{message.id}", day, row)], ATTEMPT)
    return found


class _Canary:
    """The child, while there is one; started when it is needed."""

    def __init__(self, trial: Trial, command: Sequence[str]) -> None:
        self._trial, self._command = trial, command
        self._child: subprocess.Popen[bytes] | None = None

    def last(self, subscription: str, message: Message) -> Reached | None:
        """How far a message came that kills the child; None where it does not."""
        first = self._child is None
        last = self._try(subscription, message)
        # Not the first of its child: what died may have been hurt by another before, or ended from outside.
        return last if last is None or first else self._try(subscription, message)

    def _try(self, subscription: str, message: Message) -> Reached | None:
        child = self._child = self._child or self._start()
        assert child.stdin and child.stdout
        reached: Reached = (Stage.DECODE, message.data, None)
        try:
            _put(child.stdin, pickle.dumps((subscription, message)))
            while (line := child.stdout.readline()).endswith(b"\n"):
                if not (told := orjson.loads(line)):
                    return None
                reached = Stage(told["stage"]), told["row"].encode(), date.fromisoformat(told["d"])
        except BrokenPipeError:  # it died before it had read all
            pass
        self.close()
        return reached

    def _start(self) -> "subprocess.Popen[bytes]":
        child = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert child.stdin and child.stdout
        try:
            _put(child.stdin, pickler.dumps(self._trial))
            ready = child.stdout.readline()
        except BrokenPipeError:
            ready = b""
        if not ready:
            child.kill()
            child.communicate()
            raise Unready
        return child

    def close(self) -> None:
        """Ends the child, where there is one."""
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None

    def __enter__(self) -> "_Canary":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def stages(trial: Trial) -> Callable[[str, Message], Iterator[Reached]]:
    """What a message goes through, up to its score: yields before each stage after Decode, and ends where it is refused."""
    contract, handler = trial.contract, trial.handler
    typing, digest = Typing(contract), Digest(contract, trial.keys.derive("row digests"))
    engine = trial.engine.start()
    engine.setup()
    scorer = scorer_of(handler, handler.load_model(), contract.model) if handler else None
    classes = len(contract.model.classes) if contract.model else 0
    names = [field.name for field in contract.fields]

    def attempt(subscription: str, message: Message) -> Iterator[Reached]:
        block = Block(subscription, "messages", 0, 0, 1, b"", messages=(message,))
        events, _ = decode(block, contract, typing, digest, front=trial.front)
        if not events.num_rows:
            return
        (row,), day = as_json(events, names, [0]), events[DAY][0].as_py()
        yield Stage.DEIDENTIFY, row, day
        stored, _ = deidentify(events, engine)
        if stored.num_rows and scorer:
            yield Stage.INFER, row, day
            infer(stored, scorer, getattr(handler, "row_errors", ROW_ERRORS), classes)

    return attempt


def main(prepare: Callable[[Trial], Callable[[str, Message], Iterator[Reached]]] = stages) -> None:
    """The child: tries what comes until stdin ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # a terminal and systemd send them to the children too
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    given, told = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    trial: Trial = pickler.loads(_get(given))
    signal.setitimer(signal.ITIMER_REAL, trial.seconds)
    attempt = prepare(trial)
    os.dup2(silence, 2)  # from here on it may hold rows
    _done(told)
    while asked := _get(given):
        signal.setitimer(signal.ITIMER_REAL, trial.seconds)
        try:
            for stage, row, day in attempt(*pickle.loads(asked)):  # noqa: S301 our own parent's
                _tell(told, {"stage": stage.value, "row": row.decode(), "d": str(day)})
        except Exception:  # noqa: S110 whatever it is, it kills nobody: the stream meets it again, and says where
            pass
        _done(told)


def _done(told: BinaryIO) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)
    _tell(told, {})


def _tell(told: BinaryIO, answer: dict[str, str]) -> None:
    told.write(orjson.dumps(answer) + b"\n")
    told.flush()


def _put(pipe: Any, content: bytes) -> None:
    pipe.write(len(content).to_bytes(_LENGTH, "big") + content)
    pipe.flush()


def _get(pipe: BinaryIO) -> bytes:
    """The next that was put; empty at the end."""
    return pipe.read(int.from_bytes(pipe.read(_LENGTH), "big"))


if __name__ == "__main__":
    main()
