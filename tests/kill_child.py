"""One life of the stream job, which dies at a step, or as it is told: what tests.kills starts, as a process of its own."""

import os
import signal
import sys
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pipelines.options import StreamOptions
from pipelines.sources.pubsub import Received, Subscription
from pipelines.stream import Stream, run
from pipelines.watermark import Watermark

STEPS = ("taken", "graph done", "locked", "added events", "added failures", "windows", "recorded", "committed", "settled", "acknowledged", "tidied")
OFTEN = 4  # runs from one merge to the next: lives here are short


class Doomed(Stream):
    """Dies by SIGKILL when it comes to the step for the nth time; tells `told` when its first run is done."""

    def __init__(self, fatal: str, nth: int, told: Connection, *given: Any) -> None:
        met, alive = Counter[str](), True

        def at(step: str) -> None:
            nonlocal alive
            met[step] += 1
            if step == fatal and met[step] == nth:
                os.kill(os.getpid(), signal.SIGKILL)
            if step == "acknowledged" and alive:
                alive = False
                told.send("alive")

        super().__init__(*given, at=at)
        self.lake.at = at
        self.lake.tidy.often = OFTEN


class AcknowledgesFirst(Doomed):
    """What must not be: messages are acknowledged before they are committed. A control: the proof has to see it."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.subscription: Any = Hasty(self.subscription)


class Hasty:
    """A subscription that acknowledges what it gives."""

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription

    def __getattr__(self, name: str) -> Any:
        return getattr(self.subscription, name)

    def take(self, *given: Any, **more: Any) -> list[Received]:
        received = self.subscription.take(*given, **more)
        self.subscription.acknowledge([each.ack_id for each in received])
        return received


class HoldsNothing(Doomed):
    """What must not be: the watermark moves from the start, though what a dead process had taken comes again later."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.watermark = Watermark(self.contract.disorder, 0.0, time.monotonic())
        self._restore()

    def _caught_up(self, received: list[Received]) -> bool:
        return True


def live(folder: Path, options: StreamOptions, form: type[Doomed], fatal: str, nth: int, told: Connection) -> None:
    """One life; its output goes to folder/log."""
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    told.send("started")
    sys.exit(run(options, [], lambda *given: form(fatal, nth, told, *given)))
