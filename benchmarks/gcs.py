"""GCS against local files: what a bare download takes, our reader, and the batch job: `python -m benchmarks.gcs [--rows=100000] [--runs=5]`.

On gcp-storage-emulator (`make emulators-env`), runs interleaved, every job in a process of its own. The emulator is one Python
process that answers one request after the other: curl shows what it can give, and its work is in the wall time of whoever
reads from it. The aim is 0.9 or more of the local rate. The link to a real bucket is not measured here.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pipelines.sources.files import Broken, groups, listed, opened, ranges, read
from pipelines.tools.generate import write
from tests.gcs_emulator import BUCKET, MISSING, Bucket, emulator

READINGS = 5  # of all files, in each run: one takes a tenth of a second


class Cost(NamedTuple):
    """Seconds on the clock, seconds of CPU, greatest memory in MB."""

    wall: float
    cpu: float
    memory: float


def command(*words: str) -> Cost:
    began = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{words[0]} ended with exit code {process.returncode}")
    return Cost(time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def job(folder: Path, source: str, *more: str) -> Cost:
    shutil.rmtree(folder / "out", ignore_errors=True)
    return command(sys.executable, "-m", "pipelines", "batch", "--contract=census", f"--input={source}", f"--output={folder}/out",
                   f"--keys={folder}/keys", *more)


def reading(rows: int, source: str, endpoint: str = "") -> Cost:
    """All rows, in blocks as the job has them, in this process; nothing is done with them."""
    began, used, found = time.perf_counter(), time.process_time(), 0
    for _ in range(READINGS):
        for group in groups(ranges(listed(source, endpoint))):
            for piece, file in opened(group, endpoint):
                found += sum(1 if isinstance(part, Broken) else part.rows for part in read(piece, file=file))
    if found < READINGS * rows:
        raise RuntimeError(f"{found:,} rows were read of {rows:,}")
    return Cost((time.perf_counter() - began) / READINGS, (time.process_time() - used) / READINGS, 0.0)


def plan(folder: Path, bucket: Bucket, rows: int) -> dict[str, Callable[[], Cost]]:
    """What is compared, two by two: the local one, then the same from GCS."""
    files = sorted((folder / "in").glob("*.ndjson"))
    for file in files:
        bucket.put(f"in/{file.name}", file.read_bytes())
    there, here, endpoint = f"gs://{BUCKET}/in/*", f"{folder}/in/*.ndjson", f"--storage_endpoint={bucket.url}"
    urls = [f"{bucket.url}/download/storage/v1/b/{BUCKET}/o/in%2F{file.name}?alt=media" for file in files]
    bare: dict[str, Callable[[], Cost]] = {
        "cat of the files": lambda: command("cat", *map(str, files)),
        "curl of the objects": lambda: command("curl", "--silent", "--fail", *urls)}
    return (bare if shutil.which("curl") else {}) | {
        "rows of the files": lambda: reading(rows, here), "rows of the objects": lambda: reading(rows, there, bucket.url),
        "batch job, files": lambda: job(folder, here), "batch job, objects": lambda: job(folder, there, endpoint)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, emulator() as bucket:
        if bucket is None:
            print(MISSING)
            return
        write("census", given.rows, 7, Path(place) / "in")
        size = sum(file.stat().st_size for file in (Path(place) / "in").iterdir()) / 1e6
        variants = plan(Path(place), bucket, given.rows)
        costs: dict[str, list[Cost]] = {name: [] for name in variants}
        for _ in range(given.runs):
            for name, run in variants.items():
                costs[name].append(run())
    print(f"\n| {given.rows:,} rows, {size:,.0f} MB | s | MB/s | rows/s | CPU s | of the local rate | of the local CPU |\n|---|---|---|---|---|---|---|")
    local: list[Cost] = []
    for number, (name, found) in enumerate(costs.items()):
        wall, cpu, _ = map(statistics.median, zip(*found, strict=True))
        line = f"| {name} | {wall:.3f} | {size / wall:,.0f} | {given.rows / wall:,.0f} | {cpu:.3f} |"
        if number % 2:
            rates, cpus = ([a[i] / b[i] for a, b in zip(local, found)] for i in (0, 1))
            line += f" {statistics.median(rates):.2f} ({min(rates):.2f} to {max(rates):.2f}) | {1 / statistics.median(cpus):.2f} |"
        else:
            local, line = found, f"{line} | |"
        print(line)
    jobs = [f"{statistics.median(cost.memory for cost in costs[name]):,.0f} MB" for name in ("batch job, files", "batch job, objects")]
    print(f"\nGreatest memory of the jobs: {' and '.join(jobs)}.")


if __name__ == "__main__":
    main()
