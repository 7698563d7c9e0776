"""What every variant of the batch job shares: arguments, the clock, what it reports."""

import argparse
import json
import re
import time
from collections.abc import Callable
from pathlib import Path

from schemas.contract import Contract, load
from transforms.keys import Keys

SCORED_AS = ("score", "label")


def measured(job: Callable[[Contract, Keys, list[str], Path], int]) -> None:
    """Runs `job(contract, keys, input files, output folder) -> rows read` and prints one JSON line: wall and CPU seconds of
    the job itself (imports and interpreter left out), peak memory of the process in MB, rows read."""
    parser = argparse.ArgumentParser()
    parser.add_argument("input")
    parser.add_argument("output")
    parser.add_argument("keys")
    given = parser.parse_args()
    contract, keys = load("census"), Keys(given.keys)
    files = sorted(map(str, Path(given.input).glob("*.ndjson")))
    output = Path(given.output)
    wall, cpu = time.perf_counter(), time.process_time()
    rows = job(contract, keys, files, output)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    # getrusage would tell the peak of the process that started this one, where that was larger
    peak = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024  # type: ignore[index]
    print(json.dumps({"rows": rows, "wall": wall, "cpu": cpu, "peak_mb": peak}))
