"""Trains the model of the census contract and writes model.onnx and model.json: python schemas/census/train.py [FOLDER]

The model sees a row as it is stored: fnlwgt goes through the buckets of deidentify.json first. Each categorical column is
numbered by the share of high incomes of its categories, smoothed, on the training data; then gradient-boosted trees with
histograms (Ke et al. 2017, LightGBM, as scikit-learn has them). Settings were chosen by ten folds of the training data
alone; adult.test is read once, for the figure in the descriptor. The same versions write the same bytes.

Needs scikit-learn, skl2onnx and onnxruntime; the package itself needs only the last.
"""

import gzip
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "2")  # before scikit-learn is imported; more threads gain nothing here

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when onnxruntime is imported

import numpy as np
import onnxruntime
from skl2onnx import to_onnx  # type: ignore
from skl2onnx.common.data_types import FloatTensorType, StringTensorType  # type: ignore
from sklearn.compose import ColumnTransformer  # type: ignore
from sklearn.ensemble import HistGradientBoostingClassifier  # type: ignore
from sklearn.model_selection import StratifiedKFold  # type: ignore
from sklearn.pipeline import Pipeline  # type: ignore
from sklearn.preprocessing import OrdinalEncoder  # type: ignore

HERE = Path(__file__).parent
TEST = HERE.parents[1] / "tests" / "data" / "adult.test.gz"
NUMBERS = ("age", "fnlwgt", "education_num", "capital_gain", "capital_loss", "hours_per_week")
COLUMNS = ("age", "workclass", "fnlwgt", "education", "education_num", "marital_status", "occupation", "relationship", "race",
           "sex", "capital_gain", "capital_loss", "hours_per_week", "native_country")
SMOOTHING = 20  # rows of the mean rate that each category starts with
MODEL: dict[str, Any] = {"max_iter": 300, "learning_rate": 0.06, "max_leaf_nodes": 15, "l2_regularization": 1.0,
                         "early_stopping": False, "random_state": 20240501}
Rows = list[list[Any]]


def read_adult(path: Path) -> tuple[Rows, np.ndarray, str]:
    """Rows in the order of COLUMNS (numbers as float), whether the income is over 50K, and the SHA-256 of the file inside."""
    raw = gzip.decompress(path.read_bytes())
    rows, over = [], []
    for line in raw.decode("ascii").splitlines():
        values = line.rstrip(".").split(", ")
        if len(values) == len(COLUMNS) + 1:  # not the first line of adult.test nor the blank one at the end
            rows.append([float(v) if c in NUMBERS else v for c, v in zip(COLUMNS, values[:-1], strict=True)])
            over.append(values[-1] == ">50K")
    return rows, np.array(over), hashlib.sha256(raw).hexdigest()


def buckets() -> list[tuple[float, float, float]]:
    """(minimum, maximum exclusive, replacement) of the buckets that deidentify.json puts fnlwgt into."""
    policy = json.loads((HERE / "deidentify.json").read_text())
    for each in policy["deidentifyConfig"]["recordTransformations"]["fieldTransformations"]:
        if {"name": "fnlwgt"} in each["fields"]:
            return [tuple(float(b[k]["integerValue"]) for k in ("min", "max", "replacementValue"))  # type: ignore[misc]
                    for b in each["primitiveTransformation"]["bucketingConfig"]["buckets"]]
    raise SystemExit("deidentify.json does not bucket fnlwgt")


def as_stored(rows: Rows) -> Rows:
    """The rows with fnlwgt replaced by its bucket's value."""
    at, table = COLUMNS.index("fnlwgt"), buckets()
    return [[*r[:at], next(new for low, high, new in table if low <= r[at] < high), *r[at + 1:]] for r in rows]


def matrix(rows: Rows) -> np.ndarray:
    """Numbers first, then categories, as the graph's inputs are declared."""
    order = [COLUMNS.index(c) for c in inputs()]
    return np.array([[r[i] for i in order] for r in rows], dtype=object)


def inputs() -> tuple[str, ...]:
    return (*NUMBERS, *(c for c in COLUMNS if c not in NUMBERS))


def fit(x: np.ndarray, over: np.ndarray) -> Pipeline:
    categories = []
    for column in range(len(NUMBERS), len(COLUMNS)):
        values = x[:, column].astype(str)
        rates = [((over[values == v].sum() + SMOOTHING * over.mean()) / ((values == v).sum() + SMOOTHING), v) for v in set(values)]
        categories.append([v for _, v in sorted(rates)])
    encoder = OrdinalEncoder(categories=categories, handle_unknown="use_encoded_value", unknown_value=-1, dtype=np.float32)
    split = ColumnTransformer([("numbers", "passthrough", list(range(len(NUMBERS)))),
                               ("categories", encoder, list(range(len(NUMBERS), len(COLUMNS))))])
    return Pipeline([("columns", split), ("trees", HistGradientBoostingClassifier(**MODEL))]).fit(x, over)


def export(model: Pipeline) -> bytes:
    """The whole pipeline as one ONNX graph with an input for each column and plain tensors as outputs."""
    declared = [(c, FloatTensorType([None, 1]) if c in NUMBERS else StringTensorType([None, 1])) for c in inputs()]
    graph = to_onnx(model, initial_types=declared, options={id(model): {"zipmap": False}}, target_opset=17)
    content: bytes = graph.SerializeToString()
    return content


