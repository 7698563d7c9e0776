"""`make bench`: the batch job against a program without Beam, a plain loop and stock Beam parts, interleaved in one run.

    python -m benchmarks [--rows=20000,200000,1000000] [--runs=3]

Prints a table (medians, ratios within the run) and writes build/bench.json. Each figure comes from a process of its own;
imports are left out of the time. All variants must store the same rows: their outputs have one digest, or the run fails.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import duckdb
import orjson
import pyarrow as pa

from pipelines.tools.generate import write
from transforms import keys

VARIANTS = {"columns": "(a) columns, no Beam", "penstock": "this pipeline", "loop": "(b) plain loop", "stock": "(c) stock Beam parts"}
BUILD = Path("build")


def main() -> int:
    """Runs the table; exit code 1 where two variants stored different rows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", default="20000,200000,1000000")
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    work = BUILD / "bench"
    shutil.rmtree(work, ignore_errors=True)
    keys.make(work / "keys")
    results = []
    for rows in map(int, given.rows.split(",")):
        source = work / f"events-{rows}"
        write("census", rows, 7, source)
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in VARIANTS}
        digests = {}
        disputed = _disputed(source)
        for number in range(given.runs):
            for name in VARIANTS:
                if number and name in ("loop", "stock") and rows >= 1_000_000:
                    continue  # minutes each; once is enough to see the ratio
                output = work / "out"
                shutil.rmtree(output, ignore_errors=True)
                runs[name].append(_one(name, source, output, work / "keys"))
                if not number:
                    digests[name] = _digest(output, disputed)
        shutil.rmtree(source)
        results += _rows(rows, runs, digests)
        if len(set(digests.values())) != 1:
            print(f"the variants stored different rows: {digests}")
            return 1
    BUILD.mkdir(exist_ok=True)
    (BUILD / "bench.json").write_text(json.dumps(results, indent=1))
    return 0


def _one(name: str, source: Path, output: Path, key_folder: Path) -> dict[str, float]:
    done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}", source, output, key_folder], capture_output=True, text=True,
                          env=os.environ | {"OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _disputed(source: Path) -> pa.Table:
    """The ids that stand before more than one content: stock GroupByKey keeps any copy of such an id, not the first."""
    contents: dict[str, int] = {}
    disputed = set()
    for path in source.glob("*.ndjson"):
        for line in path.open("rb"):
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            if isinstance(row, dict) and isinstance(row.get("application_id"), str):
                content = hash(orjson.dumps(row, option=orjson.OPT_SORT_KEYS))
                if contents.setdefault(row["application_id"], content) != content:
                    disputed.add(row["application_id"])
    return pa.table({"application_id": pa.array(sorted(disputed), pa.string())})


def _digest(output: Path, disputed: pa.Table) -> str:
    """Count of the rows that a variant stored, and an order-free digest of those with an undisputed id: the contract's
    fields, d, score (4 digits) and label."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    files = [str(p) for p in output.rglob("*.parquet") if not {"failures", "runs"} & {*p.parts, p.stem}]
    stored = connection.sql(f"SELECT * FROM read_parquet({files}, hive_partitioning = false)")
    left_out = {"run", "watermark", "origin", "id_hash", "content_hash", "contract_version", "policy_digest", "model_name", "model_version", "model_digest"}
    columns = sorted(set(stored.columns) - left_out - {"score"})
    (rows, total), = connection.sql(f"""SELECT count(*), sum(hash(round(score::DOUBLE, 4), {', '.join(columns)})::HUGEINT)
        FILTER (WHERE application_id NOT IN (SELECT application_id FROM disputed)) FROM stored""").fetchall()
    return f"{rows}:{total:x}"


def _rows(rows: int, runs: dict[str, list[dict[str, float]]], digests: dict[str, str]) -> list[dict[str, object]]:
    wall = {name: statistics.median(r["wall"] for r in each) for name, each in runs.items()}
    cpu = {name: statistics.median(r["cpu"] for r in each) for name, each in runs.items()}
    out: list[dict[str, object]] = []
    print(f"\n{rows:,} rows   (median of {len(runs['penstock'])}; spread = max - min over median)")
    print(f"{'variant':24}{'us/row':>9}{'rows/s':>10}{'spread':>8}{'CPU s/1,000':>13}{'peak MB':>9}{'this is x its speed':>21}")
    for name, title in VARIANTS.items():
        walls = [r["wall"] for r in runs[name]]
        row = {"rows": rows, "variant": name, "us_per_row": wall[name] / rows * 1e6, "rows_per_s": rows / wall[name],
               "spread": (max(walls) - min(walls)) / wall[name], "cpu_s_per_1000": cpu[name] / rows * 1000,
               "peak_mb": statistics.median(r["peak_mb"] for r in runs[name]), "ratio": wall[name] / wall["penstock"],
               "ratio_cpu": cpu[name] / cpu["penstock"], "digest": digests[name], "runs": walls}
        out.append(row)
        print(f"{title:24}{row['us_per_row']:9.1f}{row['rows_per_s']:10,.0f}{row['spread']:8.0%}{row['cpu_s_per_1000']:13.4f}{row['peak_mb']:9.0f}{row['ratio']:21.2f}", flush=True)
    return out


if __name__ == "__main__":
    sys.exit(main())
