"""Makes the model of telemetry's windows, window_model.onnx and window_model.json: python schemas/telemetry/train.py [FOLDER]

How cold was the hour, beside the hours that the machine is known by? For the hour's mean and its lowest reading: how far below
the median, in robust standard deviations of the lower half (1.4826 times the median distance, Hampel 1974); the root mean
square of both is the depth, and the score is depth^2 / (depth^2 + limit^2), so that the label is depth > limit. Medians,
deviations and the limit come from the first 15 % of the readings (what the benchmark that the data are from lets a detector
look at before it must answer), without labels: the limit is passed by one training hour in 24. One-sided on purpose: a
failing or stopped machine cools. Labels are read at the end, for the figures in the descriptor.

The graph is written node by node, so the same data make the same bytes. Needs onnx and onnxruntime; the package itself
needs only the last.
"""

import csv
import gzip
import hashlib
import json
import os
import statistics
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when onnxruntime is imported

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

HERE = Path(__file__).parent
SERIES = "realKnownCause/machine_temperature_system_failure.csv"
INPUTS = ("mean", "lowest")
FIRST = 0.15  # of the readings
FLAGGED = 1 / 24  # of the training hours
THRESHOLD = 0.5  # of the score
HOUR = timedelta(hours=1)
Reading = tuple[datetime, float]
Hour = dict[str, Any]


def read(path: Path) -> tuple[list[Reading], str]:
    """The readings in the order of the file, and the SHA-256 of the file inside."""
    raw = gzip.decompress(path.read_bytes())
    rows = csv.DictReader(raw.decode("ascii").splitlines())
    return [(datetime.fromisoformat(row["timestamp"]), float(row["value"])) for row in rows], hashlib.sha256(raw).hexdigest()


def hours(readings: list[Reading]) -> list[Hour]:
    """The measures that the model takes, by hour in order, under `start` the hour's begin."""
    values: dict[datetime, list[float]] = {}
    for time, value in readings:
        values.setdefault(time.replace(minute=0, second=0), []).append(value)
    return [{"start": start, "mean": statistics.fmean(own), "lowest": min(own)} for start, own in sorted(values.items())]


def fit(known: list[Hour]) -> tuple[dict[str, tuple[float, float]], float]:
    """Median and deviation below it for each input, and the limit."""
    frame = {}
    for name in INPUTS:
        values = [hour[name] for hour in known]
        middle = statistics.median(values)
        frame[name] = middle, 1.4826 * statistics.median(middle - value for value in values if value < middle)
    depths = [sum(max((frame[n][0] - hour[n]) / frame[n][1], 0.0) ** 2 for n in INPUTS) / len(INPUTS) for hour in known]
    return frame, float(np.quantile(np.sqrt(depths), 1 - FLAGGED))


