"""How long from a message's publishing to the end of the commit that makes it visible, at a rate, with --wait."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.stream_broker import Topic, broker
from pipelines.sinks.lake import Lake
from pipelines.tools.sequence import Mix, sequence, stream_of
from schemas.contract import Contract

CASES = ((100, 0.2), (100, 1.0), (1_000, 0.2), (1_000, 1.0))  # messages a second, --wait in seconds
WARM = 3  # seconds that do not count: the first runs load the model


def table(contract: Contract, work: Path, rounds: int, seconds: int) -> list[dict[str, Any]]:
    """Percentiles of all the messages of the rounds, all cases in each; CPU as cores. Prints the table."""
    found: dict[tuple[int, float], list[dict[str, Any]]] = {case: [] for case in CASES}
    for round_ in range(rounds):
        with broker() as host:
            for number, case in enumerate(CASES):
                found[case].append(one(contract, Topic(host, f"live{round_}{number}", ["penstock"]), host, work, *case, seconds))
    out: list[dict[str, Any]] = []
    print(f"\nPublish to commit, {rounds} x {seconds} s")
    print(f"{'msg/s':>6}{'--wait':>8}{'p50 s':>8}{'p99 s':>8}{'p99 of rounds':>22}{'run s':>8}{'cores':>8}")
    for (rate, wait), each in found.items():
        late = sorted(x for run in each for x in run["latency"])
        row = {"rate": rate, "wait": wait, "p50": _at(late, 0.5), "p99": _at(late, 0.99), "rounds": [_at(sorted(run["latency"]), 0.99) for run in each],
               "run": statistics.median(run["run"] for run in each), "cores": statistics.median(run["cores"] for run in each)}
        out.append(row)
        print(f"{rate:6,}{wait:8}{row['p50']:8.2f}{row['p99']:8.2f}{', '.join(f'{x:.2f}' for x in row['rounds']):>22}{row['run']:8.2f}{row['cores']:8.2f}", flush=True)
    return out


def one(contract: Contract, topic: Topic, host: str, work: Path, rate: int, wait: float, seconds: int) -> dict[str, Any]:
    """Latencies of each message after the warm-up (seconds), the median time from one commit to the next, CPU seconds a second."""
    output = work / "live"
    shutil.rmtree(output, ignore_errors=True)
    total = rate * (WARM + seconds)
    bodies = [line.body for line in sequence(stream_of(contract.name, total, 7), contract, Mix(), 7)]
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.stream_penstock", host, topic.subscriptions["penstock"], output, work / "keys", str(total),
                                f"--wait={wait}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert process.stderr and process.stdout
    told: list[str] = []
    process.stderr.readline()  # it pulls
    threading.Thread(target=lambda: told.append(process.stderr.read()), daemon=True).start()
    began = time.time()
    sent = topic.publish_at(bodies, rate)
    report, _ = process.stdout.read(), process.wait()
    if process.returncode:
        raise SystemExit(f"the stream failed: {''.join(told)[-3000:]}")
    run = json.loads(report.splitlines()[-1])
    with closing(Lake.reader(str(output))) as reader:
        stored = reader.query("SELECT origin, number FROM lake.events JOIN lake.runs USING (run)").to_pydict()
    committed = run["committed"]
    latency = [committed[number - 1] - sent[origin.rsplit(":", 1)[1]] for origin, number in zip(stored["origin"], stored["number"])
               if sent[origin.rsplit(":", 1)[1]] >= began + WARM]
    counted = [at for at in committed if at >= began + WARM]
    return {"latency": latency, "run": statistics.median(b - a for a, b in pairwise(counted)), "cores": run["cpu"] / run["wall"]}


def _at(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
