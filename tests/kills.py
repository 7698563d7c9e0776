"""Kills the stream job again and again while messages come, and proves that nothing is lost, stored twice or counted wrong.

    python -m tests.kills --kills=200

Each drive is a process with a broker, a publisher, one lake and a fresh subscription: lives of the job follow each other,
most die by SIGKILL at a named step, the others at any moment; a few are told to end. The last one works off what is left.
Then the tables are compared with what was published (tests.kill_oracle).
"""

import argparse
import contextlib
import itertools
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from google.pubsub_v1 import types

from pipelines.options import StreamOptions
from pipelines.sources.pubsub_channel import publisher, subscriber
from pipelines.tools.publish import hold
from pipelines.tools.sequence import Line, Mix, Sample, live, sequence, stream_of, written
from pipelines.tools.truth import STORED
from schemas import contract as contracts
from schemas.contract import Contract
from tests import kill_bigquery, kill_child
from tests.kill_child import Death
from tests.kill_oracle import Verdict, judge
from tests.pubsub_faults import Fault, Faults
from tests.pubsub_server import Broker

SPACING = {"gaming": 5, "telemetry": 40, "weblog": None, "census": 5}
"""Seconds of event time from one event to the next; None: as they were. At RATE, an hour of them passes in seconds: of events that all lie within the
disorder, hardly one would move the watermark, and lives wait for that."""
FORMS = {"as it is": kill_child.Doomed, "acknowledges first": kill_child.AcknowledgesFirst, "holds nothing": kill_child.HoldsNothing,
         "settles nothing": kill_child.SettlesNothing}
RATE, TICK = 150, 0.02
PROMPT = 900.0  # seconds, by which a life must have come to its step
MOST = 500  # messages at once: Pub/Sub takes a thousand, and more are due where this process was asleep for seconds
BEHIND = 3_000  # messages: a machine so slow is sent no more until it has caught up, or no watermark would move


@dataclass(frozen=True)
class Drive:
    """What is driven: one lake. emulator: HOST:PORT of Google's, "" for a broker of ours; deadline: of acknowledgements;
    suspects: messages with which lives died are tried apart, which takes seconds a life; bigquery: the tables are there, and its
    calls fail now and then."""

    contract: str
    kills: int
    seed: int
    form: str = "as it is"
    emulator: str = ""
    deadline: int = 2
    suspects: bool = False
    bigquery: bool = False


