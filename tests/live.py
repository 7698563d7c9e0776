"""`make stream`: a broker, a publisher, the stream job and a view of its tables, until ^C: python -m tests.live OUT

Temperatures of a machine in 2013 and 2014 are sent a hundred times a second, so that an hour of them passes in a moment,
and each closed hour is scored. ^C ends the publisher, then the stream (which finishes and commits the run in hand), then
the broker.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from pipelines.sinks.lake import Lake
from schemas.errors import Misconfigured
from tests.pubsub_server import Broker

TOPIC, SUBSCRIPTION = "projects/penstock-demo/topics/telemetry", "projects/penstock-demo/subscriptions/telemetry"
EVERY = 2.0  # seconds between two looks


def main(out: Path) -> int:
    """Runs until ^C; answers the exit code of the stream."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    stopped = False

    def stop(*_: object) -> None:
        nonlocal stopped
        stopped = True

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    broker = Broker()
    broker.create(TOPIC, SUBSCRIPTION)
    environment = os.environ | {"PUBSUB_EMULATOR_HOST": broker.host, "PENSTOCK_KEYS": str(out / "keys")}
    publisher = _penstock(environment, "publish", "telemetry", f"--topic={TOPIC}", "--rows=10000000", "--rate=100", "--repeats=0.05",
                          "--late=0.002", f"--truth={out / 'truth.json'}")
    stream = _penstock(environment, "stream", "--contract=telemetry", f"--subscription={SUBSCRIPTION}", f"--output={out / 'tables'}", "--wait=500ms")
    try:
        while not stopped and stream.poll() is None:
            time.sleep(EVERY)
            _show(out / "tables")
    finally:
        for child in (publisher, stream):
            if child.poll() is None:
                child.send_signal(signal.SIGINT)
            child.wait()
        broker.close()
    print(f"\nthe stream ended with {stream.returncode}; its tables stay: penstock query {out / 'tables'} \"select * from windows\"")
    return stream.returncode


def _penstock(environment: dict[str, str], *arguments: str) -> "subprocess.Popen[bytes]":
    """A process of its own group, so that a ^C in the terminal reaches this program alone, which passes it on in order."""
    return subprocess.Popen([sys.executable, "-m", "pipelines", *arguments], env=environment, stdin=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL, start_new_session=True)


def _show(tables: Path) -> None:
    try:
        reader = Lake.reader(str(tables))
    except Misconfigured:
        print("the tables are being made ...", flush=True)
        return
    try:
        (books,) = reader.query("""SELECT coalesce(sum(read), 0) AS read, coalesce(sum(stored), 0) AS stored, coalesce(sum(repeated), 0) AS repeated,
                                   coalesce(sum(refused), 0) AS refused, coalesce(sum(late), 0) AS late, count(*) AS runs, max(watermark) AS watermark
                                   FROM runs""").to_pylist()
        hours = reader.query("""SELECT window_start, key, mean, lowest, prediction, label FROM windows ORDER BY window_start DESC LIMIT 5""").to_pylist()
        (flagged,) = reader.query("SELECT count(*) AS windows, count(*) FILTER (WHERE label) AS flagged FROM windows").to_pylist()
    finally:
        reader.close()
    if sys.stdout.isatty():
        print("\x1b[2J\x1b[H", end="")
    print(f"{books['read']:,} read = {books['stored']:,} stored + {books['repeated']:,} repeated + {books['refused']:,} refused   "
          f"{books['late']:,} late   {books['runs']:,} runs   watermark {books['watermark']}")
    print(f"{flagged['windows']:,} hours, {flagged['flagged']:,} of them flagged. The latest:")
    for hour in hours:
        print(f"  {hour['window_start']:%Y-%m-%d %H:%M}  {hour['key']}  mean {hour['mean']:6.2f}  lowest {hour['lowest']:6.2f}  "
              f"score {hour['prediction'] or 0:.3f}{'  <- out of the ordinary' if hour['label'] else ''}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