def graph(frame: dict[str, tuple[float, float]], limit: float) -> bytes:
    """1 - limit^2 / (depth^2 + limit^2), which an endless depth does not break. A missing measure counts as the median."""
    nodes, constants = [], {"limit2": limit ** 2, "one": 1.0, "inputs": float(len(INPUTS))}
    for name in INPUTS:
        constants |= {f"{name}_median": frame[name][0], f"{name}_deviation": frame[name][1]}
        nodes += [helper.make_node("IsNaN", [name], [f"{name}_none"]),
                  helper.make_node("Where", [f"{name}_none", f"{name}_median", name], [f"{name}_known"]),
                  helper.make_node("Sub", [f"{name}_median", f"{name}_known"], [f"{name}_below"]),
                  helper.make_node("Div", [f"{name}_below", f"{name}_deviation"], [f"{name}_scaled"]),
                  helper.make_node("Relu", [f"{name}_scaled"], [f"{name}_depth"]),
                  helper.make_node("Mul", [f"{name}_depth", f"{name}_depth"], [f"{name}_depth2"])]
    nodes += [helper.make_node("Sum", [f"{name}_depth2" for name in INPUTS], ["sum"]),
              helper.make_node("Div", ["sum", "inputs"], ["depth2"]),
              helper.make_node("Add", ["depth2", "limit2"], ["whole"]),
              helper.make_node("Div", ["limit2", "whole"], ["rest"]),
              helper.make_node("Sub", ["one", "rest"], ["score"])]
    made = helper.make_graph(
        nodes, "cold_hours", [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in INPUTS],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor(name, TensorProto.FLOAT, [1], [value]) for name, value in constants.items()])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="penstock")
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def score(content: bytes, rows: list[list[float | None]]) -> list[float]:
    """What the graph answers for rows in the order of INPUTS; None stands for null."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    feed = {name: np.array([[np.nan if row[i] is None else row[i]] for row in rows], np.float32) for i, name in enumerate(INPUTS)}
    answered: np.ndarray = session.run(["score"], feed)[0]
    return [float(s) for s in answered[:, 0]]


def figures(scored: list[tuple[Hour, float]], windows: list[list[str]]) -> dict[str, Any]:
    """How the flagged hours lie to the labelled windows; an hour is inside one where they have a moment in common."""
    spans = [(datetime.fromisoformat(begin), datetime.fromisoformat(end)) for begin, end in windows]
    inside = [[hour["start"] <= end and hour["start"] + HOUR > begin for begin, end in spans] for hour, _ in scored]
    flagged = [where for (_, s), where in zip(scored, inside, strict=True) if s > THRESHOLD]
    right, labelled = sum(map(any, flagged)), sum(map(any, inside))
    return {"hours": len(scored), "labelled": labelled, "flagged": len(flagged), "flagged_in_each_labelled_window": list(map(sum, zip(*flagged, strict=True))),
            "flagged_outside": len(flagged) - right, "precision": round(right / len(flagged), 4), "recall": round(right / labelled, 4)}


def main(folder: Path) -> None:
    readings, digest = read(HERE / "readings.csv.gz")
    first = readings[:int(len(readings) * FIRST)]
    known = hours(first)[:-1]  # the last one is cut
    frame, limit = fit(known)
    content = graph(frame, limit)
    every = hours(readings)
    scored = list(zip(every, score(content, [[hour[name] for name in INPUTS] for hour in every]), strict=True))
    labels = json.loads((HERE / "labels.json").read_text())[SERIES]
    picked: list[list[float | None]] = [[round(hour[name], 4) for name in INPUTS] for hour in every[::len(every) // 16][:16]]
    picked += [[round(hour[name], 4) for name in INPUTS] for hour in sorted(every, key=lambda hour: float(hour["mean"]))[:80:10]]
    picked += [[None, 40.0], [40.0, None], [None, None], [-60.0, -60.0], [500.0, 500.0], [-1e30, 1e30]]
    descriptor = {
        "name": "telemetry-cold-hours", "version": "1", "format": "onnx", "uri": "window_model.onnx",
        "sha256": hashlib.sha256(content).hexdigest(), "size": len(content),
        "inputs": [{"name": name, "type": "float"} for name in INPUTS],
        "missing": {"float": "NaN", "string": "?"},
        "output": {"name": "score", "index": 0}, "threshold": THRESHOLD,
        "golden": {"rows": picked, "scores": [round(s, 6) for s in score(content, picked)], "atol": 1e-4},
        "trained": {"data": f"NAB {SERIES}", "sha256": digest, "readings": len(first), "until": first[-1][0].isoformat() + "Z", "hours": len(known),
                    "limit": round(limit, 4), **{name: {"median": round(m, 4), "deviation": round(s, 4)} for name, (m, s) in frame.items()},
                    "measured": {"all": figures(scored, labels), "after_training": figures([e for e in scored if e[0]["start"] > first[-1][0]], labels)}},
    }
    (folder / "window_model.onnx").write_bytes(content)
    (folder / "window_model.json").write_text(written(descriptor), "utf-8")
    print(json.dumps({key: descriptor[key] for key in ("sha256", "size", "trained")}))


def written(descriptor: dict[str, Any]) -> str:
    """JSON with one line for each key, and for each golden row."""
    golden = descriptor["golden"]
    rows = ",\n".join(f"      {json.dumps(row)}" for row in golden["rows"])
    lines = {key: json.dumps(value) for key, value in descriptor.items()}
    lines["golden"] = f'{{\n    "rows": [\n{rows}\n    ],\n    "scores": {json.dumps(golden["scores"])},\n    "atol": {json.dumps(golden["atol"])}\n  }}'
    return "{\n" + ",\n".join(f"  {json.dumps(key)}: {value}" for key, value in lines.items()) + "\n}\n"


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
