"""What every variant of the streaming job shares: arguments, pulls, the clock, the commit, what it reports."""

import argparse
import gc
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipelines.sinks.lake_stream import Finished, StreamLake
from pipelines.sources.pubsub import Received, Subscription, subscriber
from schemas.contract import Contract, load
from transforms.keys import Keys

AT_ONCE = 20_000  # messages a commit
WAIT = 1.0  # seconds after which a commit takes fewer


@dataclass(frozen=True)
class Given:
    """The arguments of a variant."""

    host: str
    subscription: str
    output: Path
    keys: str
    messages: int
    wait: float


def arguments() -> Given:
    """Of the command line."""
    parser = argparse.ArgumentParser()
    for name in ("host", "subscription", "output", "keys"):
        parser.add_argument(name)
    parser.add_argument("messages", type=int)
    parser.add_argument("--wait", type=float, default=WAIT)
    given = parser.parse_args()
    return Given(given.host, given.subscription, Path(given.output), given.keys, given.messages, given.wait)


class Clock:
    """Wall and CPU seconds of this process (all its threads) from the first pull to the last acknowledgement."""

    def start(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()
        self.laps: list[tuple[float, float]] = []

    def lap(self) -> None:
        """A run was acknowledged."""
        self.laps.append((time.perf_counter() - self.wall, time.process_time() - self.cpu))

    def report(self, messages: int, **more: object) -> None:
        """Prints one JSON line."""
        wall, cpu = self.laps[-1]
        # getrusage would tell the peak of the process that started this one, where that was larger
        peak = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024  # type: ignore[index]
        print(json.dumps({"messages": messages, "wall": wall, "cpu": cpu, "runs": len(self.laps), "peak_mb": peak, **more}), flush=True)


Work = Callable[[str, int, list[Received]], tuple[Finished, Callable[[], None]]]
"""(run id, its number, messages) -> what is to be committed, and what to do once it is."""


def looped(make: "Callable[[Contract, Keys, StreamLake, str], Work]") -> None:
    """Pulls ahead, works, commits, acknowledges, until all the messages are done. make: the work, from the contract, the keys, the
    tables and the subscription's name; what it sets up is not on the clock."""
    given = arguments()
    contract, keys = load("census"), Keys(given.keys)
    clock, stop, done, number = Clock(), threading.Event(), 0, 0
    subscription = Subscription(subscriber(given.host), given.subscription, AT_ONCE)
    subscription.check()
    with StreamLake(str(given.output), contract, "bench", "a benchmark") as lake:
        lake.state()
        work = make(contract, keys, lake, given.subscription)
        gc.collect()
        gc.freeze()  # as the stream does
        clock.start()
        subscription.start()
        while done < given.messages:
            received = subscription.take(given.wait, stop, 1.0)
            if not received:
                continue
            number += 1
            finished, settle = work(f"{lake.name}-{number:08d}", number, received)
            row = lake.commit(finished)
            assert row.balanced
            settle()
            subscription.acknowledge([ack_id for ack_id, _ in received])
            clock.lap()
            done += len(received)
        subscription.close()
    clock.report(done)
