"""The stream job: on one machine bounded runs, repeated (pipelines.repeated_runs); for Dataflow one unbounded graph."""

import logging
import os
import secrets
import socket
from collections.abc import Callable
from datetime import datetime, timezone
from typing import NamedTuple

import pyarrow as pa

from pipelines import stream_graph
from pipelines.contracts import load
from pipelines.launch.submitting import RUNNER
from pipelines.options import StreamOptions
from pipelines.repeated_runs import Stream
from pipelines.sinks.bigquery_stream import StreamDataset, StreamTarget
from pipelines.sinks.lake import Lake
from pipelines.sinks.lake_stream import StreamLake
from pipelines.sources.pubsub import Subscription, subscriber
from pipelines.starting import Faults, beam_options, means_for
from schemas.contract import Contract
from schemas.errors import Fault, Misconfigured
from transforms.keys import Keys


def run(options: StreamOptions, beam_arguments: list[str], job: Callable[..., Stream] = Stream) -> int:
    """Runs the job until it is told to end; exit code 0 where all that was taken is done and balanced, 1 where it failed.

    job: makes the Stream, for tests that kill it at its steps. Raises Misconfigured, with every fault, where it cannot run.
    """
    if options.runner == RUNNER:
        return stream_graph.run(options, beam_arguments)
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)  # its errors quote elements
    faults = Faults()
    given = faults.of(lambda: beam_options(options.runner, beam_arguments))
    contract = faults.of(lambda: load(options.contract, options.allow_unwrapped_keys, options.storage_endpoint))
    client = faults.of(lambda: subscriber(options.pubsub_endpoint))
    subscription = Subscription(client, options.subscription, options.max_messages) if client else None
    if subscription:
        faults.of(subscription.check)
    found = faults.of(lambda: _tables(options, contract)) if contract else None
    held = found.held if found else None
    means = means_for(options, contract, faults, held)
    faults.stop()
    assert contract and given and means and subscription and found
    started = datetime.now(timezone.utc)
    name = f"{started:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    with found.open(name, means.keys) as tables:
        return job(options, contract, means, given, tables, subscription, started).go()


class _Tables(NamedTuple):
    """held: id and id_hash of some events that they hold; open: opens them, given the stream's name and the keys."""

    held: pa.Table
    open: Callable[[str, Keys], StreamLake | StreamDataset]


def _tables(options: StreamOptions, contract: Contract) -> _Tables:
    """Raises Misconfigured where they are none that a stream can write."""
    if not options.output.startswith("bq://"):
        by = f"(process {os.getpid()} on {socket.gethostname()})"
        return _Tables(Lake.ids(options.output, contract),
                       lambda name, keys: StreamLake(options.output, contract, name, f"the stream {name} of {options.subscription} {by}"))
    if options.write != "storage_write":
        raise Misconfigured([Fault("--write", f"{options.write} is a way of the streaming graph", "leave it out: on one machine each run is one pending stream "
                                   f"a table; or give --runner={RUNNER}")])
    target = StreamTarget.of(options.output, contract, options.bigquery_endpoint, options.bigquery_storage_endpoint)
    return _Tables(target.ids(), lambda name, keys: StreamDataset(target, name, options.subscription, keys.public_pem()))