def score(content: bytes, rows: Rows) -> np.ndarray:
    """What the exported graph answers for stored rows in the order of COLUMNS; None stands for null."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    feed = {}
    for i, c in enumerate(COLUMNS):
        column = [r[i] for r in rows]
        feed[c] = (np.array([[np.nan if v is None else v] for v in column], np.float32) if c in NUMBERS
                   else np.array([["?" if v is None else v] for v in column], object))
    scores: np.ndarray = session.run(["probabilities"], feed)[0][:, 1]
    return scores


def golden(rows: Rows) -> Rows:
    """Ten stored rows spread over the data, then rows with unknowns, nulls, an unseen category and extremes."""
    def written(row: list[Any]) -> list[Any]:
        return [int(v) if isinstance(v, float) else v for v in row]

    picked = [written(r) for r in rows[::len(rows) // 10][:10]]
    picked += [written(r) for r in rows if "?" in r][:2]
    first = picked[0]
    picked.append([None if c in NUMBERS else v for c, v in zip(COLUMNS, first, strict=True)])
    picked.append([v if c in NUMBERS else None for c, v in zip(COLUMNS, first, strict=True)])
    picked.append([None] * len(COLUMNS))
    picked.append([0 if c in NUMBERS else "never seen" for c in COLUMNS])
    picked.append([{"age": 130, "fnlwgt": 1_500_000, "education_num": 16, "hours_per_week": 168}.get(c, 99_999) if c in NUMBERS else v
                   for c, v in zip(COLUMNS, first, strict=True)])
    return picked


def drift(rows: Rows, scores: np.ndarray) -> dict[str, Any]:
    """Counts of the training rows on frozen bins: counts[i] is of edges[i-1] <= value < edges[i], open at both ends.

    Columns of few values have a bin for each value. Others have deciles, and those with many zeros a bin for zero and
    deciles of the rest: plain quantiles would put nine tenths of capital_gain into one bin and see nothing.
    """
    reference: dict[str, Any] = {}
    for i, c in enumerate(COLUMNS):
        values = np.array([r[i] for r in rows])
        if c not in NUMBERS:
            names, counts = np.unique(values, return_counts=True)
            reference[c] = {"values": names.tolist(), "counts": counts.tolist()}
            continue
        distinct = np.unique(values)
        cut = distinct[1:] if len(distinct) <= 20 else np.unique(np.quantile(values[values > 0], np.arange(1, 10) / 10, method="lower"))
        if len(distinct) > 20 and (values == 0).mean() > 0.1:
            cut = np.unique([distinct[1], *cut])
        reference[c] = {"edges": cut.tolist(), "counts": np.bincount(np.digitize(values, cut), minlength=len(cut) + 1).tolist(),
                        "minimum": float(values.min()), "maximum": float(values.max()), "mean": round(float(values.mean()), 4)}
    edges = [round(e / 20, 2) for e in range(1, 20)]
    reference["score"] = {"edges": edges, "counts": np.bincount(np.digitize(scores, edges), minlength=20).tolist(),
                          "positive_rate": round(float((scores > 0.5).mean()), 4)}
    return reference


def main(folder: Path) -> None:
    raw, over, digest = read_adult(HERE / "adult.data.gz")
    rows = as_stored(raw)
    x = matrix(rows)
    unseen = np.zeros(len(rows))  # scores of rows by models that did not train on them: the reference for drift
    for train, held in StratifiedKFold(5, shuffle=True, random_state=1).split(x, over):
        unseen[held] = fit(x[train], over[train]).predict_proba(x[held])[:, 1]
    content = export(fit(x, over))
    test, expected, _ = read_adult(TEST)
    known = ["?" not in r for r in test]
    wrong = ((score(content, as_stored(test)) > 0.5) != expected)[known]
    examples = golden(rows)
    descriptor = {
        "name": "census-income", "version": "1", "format": "onnx", "uri": "model.onnx",
        "sha256": hashlib.sha256(content).hexdigest(), "size": len(content),
        "inputs": [{"name": c, "type": "float" if c in NUMBERS else "string"} for c in inputs()],
        "missing": {"float": "NaN", "string": "?"},
        "output": {"name": "probabilities", "index": 1}, "threshold": 0.5,
        "golden": {"rows": [[dict(zip(COLUMNS, r, strict=True))[c] for c in inputs()] for r in examples],
                   "scores": [round(float(s), 6) for s in score(content, examples)], "atol": 1e-4},
        "drift": drift(rows, unseen),
        "trained": {"data": "UCI Adult, adult.data", "sha256": digest, "rows": len(rows),
                    "cross_validated_error_percent": round(100 * float(((unseen > 0.5) != over).mean()), 2),
                    "test_error_percent": round(100 * float(wrong.mean()), 2), "test_rows": int(sum(known))},
    }
    (folder / "model.onnx").write_bytes(content)
    (folder / "model.json").write_text(written(descriptor), "utf-8")
    print(json.dumps({k: descriptor[k] for k in ("sha256", "size", "trained")}))


def written(descriptor: dict[str, Any]) -> str:
    """JSON with one line for each key, and for each golden row and column of the reference."""
    def nested(value: Any) -> str:
        if isinstance(value, dict) and any(isinstance(v, (dict, list)) for v in value.values()):
            return "{\n" + ",\n".join(f"    {json.dumps(k)}: {listed(v)}" for k, v in value.items()) + "\n  }"
        return json.dumps(value)

    def listed(value: Any) -> str:
        if isinstance(value, list) and value and isinstance(value[0], list):
            return "[\n" + ",\n".join(f"      {json.dumps(v)}" for v in value) + "\n    ]"
        return json.dumps(value)

    return "{\n" + ",\n".join(f"  {json.dumps(k)}: {nested(v)}" for k, v in descriptor.items()) + "\n}\n"


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
