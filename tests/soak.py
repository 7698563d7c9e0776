"""Runs the stream for long and looks at what it takes: python -m tests.soak --minutes=10 --rate=1000

A broker, a publisher and the stream, a process each, events as they happen: repeated, disputed, broken, out of order. Every
ten seconds memory, threads and descriptors of the stream, files of its tables and the backlog are printed. After a warm-up
memory may grow by what the job keeps of each stored row (24 bytes, for as long as the contract's horizon) and SLACK more;
threads and descriptors may not. At the end the books must be those of the publisher, and the broker must have nothing left.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.sinks.lake import Lake
from schemas import contract as contracts
from tests.pubsub_server import Broker

TOPIC, SUBSCRIPTION = "projects/penstock-soak/topics/soak", "projects/penstock-soak/subscriptions/soak"
EVERY, WARM_UP, PATIENCE = 10.0, 120.0, 120.0  # seconds
KEPT, SLACK = 24, 1.0  # bytes of a stored row; MB a minute


class Look(NamedTuple):
    """seconds since the start; memory in MB (resident, shared pages in part: Pss), threads, descriptors, files, messages not yet acknowledged."""

    seconds: float
    memory: float
    threads: int
    descriptors: int
    files: int
    backlog: int


def main() -> int:
    """Exit code 1 where something grows, or where books and counts disagree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=int, default=1_000)
    parser.add_argument("--contract", default="gaming")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="penstock-soak-"))
    try:
        return soak(folder, given.contract, given.minutes, given.rate)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def soak(folder: Path, contract: str, minutes: float, rate: int) -> int:
    """The whole of it, in a folder that holds nothing."""
    with Broker() as broker:
        broker.create(TOPIC, SUBSCRIPTION)
        environment = os.environ | {"PUBSUB_EMULATOR_HOST": broker.host, "PENSTOCK_KEYS": str(folder / "keys")}
        stream = _penstock(environment, folder / "stream.log", "stream", f"--contract={contract}", f"--subscription={SUBSCRIPTION}", f"--output={folder / 'out'}")
        publish = _penstock(environment, folder / "publish.log", "publish", contract, f"--topic={TOPIC}", f"--rate={rate}", "--now", "--rows=1000000000",
                            "--repeats=0.05", "--conflicts=0.001", "--malformed=0.005", "--disorder=10s", f"--truth={folder / 'truth.json'}")
        try:
            looks = _looks(stream, folder / "out", broker, minutes * 60)
            publish.send_signal(signal.SIGINT)
            published = publish.wait(PATIENCE)
            until = time.monotonic() + PATIENCE
            while time.monotonic() < until and _backlog(broker) and stream.poll() is None:
                time.sleep(0.5)
            stream.send_signal(signal.SIGTERM)
            ended = stream.wait(PATIENCE)
        finally:
            for child in (publish, stream):
                if child.poll() is None:
                    child.kill()
                    child.wait()
        if published or ended:
            print(f"publish ended with {published}, stream with {ended}: {(folder / 'stream.log').read_text()[-2_000:]}")
            return 1
        return int(not all([_flat(looks, rate, contract), _agree(folder, broker)]))


def _looks(stream: "subprocess.Popen[bytes]", out: Path, broker: Broker, seconds: float) -> list[Look]:
    start, looks = time.monotonic(), list[Look]()
    print(f"{'seconds':>8}{'MB':>9}{'threads':>9}{'descriptors':>13}{'files':>8}{'backlog':>9}", flush=True)
    while time.monotonic() - start < seconds and stream.poll() is None:
        time.sleep(EVERY - (time.monotonic() - start) % EVERY)
        process = Path("/proc") / str(stream.pid)
        try:
            rollup = (process / "smaps_rollup").read_text().split()
            looks.append(Look(time.monotonic() - start, int(rollup[rollup.index("Pss:") + 1]) / 1024, len(list((process / "task").iterdir())),
                              len(list((process / "fd").iterdir())), sum(1 for _ in out.rglob("*.parquet")), _backlog(broker)))
        except (FileNotFoundError, ProcessLookupError):
            continue  # a file went while it was counted, or the stream has ended
        told = looks[-1]
        print(f"{told.seconds:8.0f}{told.memory:9.1f}{told.threads:9}{told.descriptors:13}{told.files:8}{told.backlog:9}", flush=True)
    return looks


