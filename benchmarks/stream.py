"""`make bench`, streams: the stream job on one machine against a loop, the same columns without Beam, and Beam's own streaming.

    python -m benchmarks.stream [--messages=60000] [--rounds=3] [--seconds=10] [--only=throughput,latency,windows]

Prints three tables (medians; the variants of a round one after the other) and writes build/bench_stream.json. Each variant is a
process, reads a fresh subscription of a broker that is a process too, and all find the same messages there. (a), (b) and (c)
must store the same: their tables have one digest and one set of books, or the run fails.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import stream_latency, stream_windows
from benchmarks.stream_broker import Topic, broker
from benchmarks.stream_stored import disputed, stored
from pipelines.tools.sequence import Mix, sequence, stream_of
from schemas.contract import Contract, load
from transforms import keys

VARIANTS = {"penstock": "(a) penstock stream", "loop": "(b) plain loop", "columns": "(c) columns, no Beam", "stock": "(d) Beam's own streaming"}
STOCK = 4_000  # messages: it is slow
BUILD = Path("build")


def main() -> int:
    """Runs the tables that are asked for; exit code 1 where two variants stored different rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=10, help="of each round at each rate")
    parser.add_argument("--only", default="throughput,latency,windows")
    given = parser.parse_args()
    asked = given.only.split(",")
    work = BUILD / "bench_stream"
    shutil.rmtree(work, ignore_errors=True)
    keys.make(work / "keys")
    contract, results = load("census"), dict[str, Any]()
    if "throughput" in asked:
        results["throughput"] = throughput(contract, work, given.messages, given.rounds)
    if "latency" in asked:
        results["latency"] = stream_latency.table(contract, work, given.rounds, given.seconds)
    if "windows" in asked:
        results["windows"] = stream_windows.table(30_000, given.rounds)
    shutil.rmtree(work)
    (BUILD / "bench_stream.json").write_text(json.dumps(results, indent=1))
    return 0


def messages(contract: Contract, number: int) -> list[bytes]:
    """Events as JSON: 3 % repeats, 0.3 % conflicts, 1 % broken."""
    rows = int(number / 1.043) + 100
    lines = sequence(stream_of(contract.name, rows, 7), contract, Mix(0.03, 0.003, 0.01), 7)
    return [line.body for line in lines][:number]


def throughput(contract: Contract, work: Path, number: int, rounds: int) -> list[dict[str, Any]]:
    """msg/s and CPU from the first pull to the last acknowledgement. Raises SystemExit where two variants stored different rows."""
    bodies = messages(contract, number)
    apart = disputed(contract, bodies)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in VARIANTS}
    for round_ in range(rounds):
        found = {}
        with broker() as host:
            topic = Topic(host, f"round{round_}", [name for name in VARIANTS if name != "stock"])
            topic.publish(bodies)
            few = Topic(host, f"few{round_}", ["stock"])
            few.publish(bodies[:STOCK])
            for name in VARIANTS:
                output = work / f"out-{name}"
                shutil.rmtree(output, ignore_errors=True)
                whole = name != "stock"
                subscription = (topic if whole else few).subscriptions[name]
                runs[name].append(one(name, host, subscription, output, work / "keys", number if whole else STOCK))
                if whole:
                    found[name] = stored(output, contract, apart)
                shutil.rmtree(output)
        if len(set(found.values())) != 1:
            raise SystemExit(f"the variants stored different rows: {found}")
    return _rows(runs)


def one(name: str, host: str, subscription: str, output: Path, key_folder: Path, number: int) -> dict[str, Any]:
    """What a variant reports of so many messages. Raises SystemExit where it fails."""
    done = subprocess.run([sys.executable, "-m", f"benchmarks.stream_{name}", host, subscription, output, key_folder, str(number)],
                          capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
    reported: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return reported


def _rows(runs: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Ratios are medians of those within a round."""
    rate = {name: [run["messages"] / run["wall"] for run in each] for name, each in runs.items()}
    cpu = {name: [run["cpu"] / run["messages"] * 1_000 for run in each] for name, each in runs.items()}
    out: list[dict[str, Any]] = []
    print(f"\nThe census job, {runs['penstock'][0]['messages']:,} messages ((d): {STOCK:,}); median of {len(runs['penstock'])} rounds")
    print(f"{'variant':26}{'msg/s':>8}{'spread':>8}{'CPU s/1,000':>13}{'peak MB':>9}{'(a) has x its msg/s':>21}{'x its CPU':>11}")
    for name, title in VARIANTS.items():
        middle = statistics.median(rate[name])
        row = {"variant": name, "msg_per_s": middle, "spread": (max(rate[name]) - min(rate[name])) / middle, "cpu_s_per_1000": statistics.median(cpu[name]),
               "peak_mb": statistics.median(run["peak_mb"] for run in runs[name]),
               "ratio": statistics.median(a / own for a, own in zip(rate["penstock"], rate[name])),
               "ratio_cpu": statistics.median(a / own for a, own in zip(cpu["penstock"], cpu[name])), "runs": runs[name]}
        out.append(row)
        print(f"{title:26}{middle:8,.0f}{row['spread']:8.0%}{row['cpu_s_per_1000']:13.4f}{row['peak_mb']:9.0f}{row['ratio']:21.2f}{row['ratio_cpu']:11.2f}", flush=True)
    return out


if __name__ == "__main__":
    sys.exit(main())
