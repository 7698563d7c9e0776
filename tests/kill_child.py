"""One life of the stream job, which dies at a step, or as it is told: what tests.kills starts, as a process of its own."""

import os
import signal
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.options import StreamOptions
from pipelines.repeated_runs import Stream
from pipelines.sinks.bigquery_stream import StreamDataset
from pipelines.sinks.lake_stream import StreamLake
from pipelines.sources.pubsub import Received, Subscription
from pipelines.stream import run
from pipelines.suspects import Suspects
from pipelines.watermark import Watermark

STEPS = ("taken", "graph done", "locked", "added events", "added failures", "windows", "recorded", "committed", "settled", "acknowledged", "tidied")
BIGQUERY_STEPS = ("taken", "graph done", "prepared", "intended", "committed events", "committed failures", "committed runs", "committed", "settled",
                  "acknowledged")
OFTEN = 4  # runs from one merge to the next: lives here are short


class Death(NamedTuple):
    """When a life ends: the nth time that it comes to this step ("": not by itself) in a phase: from the start on, once a run is
    acknowledged ("held"), or once the watermark moves. forgetful: it knows nobody with whom an earlier life died."""

    step: str = ""
    phase: str = "start"
    nth: int = 1
    forgetful: bool = True


class Doomed(Stream):
    """Dies by SIGKILL; tells `told` when a run is acknowledged, and when the watermark moves."""

    def __init__(self, death: Death, folder: Path, told: Connection, *given: Any) -> None:
        phases, met = ["start"], 0

        def at(step: str) -> None:
            nonlocal met
            if step == death.step and death.phase in phases:
                met += 1
                if met == death.nth:
                    os.kill(os.getpid(), signal.SIGKILL)
            for phase, reached in (("held", step == "acknowledged"), ("moving", self.watermark.value != began)):
                if reached and phase not in phases:
                    phases.append(phase)
                    told.send(phase)

        super().__init__(*given, at=at)
        began = self.watermark.value
        self.tables.at = at
        if isinstance(self.tables, StreamLake):
            self.tables.tidy.often = OFTEN
        if death.forgetful:
            lonely = folder / str(os.getpid())
            (lonely / "running").mkdir(parents=True)
            self.suspects = Suspects(lonely, self.options.subscription)


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


class SettlesNothing(Doomed):
    """What must not be, into BigQuery: a run that was begun to be committed is left as it is."""

    def __init__(self, death: Death, folder: Path, told: Connection, *given: Any) -> None:
        tables = next(each for each in given if isinstance(each, StreamDataset))
        tables._settle = lambda: None  # type: ignore[method-assign]
        super().__init__(death, folder, told, *given)


def live(folder: Path, options: StreamOptions, form: type[Doomed], death: Death, told: Connection) -> None:
    """One life; its output goes to folder/log."""
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(folder)
    sys.exit(run(options, [], lambda *given: form(death, folder, told, *given)))
