"""A backfill of local days by one process, two and four: wall time, CPU, peak memory of each process, the load of the machine.

    python -m benchmarks.backfill [--days=16] [--rows=100000] [--parallel=1,2,4]

Each day is a file of census events; every variant starts with new tables, and all must store the same rows (each day's fingerprint).
Start-up and imports of each process are in the time, as they are for a user. Writes build/bench_backfill.json.
"""

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import threading
import time
from datetime import date, timedelta
from pathlib import Path

from pipelines.tools.generate import write
from transforms import keys

BUILD, FIRST = Path("build"), date(2026, 11, 1)
_EVERY = 0.2  # seconds


def main() -> int:
    """Prints the table; exit code 1 where two variants stored different rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=16)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--parallel", default="1,2,4")
    given = parser.parse_args()
    work = BUILD / "bench_backfill"
    shutil.rmtree(work, ignore_errors=True)
    keys.make(work / "keys")
    _days(work / "raw", given.days, given.rows)
    results, prints = [], set()
    for parallel in map(int, given.parallel.split(",")):
        found, fingerprints = _one(work, given.days, parallel)
        prints.add(fingerprints)
        results.append(found | {"days": given.days, "rows": given.rows, "parallel": parallel, "faster": results[0]["wall"] / found["wall"] if results else 1.0})
        print("{parallel} at once: {wall:7.1f} s   {rate:9,.0f} rows/s   {faster:.2f} times   {cpu_a_day:5.1f} s of CPU a day   peak {peak_mb:,.0f} MB a day's process, "
              "{own_mb:,.0f} MB the backfill's own, {sum_mb:,.0f} MB together   load {load:.1f} before".format_map(
                  results[-1] | {"rate": given.days * given.rows / found["wall"], "cpu_a_day": found["cpu"] / given.days}), flush=True)
    (BUILD / "bench_backfill.json").write_text(json.dumps(results, indent=1))
    shutil.rmtree(work)
    return 0 if len(prints) == 1 else 1


def _days(raw: Path, days: int, rows: int) -> None:
    """A folder of other events for each day."""
    for n in range(days):
        day = FIRST + timedelta(days=n)
        write("census", rows, 100 + n, raw / str(day), day=day)


def _one(work: Path, days: int, parallel: int) -> tuple[dict[str, float], str]:
    """Seconds and megabytes of one backfill, and the fingerprints of its days as one text."""
    output = work / "out"
    shutil.rmtree(output, ignore_errors=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    load, begun = os.getloadavg()[0], time.perf_counter()
    job = subprocess.Popen([sys.executable, "-m", "pipelines", "backfill", "--contract=census", f"--input={work}/raw/{{partition}}/*.ndjson", f"--output={output}",
                            f"--keys={work}/keys", f"--from={FIRST}", f"--to={FIRST + timedelta(days=days - 1)}", f"--parallel={parallel}", "--json"],
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    peaks: dict[int, float] = {}
    together: list[float] = [0.0]
    watch = threading.Thread(target=_watch, args=(job, peaks, together))
    watch.start()
    out, err = job.communicate()
    wall = time.perf_counter() - begun
    watch.join()
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = now.ru_utime + now.ru_stime - before.ru_utime - before.ru_stime
    if job.returncode:
        raise SystemExit(f"the backfill failed:\n{err[-3000:]}")
    told = json.loads(out.splitlines()[-1])["days"]
    own = peaks.pop(job.pid)
    return ({"wall": wall, "cpu": cpu, "load": load, "peak_mb": max(peaks.values()), "own_mb": own, "sum_mb": max(together)},
            " ".join(f"{day}:{row['fingerprint']}" for day, row in sorted(told.items())))


def _watch(job: subprocess.Popen[str], peaks: dict[int, float], together: list[float]) -> None:
    """Peak resident megabytes of the job and each of its children, and of all at once."""
    while job.poll() is None:
        now = 0.0
        for pid in [job.pid, *_children(job.pid)]:
            try:
                status = Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue
            peak, resident = re.search(r"VmHWM:\s+(\d+)", status), re.search(r"VmRSS:\s+(\d+)", status)
            if peak and resident:
                peaks[pid] = max(peaks.get(pid, 0.0), int(peak[1]) / 1024)
                now += int(resident[1]) / 1024
        together.append(now)
        time.sleep(_EVERY)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, task.read_text().split())
        except OSError:
            continue
    return found


if __name__ == "__main__":
    sys.exit(main())
