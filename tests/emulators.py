"""`make emulators`: Pub/Sub, Cloud Storage and BigQuery on this machine until ^C: python -m tests.emulators [--pubsub_port=8086 ...]

Pub/Sub is Google's emulator where the Google Cloud CLI has it, else our broker; Cloud Storage is gcp-storage-emulator; BigQuery is
ours: bqemulator does not know `table$day`, by which a batch replaces a day. All keep what they hold in memory.
"""

import argparse
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from tests import gcs_emulator, pubsub_emulator
from tests.bigquery_server import BigQuery
from tests.bigquery_write_server import BigQueryWrite
from tests.pubsub_server import Broker

DATASET, RESTRICTED, BUCKET = "project.dataset", "project.restricted", gcs_emulator.BUCKET
PORTS = {"pubsub_port": 8086, "storage_port": 9023, "bigquery_port": 9050, "bigquery_storage_port": 9060}


class Cloud(NamedTuple):
    """Where the emulators answer: what a shell exports, and which Pub/Sub it is."""

    exports: dict[str, str]
    pubsub: str


@contextmanager
def cloud(pubsub_port: int = 0, storage_port: int = 0, bigquery_port: int = 0, bigquery_storage_port: int = 0, own_broker: bool = False,
          clock: Callable[[], float] = time.monotonic) -> Iterator[Cloud]:
    """All of them, ended in order; port 0: one that is free; clock: of the ack deadlines of our broker. Raises TimeoutError or OSError where one does not start, FileNotFoundError
    where there is no emulator of Cloud Storage.
    """
    with ExitStack() as stack:
        bucket = stack.enter_context(gcs_emulator.emulator(port=storage_port))
        if bucket is None:
            raise FileNotFoundError(gcs_emulator.MISSING)
        host = None if own_broker else stack.enter_context(pubsub_emulator.emulator(port=pubsub_port))
        pubsub = "Google's emulator" if host else "our broker"
        if host is None:
            broker = Broker(pubsub_port, clock=clock, first_id=time.time_ns() // 1000)
            stack.callback(broker.close)
            host = broker.host
        bigquery = stack.enter_context(BigQuery(DATASET.partition(".")[0], gcs=bucket.url, port=bigquery_port))
        write = stack.enter_context(BigQueryWrite(bigquery.store, bigquery_storage_port))
        for name in (DATASET, RESTRICTED):
            bigquery.store.make_dataset(name.partition(".")[2], {})
        yield Cloud({"PUBSUB_EMULATOR_HOST": host, "STORAGE_EMULATOR_HOST": bucket.url, "BIGQUERY_EMULATOR_HOST": bigquery.url,
                     "BIGQUERY_STORAGE_EMULATOR_HOST": write.host}, pubsub)


def main() -> int:
    """Runs them until a signal; exit code 1 where one does not start."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, port in PORTS.items():
        parser.add_argument(f"--{name}", type=int, default=port)
    parser.add_argument("--own_broker", action="store_true", help="our broker, also where Google's Pub/Sub emulator is there")
    given = parser.parse_args()
    end = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: end.set())
    try:
        with cloud(**vars(given)) as found:
            print("\n".join(f"export {name}={value}" for name, value in found.exports.items()))
            print(f"\nCopy these lines into other terminals. Pub/Sub is {found.pubsub}; the bucket is gs://{BUCKET}, the dataset bq://{DATASET}, "
                  f"one for values in clear bq://{RESTRICTED}; ^C ends them all.",
                  flush=True)
            end.wait()
    except (OSError, RuntimeError) as error:
        print(f"the emulators did not start: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
