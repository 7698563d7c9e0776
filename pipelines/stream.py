"""The stream job: on one machine bounded runs, repeated (pipelines.repeated_runs); for Dataflow one unbounded graph."""

import logging
import os
import secrets
import socket
from collections.abc import Callable
from datetime import datetime, timezone

from pipelines import stream_graph
from pipelines.keyfolder import open_keys
from pipelines.options import StreamOptions
from pipelines.repeated_runs import Stream
from pipelines.sinks.lake_stream import StreamLake
from pipelines.sources.pubsub import Subscription, subscriber
from pipelines.starting import Faults, beam_options, means_of
from schemas.contract import load


def run(options: StreamOptions, beam_arguments: list[str], job: Callable[..., Stream] = Stream) -> int:
    """Runs the job until it is told to end; exit code 0 where all that was taken is done and balanced, 1 where it failed.

    job: makes the Stream, for tests that kill it at its steps. Raises Misconfigured, with every fault, where it cannot run.
    """
    if options.runner == stream_graph.RUNNER:
        return stream_graph.run(options, beam_arguments)
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)  # its errors quote elements
    faults = Faults()
    given = faults.of(lambda: beam_options(options.runner, beam_arguments))
    contract = faults.of(lambda: load(options.contract, options.allow_unwrapped_keys))
    client = faults.of(lambda: subscriber(options.pubsub_endpoint))
    subscription = Subscription(client, options.subscription, options.max_messages) if client else None
    if subscription:
        faults.of(subscription.check)
    means = means_of(options, contract, faults, lambda: open_keys(options.keys, make=not faults.found))
    faults.stop()
    assert contract and given and means and subscription
    started = datetime.now(timezone.utc)
    name = f"{started:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    holder = f"the stream {name} of {options.subscription} (process {os.getpid()} on {socket.gethostname()})"
    with StreamLake(options.output, contract, name, holder) as lake:
        stream = job(options, contract, means, given, lake, subscription, started)
        return stream.go()
