"""Messages that were in hand when a process of the stream died, and how often: one of them may be what kills it.

    OUT/running/stream.trying    JSON: what will be true if the process dies now; no file: nobody is suspected

It holds ids of messages, which stand in `origin` in clear too, and nothing of what they say: ids as they are cost 1.6 ms a run
of 20,000, digests of them 10. It is not synced: what a killed process wrote the system keeps, and after a power cut nobody
is a suspect, which costs some more deaths and nothing else.
"""

import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from math import isqrt
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import orjson
import pyarrow as pa

from pipelines.sinks.lake_catalog import RUNNING
from pipelines.sources.pubsub import Received
from transforms.formats.block import Message

TRYING = "stream.trying"
MOST = 100  # suspects in a run: so few can be tried one by one afterwards
CHILD = 2  # deaths with a message in hand after which it is tried in a child process
_KEPT = 7 * 86_400  # seconds: Pub/Sub keeps no message longer, unless it is told to


class Deaths(NamedTuple):
    """How often a process died with a message in hand, and when that was written down, seconds since 1970."""

    times: int
    at: int


class Part(NamedTuple):
    """What of the messages taken goes into one run. in_child: what kills is to be found first, and set aside, by id; last: no
    part of the same take comes after it."""

    received: list[Received]
    in_child: bool = False
    last: bool = True
    aside: Mapping[str, pa.RecordBatch] = MappingProxyType({})

    @property
    def messages(self) -> tuple[Message, ...]:
        """Those that the graph may read."""
        return tuple(message for _, message in self.received if message.id not in self.aside)

    @property
    def set_aside(self) -> list[pa.RecordBatch]:
        """REFUSED rows of the others, one for each time that they came."""
        return [self.aside[message.id] for _, message in self.received if message.id in self.aside]


class Suspects:
    """Of one subscription. clock: seconds since 1970."""

    def __init__(self, lake: Path, subscription: str, clock: Callable[[], float] = time.time) -> None:
        """lake: the tables' folder, which has to be held by this stream."""
        self._path, self._subscription, self._clock = lake / RUNNING / TRYING, subscription, clock
        self.deaths = self._read()
        once = sum(deaths.times < CHILD for deaths in self.deaths.values())
        self.most = max(1, min(MOST, isqrt(once)))

    def parts(self, received: list[Received]) -> list[Part]:
        """The runs to make of what was taken; one where nobody is suspected."""
        return parted(received, {id: deaths.times for id, deaths in self.deaths.items()}, self.most) if self.deaths else [Part(received)]

    @contextmanager
    def in_hand(self, ids: Collection[str]) -> Iterator[None]:
        """While a run is under way with these: a death is counted, an exception is not, and what has come through is no suspect."""
        now = int(self._clock())
        again = {id: Deaths(self.deaths[id].times + 1, now) for id in ids if id in self.deaths} if self.deaths else {}
        self._write(self.deaths | dict.fromkeys(ids, Deaths(1, now)) | again)
        try:
            yield
        except BaseException:
            self._write(self.deaths)
            raise
        for id in ids if self.deaths else ():
            self.deaths.pop(id, None)
        self._write(self.deaths)

    def _read(self) -> dict[str, Deaths]:
        try:
            told = orjson.loads(self._path.read_bytes())
        except (FileNotFoundError, orjson.JSONDecodeError):  # the second: after a power cut
            return {}
        if told["subscription"] != self._subscription:
            return {}
        new = self._clock() - _KEPT
        return {id: Deaths(times, at) for times, at, ids in told["deaths"] if at >= new for id in ids}

    def _write(self, deaths: Mapping[str, Deaths]) -> None:
        if not deaths:
            self._path.unlink(missing_ok=True)
            return
        told = [(*same, list(ids)) for same, ids in groupby(deaths, deaths.__getitem__)]
        part = self._path.with_suffix(".part")
        part.write_bytes(orjson.dumps({"subscription": self._subscription, "deaths": told}))
        os.replace(part, self._path)  # whole or not at all, whenever the process dies


def parted(received: list[Received], times: Mapping[str, int], most: int) -> list[Part]:
    """What nobody suspects in one run, suspects in runs of at most `most`, those of CHILD deaths and more apart.

    A killer is in hand with many the first time, with few the second, and alone in a child the third. Each part costs more
    than the one before it, so what can be stored is stored first.
    """
    fresh, once, more = list[Received](), list[Received](), list[Received]()
    for each in received:
        deaths = times.get(each[1].id, 0)
        (fresh if not deaths else once if deaths < CHILD else more).append(each)
    parts = [Part(fresh, last=False)] if fresh else []
    for suspects, in_child in ((once, False), (more, True)):
        parts += [Part(suspects[i:i + most], in_child, last=False) for i in range(0, len(suspects), most)]
    return [*parts[:-1], parts[-1]._replace(last=True)] if parts else [Part([])]
