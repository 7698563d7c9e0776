"""A DLP server and engines that talk to it."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.dlp_contract import Addresses, contract
from tests.dlp_server import Service, serve
from transforms.engines.dlp import Dlp, DlpEngine
from transforms.engines.local import LocalEngine
from transforms.engines.quota import Backoff
from transforms.keys import Keys

PATIENT = Backoff(first=0.001, most=0.02, attempt=300.0, total=3000.0)


class World:
    """The server, its address, and what makes engines. The rules are those of tests.dlp_contract where none are given."""

    def __init__(self, ring: Keys) -> None:
        self.ring, self.service = ring, Service(ring, inspector=lambda config: Addresses())
        self.server, self.address = serve(self.service)

    def config(self, of: Any = None, **changed: Any) -> DlpEngine:
        given = {"endpoint": self.address, "requests_per_minute": 10**7, "backoff": PATIENT}
        return DlpEngine(of or contract(), "penstock-demo", **(given | changed))

    def engine(self, of: Any = None, **changed: Any) -> Dlp:
        config = self.config(of, **changed)
        assert config.faults() == []
        engine = Dlp(config, draw=random.Random(1).random)
        engine.setup()
        return engine

    def local(self, of: Any = None) -> Any:
        engine = LocalEngine(of or contract(), self.ring, Addresses()).start()
        engine.setup()
        return engine

    def close(self) -> None:
        self.service.stopping.set()
        self.server.stop(0)


@contextmanager
def dlp_world(ring: Keys) -> Iterator[World]:
    """A world that is taken down afterwards."""
    world = World(ring)
    yield world
    world.close()