@dataclass
class Report:
    """What came of a drive: deaths by step, figures by name, and what was wrong."""

    drive: Drive
    deaths: Counter[str] = field(default_factory=Counter)
    figures: dict[str, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def text(self) -> str:
        deaths, figures = (", ".join(f"{name} {n:,}" for name, n in sorted(told.items())) for told in (self.deaths, self.figures))
        faults = "".join(f"\n    WRONG {n:,} x {fault}" for fault, n in self.faults.items()) or "\n    nothing lost, nothing twice, every window right"
        return f"{self.drive.contract}, {self.drive.form}, {self.seconds:.0f} s\n    {figures}\n    deaths: {deaths}{faults}"


class Source(threading.Thread):
    """Publishes a contract's events, with all that may happen to them, from start() until end(); `published` by message id.

    open: how many are not acknowledged.
    """

    def __init__(self, contract: Contract, seed: int, topic: str, send: Any, open: Callable[[], int]) -> None:
        super().__init__(daemon=True)
        self.published: dict[str, Line] = {}
        self._contract, self._send, self._open, self._topic, self._end = contract, send, open, topic, threading.Event()
        mix = Mix(0.05, 0.005, 0.01, near=300, disorder=contract.disorder, late=0.005, hold=hold(contract, contract.disorder))
        stream = stream_of(contract.name, 10_000_000, seed)
        spacing = SPACING[contract.name]
        if spacing:
            stream = live(stream, contract.time, next(stream()).time, spacing * 1_000_000)
        self._lines = sequence(stream, contract, mix, seed)

    def run(self) -> None:
        start, sent = time.monotonic(), 0
        while not self._end.wait(TICK):
            if self._open() > BEHIND:
                while self._open() and not self._end.wait(TICK):
                    pass
                start = time.monotonic() - sent / RATE
                continue
            due = min(int((time.monotonic() - start) * RATE), sent + MOST)
            self._publish(list(itertools.islice(self._lines, due - sent)))
            sent = due

    def end(self) -> None:
        """Ends it with an event so much later that every other window is closed."""
        self._end.set()
        self.join()
        at = max(line.sample.time for line in self.published.values()) + 3 * 86_400_000_000
        id, _, row = next(line.sample for line in self._lines if line.fate == STORED and not line.held)
        row = {**row, self._contract.time: written(at)}
        self._publish([Line(json.dumps(row).encode(), STORED, Sample(id, at, row))])

    def _publish(self, lines: list[Line]) -> None:
        if lines:
            self.published.update(zip(self._send(self._topic, [line.body for line in lines]), lines, strict=True))


def drive(given: Drive) -> Report:
    """Kills and judges. Leaves nothing behind."""
    report, dice, began = Report(given), random.Random(given.seed), time.monotonic()
    contract = contracts.load(given.contract)
    folder = Path(tempfile.mkdtemp(prefix="penstock-kills-"))
    name = f"{given.contract}-{given.seed}-{os.getpid()}"
    topic, subscription = f"projects/penstock-kills/topics/{name}", f"projects/penstock-kills/subscriptions/{name}"
    try:
        with _backend(given, topic, subscription) as (host, send, unacknowledged), (kill_bigquery.tables(contract) if given.bigquery else _lake(folder)) as tables:
            options = StreamOptions(contract=given.contract, subscription=subscription, wait=timedelta(seconds=0.3), max_messages=400,
                                    pubsub_endpoint=host, keys=str(folder / "keys"), **tables.options)
            source = Source(contract, given.seed, topic, send, unacknowledged)
            source.start()
            lives = Lives(given, folder, options, dice)
            for number, death in enumerate(_deaths(given, dice)):
                if number % 4 == 3:
                    tables.elsewhere(folder)
                lives.killed(death) if death else lives.told()
            source.end()
            lives.last()
            verdict = tables.judge(contract, source.published)
        report.deaths, report.figures, report.faults = lives.deaths, verdict.figures, lives.faults | verdict.faults
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report.seconds = time.monotonic() - began
    return report


class _Lake:
    """Tables in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "out"
        self.options = {"output": str(self._folder)}

    def judge(self, contract: Contract, published: dict[str, Line]) -> Verdict:
        return judge(self._folder, contract, published)

    def elsewhere(self, folder: Path) -> None:
        """Nothing: the tables are on this machine, and so is the next life."""


@contextlib.contextmanager
def _lake(folder: Path) -> Iterator[_Lake]:
    yield _Lake(folder)


@contextlib.contextmanager
def _backend(given: Drive, topic: str, subscription: str) -> Iterator[tuple[str, Any, Callable[[], int]]]:
    """(HOST:PORT, what publishes bodies to a topic and answers their ids, how many are not acknowledged, where that can be asked)."""
    if given.emulator:
        client = publisher(given.emulator)
        client.create_topic(name=topic)
        with subscriber(given.emulator) as pulling:
            pulling.create_subscription(name=subscription, topic=topic, ack_deadline_seconds=given.deadline)
        yield given.emulator, lambda to, bodies: list(client.publish(topic=to, messages=[types.PubsubMessage(data=body) for body in bodies]).message_ids), lambda: 0
        return
    # Some messages come twice, and some acknowledgements come too late, so that messages come again though nobody died.
    faults = Faults(Fault("late", "Acknowledge", 0.02), twice=0.01, seed=given.seed)
    with Broker(faults=faults, shortest_deadline=given.deadline) as broker:
        broker.create(topic, subscription, seconds=given.deadline)
        yield broker.host, broker.publish, lambda: sum(broker.counts(subscription)[4:])


def _deaths(given: Drive, dice: random.Random) -> Iterator[Death | None]:
    """How the lives end: by every step in turn, many once the watermark moves; one in five at any moment. None: that one is told
    to end, which is no kill."""
    steps = list(kill_child.BIGQUERY_STEPS if given.bigquery else kill_child.STEPS)
    dice.shuffle(steps)
    turn, forgetful = itertools.cycle(steps), not given.suspects
    # The watermark moves when one deadline is over: with a long one that is waited for now and then.
    phases = ("moving", "start", "moving", "held") if given.deadline < 5 else ("start", "held", "start", "held", "moving", "held")
    for number in range(given.kills):
        if number % 8 == 5:
            yield None
        if number % 5 == 3:
            yield Death(forgetful=forgetful)
        else:
            yield Death(next(turn), phases[number % len(phases)], dice.randint(1, 3), forgetful)


class Lives:
    """Lives of one lake, one after the other."""

    def __init__(self, given: Drive, folder: Path, options: StreamOptions, dice: random.Random) -> None:
        self.deaths, self.faults = Counter[str](), dict[str, int]()
        self._given, self._folder, self._options, self._dice = given, folder, options, dice
        self._processes = multiprocessing.get_context("forkserver")
        self._processes.set_forkserver_preload(["tests.kill_child"])

    def killed(self, death: Death) -> None:
        """One that ends by SIGKILL."""
        child, heard = self._begun(self._options, death)
        if not death.step:
            heard.poll(self._dice.uniform(0, self._given.deadline * 1.5))
            time.sleep(self._dice.uniform(0, self._given.deadline / 2))
            child.kill()
        self._ended(child, heard, -signal.SIGKILL, death.step or "any moment")

    def told(self) -> None:
        """One that ends by SIGTERM."""
        child, heard = self._begun(self._options, Death(forgetful=not self._given.suspects))
        if heard.poll(PROMPT):
            time.sleep(self._dice.uniform(0, self._given.deadline / 2))
            os.kill(child.pid, signal.SIGTERM)
        self._ended(child, heard, 0, "told to end")

    def last(self) -> None:
        """One that ends when there is nothing more to do."""
        options = StreamOptions(**{**vars(self._options), "until_idle": timedelta(seconds=1.5)})
        self._ended(*self._begun(options, Death(forgetful=not self._given.suspects)), 0, "")

    def _begun(self, options: StreamOptions, death: Death) -> tuple[Any, Connection]:
        heard, told = self._processes.Pipe(duplex=False)
        child = self._processes.Process(target=kill_child.live, args=(self._folder, options, FORMS[self._given.form], death, told))
        child.start()
        told.close()
        return child, heard

    def _ended(self, child: Any, heard: Connection, code: int, death: str) -> None:
        child.join(PROMPT)
        ended = child.exitcode
        if ended is None:
            child.kill()
            child.join()
        heard.close()
        if ended != code:
            log = self._folder / "log"
            self.faults[f"a life of '{death or 'the end'}' ended with {ended}: {log.read_text()[-2_000:] if log.exists() else ''}"] = 1
        if death:
            self.deaths[death] += 1


def drives(kills: int, seed: int, **more: Any) -> list[Drive]:
    """Kills shared out over the contracts."""
    names = list(SPACING)
    return [Drive(name, kills // len(names) + (i < kills % len(names)), seed + i, **more) for i, name in enumerate(names)]


def driven(listed: list[Drive]) -> list[Report]:
    """All of them at once, each in a process of its own."""
    with ProcessPoolExecutor(len(listed), multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(drive, listed))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--contract", default="", help=f"one of {', '.join(SPACING)}; all where it is not given")
    parser.add_argument("--form", default="as it is", help=f"one of {', '.join(FORMS)}")
    parser.add_argument("--suspects", action="store_true", help="try messages with which lives died apart, as the job does; slower")
    parser.add_argument("--emulator", default="", help="HOST:PORT of Google's emulator, in place of a broker of ours; its shortest deadline is 10 s")
    parser.add_argument("--bigquery", action="store_true", help="into a BigQuery of this machine, whose calls fail now and then")
    given = parser.parse_args()
    more = {"bigquery": given.bigquery, "form": given.form, "emulator": given.emulator, "deadline": 10 if given.emulator else 2, "suspects": given.suspects}
    reports = driven([Drive(given.contract, given.kills, given.seed, **more)] if given.contract else drives(given.kills, given.seed, **more))
    for report in reports:
        print(report.text())
    print(f"{sum(r.drive.kills for r in reports)} kills")
    return 1 if any(r.faults for r in reports) else 0


if __name__ == "__main__":
    sys.exit(main())
