"""A backfill from Cloud Storage into BigQuery on the emulators, killed with SIGKILL and called again: python -m tests.cloud_backfill --days=30 --rows=10000

Each day's fingerprint must be that of a backfill which nothing disturbed, each day's rows must be there once, its books must balance
and stand once in the ledger, and no day may still be held.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

from pipelines.sinks.bigquery import dataset
from pipelines.sinks.bigquery_client import Patience, connect
from pipelines.sinks.bigquery_jobs import Place, query
from pipelines.sinks.bigquery_lease import PREFIX
from tests.emulators import cloud
from tests.runs import REPOSITORY

FIRST = date(2026, 11, 1)
WHOLE, KILLED = "bq://project.whole", "bq://project.killed"


class Story(NamedTuple):
    """What came of it: fingerprints by day of the undisturbed backfill and of the killed one, in its own words and as counted in the
    tables; days done at each kill; what is wrong, in words; seconds of both.
    """

    whole: dict[str, str]
    killed: dict[str, str]
    kills: list[int]
    wrong: list[str]
    seconds: tuple[float, float]


def story(folder: Path, days: int, rows: int, parallel: int, kills: int) -> Story:
    """Runs both backfills; the second one is killed so often, at about equal shares of its days."""
    with cloud(own_broker=True) as found:
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PENSTOCK_KEYS": str(folder / "keys"), **found.exports}
        client = connect("project", found.exports["BIGQUERY_EMULATOR_HOST"])
        listed = [FIRST + timedelta(days=n) for n in range(days)]
        for output in (WHOLE, KILLED):
            client.create_dataset(dataset(output).name, retry=None)
            _done(folder, environment, "tables", "--contract=census", f"--output={output}", "--apply")
        _done(folder, environment, "generate", "census", f"--rows={rows}", f"--partition={','.join(map(str, listed))}", "--output=gs://raw/in")
        given = ["backfill", "--contract=census", "--input=gs://raw/in/{partition}/*.ndjson", f"--from={listed[0]}", f"--to={listed[-1]}", f"--parallel={parallel}",
                 "--json"]
        began = time.perf_counter()
        whole = _days(_done(folder, environment, *given, f"--output={WHOLE}"))
        between = time.perf_counter()
        at = [_kill(folder, environment, [*given, f"--output={KILLED}"], 1 + n * days // (kills + 1)) for n in range(kills)]
        killed = _days(_done(folder, environment, *given, f"--output={KILLED}"))
        seconds = between - began, time.perf_counter() - between
        return Story(whole, killed, at, _wrong(Place(client, "EU", Patience()), whole, killed), seconds)


def _done(folder: Path, environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", "pipelines", *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"penstock {arguments[0]} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def _days(out: str) -> dict[str, str]:
    return {day: row["fingerprint"] for day, row in json.loads(out.splitlines()[-1])["days"].items()}


def _kill(folder: Path, environment: dict[str, str], arguments: list[str], until: int) -> int:
    """Kills a backfill when it tells that so many days are done, with others in hand; answers how many it told."""
    job = subprocess.Popen([sys.executable, "-m", "pipelines", *arguments], cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert job.stderr is not None
    told = 0
    try:
        for line in job.stderr:
            told = int(line.rpartition("(")[2].split()[0]) if line.rstrip().endswith("days)") else told
            if told >= until:
                break
    finally:
        job.kill()
        job.communicate()
    return told


def _wrong(place: Place, whole: dict[str, str], killed: dict[str, str]) -> list[str]:
    """What is not as it must be, in words."""
    found = [f"{day}: another fingerprint" for day in sorted(whole) if killed.get(day) != whole[day]]
    there = {output: query(place, f"""SELECT d, COUNT(*) AS n, COUNT(DISTINCT id_hash) AS ids, SUM(CAST(content_hash AS BIGNUMERIC)) AS contents
                                      FROM `project.{dataset(output).name}.events` GROUP BY d ORDER BY d""") for output in (WHOLE, KILLED)}
    if there[WHOLE] != there[KILLED]:
        found.append("the tables hold other rows")
    found += [f"{row['d']}: a row stands twice" for row in there[KILLED] if row["n"] != row["ids"]]
    books = query(place, "SELECT partitions, COUNT(*) AS n, SUM(CASE WHEN balanced THEN 1 ELSE 0 END) AS balanced FROM `project.killed.runs` GROUP BY partitions")
    found += [f"{row['partitions']}: {row['n']} rows in the ledger, {row['balanced']} of them balanced" for row in books if (row["n"], row["balanced"]) != (1, 1)]
    if len(books) != len(whole):
        found.append(f"{len(books)} days are in the ledger, {len(whole)} were asked for")
    found += [f"{table.table_id} is still held" for table in place.client.list_tables("project.killed") if table.table_id.startswith(PREFIX)]
    return found


def main() -> int:
    """Prints what came of it; exit code 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--parallel", type=int, default=2)
    parser.add_argument("--kills", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        told = story(Path(folder), given.days, given.rows, given.parallel, given.kills)
    print("\n".join(f"{day}  {told.whole[day]}  {told.killed.get(day)}" for day in sorted(told.whole)))
    print(f"{given.days} days of {given.rows:,} rows, {given.parallel} at once: {told.seconds[0]:,.0f} s undisturbed; {told.seconds[1]:,.0f} s with "
          f"{len(told.kills)} kills, when {', '.join(map(str, told.kills))} days were done: {'; '.join(told.wrong) or 'every day is the same'}")
    return 1 if told.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