def _flat(looks: list[Look], rate: int, contract: str) -> bool:
    """Whether nothing grows after the warm-up."""
    end = looks[-1].seconds if looks else 0.0
    after = [look for look in looks if look.seconds > min(WARM_UP, end / 2)]
    if len(after) < 3:
        print("too few looks: give more minutes")
        return False
    by_design = rate * 60 * KEPT / 1e6
    # The median slope between two looks (Theil-Sen), not least squares: every 100 runs upkeep takes up to 90 MB for a moment, and one look that falls
    # on it late in ten minutes moves a least-squares slope by 1.2 MB a minute. Growth that is steady is the same by both.
    slope = statistics.median((b.memory - a.memory) / (b.seconds - a.seconds) * 60 for a, b in combinations(after, 2))
    flat = slope <= by_design + SLACK
    print(f"memory: {after[0].memory:,.0f} MB after the warm-up, {after[-1].memory:,.0f} at the end, {slope:+.2f} a minute, "
          f"{'flat' if flat else 'GROWS'} (at most {by_design + SLACK:.1f})")
    for name in ("threads", "descriptors"):
        first, last = (statistics.median(getattr(look, name) for look in part) for part in (after[:len(after) // 2], after[len(after) // 2:]))
        flat &= last <= first + 1
        print(f"{name}: {first:g} in the first half after the warm-up, {last:g} in the second (medians), {'flat' if last <= first + 1 else 'GROWS'}")
    print(f"of the memory {by_design:.1f} MB a minute are the marks of stored rows, kept for the horizon of {contract}: {contracts.load(contract).horizon}")
    return flat


def _agree(folder: Path, broker: Broker) -> bool:
    """Whether the ledger says what the publisher says, and the broker has nothing left."""
    truth: dict[str, Any] = json.loads((folder / "truth.json").read_text())
    reader = Lake.reader(str(folder / "out"))
    runs = reader.query("SELECT * FROM runs").to_pylist()
    (tables,) = reader.query("SELECT (SELECT count(*) FROM events) AS stored, (SELECT count(*) FROM failures WHERE stage <> 'window') AS refused").to_pylist()
    (twice,) = reader.query("SELECT count(*) - count(DISTINCT id_hash) AS n FROM events").to_pylist()
    reader.close()
    books = {name: sum(run[name] for run in runs) for name in ("read", "stored", "repeated", "refused", "late")}
    reasons = sum((Counter(json.loads(run["reasons"])) for run in runs), Counter[str]())
    counts = broker.counts(SUBSCRIPTION)
    again = books["read"] - counts.published
    print(f"books of {len(runs):,} runs: {books}; published: {truth['read']:,}; broker: {counts._asdict()}")
    checks = {"each run balances": all(run["balanced"] for run in runs), "read = stored + repeated + refused": books["read"] == sum(
                  books[name] for name in ("stored", "repeated", "refused")),
              "stored as published": books["stored"] == truth["stored"] == tables["stored"], "nothing stored twice": twice["n"] == 0,
              "refused as published": books["refused"] == truth["refused"] == tables["refused"] and dict(reasons) == truth["reasons"],
              "repeated as published, and what came again": books["repeated"] == truth["repeated"] + again, "broker has nothing left": _backlog(broker) == 0,
              "nothing late": books["late"] == 0}
    for name, right in checks.items():
        print(f"{'yes' if right else 'NO '}  {name}")
    return all(checks.values())


def _backlog(broker: Broker) -> int:
    counts = broker.counts(SUBSCRIPTION)
    return counts.backlog + counts.outstanding


def _penstock(environment: dict[str, str], log: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    with log.open("wb") as out:
        return subprocess.Popen([sys.executable, "-m", "pipelines", *arguments], env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out)


if __name__ == "__main__":
    sys.exit(main())
