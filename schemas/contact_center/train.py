"""Trains the intent model of the contact_center contract and writes model.onnx and model.json: python schemas/contact_center/train.py [FOLDER]

The model reads a text as it is stored: the training texts go through the contract's own engine first. Its features are
which words of the training texts stand in a text, weighted by their rarity (tf-idf, Sparck Jones 1972), and the stretches
of 2 to 6 letters of those words, so that "topup" learns from "top-up"; over them a multinomial logistic regression. The
stretches are a linear function of the words, so the exported graph holds one weight for each word and class. Threefold
cross-validation of the training data tells settings around these apart by less than 0.3 %. The same versions write the
same bytes.

The graph has operators of ai.onnx alone (opset 20): lower case (ASCII), words between spaces, each word with and without the signs that
may stand around it, softmax. Needs scikit-learn and onnx (which comes with skl2onnx); the package itself needs neither.
"""

import csv
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "2")  # before scikit-learn is imported
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when onnxruntime is imported

import numpy as np
import numpy.typing as npt
import onnx  # type: ignore
import onnxruntime
import pyarrow as pa
import scipy.sparse as sparse  # type: ignore
from onnx import TensorProto, helper  # type: ignore
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer  # type: ignore
from sklearn.linear_model import LogisticRegression  # type: ignore
from sklearn.preprocessing import normalize  # type: ignore

from schemas.arrow import input_schema
from schemas.contract import Contract, load
from transforms import keys
from transforms.engines.local import LocalEngine
from transforms.keys import Keys

HERE = Path(__file__).parent
BEFORE = ("", "(", '"', "'")
AFTER = ("", "?", ".", ",", "!", ";", ":", ")", '"', "'", "??", "?!", "!!", "...", "..", ").", ")?", ".\n", "?\n", "\n", "\n\n", "!\n", ".\n\n", "?\n\n")
STRETCHES = 1.5  # weight of the stretches of letters beside the words
REGULAR = 5.0  # inverse strength of the regularisation
THRESHOLD = 0.4
Floats = npt.NDArray[np.float32]


def read_queries(name: str) -> tuple[list[str], list[str], str]:
    """Texts, their intents, and the SHA-256 of the file inside."""
    raw = gzip.decompress((HERE / name).read_bytes())
    rows = list(csv.DictReader(io.StringIO(raw.decode("utf-8"), newline="")))
    return [row["text"] for row in rows], [row["category"] for row in rows], hashlib.sha256(raw).hexdigest()


def untrained() -> Contract:
    """The contract without its model, which may not be there yet."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(HERE, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("model.*", "*.gz", "*.py", "*.ndjson"))
        head = Path(folder) / "contract.yaml"
        head.write_text(re.sub(r"(?m)^model:.*\n", "", head.read_text("utf-8")), "utf-8")
        return load(folder)


def as_stored(texts: list[str], contract: Contract) -> list[str]:
    """The texts as the local engine stores them."""
    with tempfile.TemporaryDirectory() as folder:
        keys.make(Path(folder) / "keys")  # what is found in a text is replaced by its infoType: no key has a part in it
        engine = LocalEngine(contract, Keys(str(Path(folder) / "keys"))).start()
        engine.setup()
        schema = input_schema(contract)
        columns = [pa.array(texts, f.type) if f.name == "text" else pa.nulls(len(texts), f.type) for f in schema]
        stored, refused = engine.deidentify(pa.RecordBatch.from_arrays(columns, schema=schema))
    if refused:
        raise SystemExit(f"{len(refused)} texts were refused")
    return list(stored["text"].to_pylist())


def words(text: str) -> list[str]:
    """The words of a text as the graph knows them: between spaces, ASCII in lower case, without the signs around them."""
    return [word for part in _lower(text).split(" ") if (word := _bare(part))]


def _lower(text: str) -> str:
    return "".join(c.lower() if "A" <= c <= "Z" else c for c in text)


def _bare(part: str) -> str:
    """The longest ending and beginning that stand in AFTER and BEFORE are taken off."""
    for after in sorted(AFTER, key=len, reverse=True):
        if part.endswith(after) and len(part) > len(after):
            part = part[:len(part) - len(after)]
            break
    for before in BEFORE[1:]:
        if part.startswith(before) and len(part) > len(before):
            return part[len(before):]
    return part


def fit(texts: list[str], intents: list[str]) -> tuple[list[str], Floats, Floats, Floats, list[str]]:
    """Words, their rarity [words], weights [words, classes], intercepts [classes], classes."""
    counter = CountVectorizer(analyzer=words, binary=True)
    seen = counter.fit_transform(texts).astype(np.float64)
    known = list(counter.get_feature_names_out())
    rarity = np.log((1 + len(texts)) / (1 + np.asarray(seen.sum(axis=0)).ravel())) + 1
    stretches = STRETCHES * TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 6)).fit_transform(known)
    told = normalize(seen @ sparse.diags(rarity))
    model = LogisticRegression(C=REGULAR, max_iter=500).fit(sparse.hstack([told, told @ stretches]).tocsr(), intents)
    own, shared = model.coef_[:, :len(known)], model.coef_[:, len(known):]
    weights = own.T + stretches @ shared.T
    # Rounded, so that the last bits of a sum, which differ from one processor to another, do not reach the file
    return known, rarity.astype(np.float32), np.round(weights, 3).astype(np.float32), np.round(model.intercept_, 3).astype(np.float32), list(model.classes_)


def export(known: list[str], rarity: Floats, weights: Floats, intercepts: Floats) -> bytes:
    """One graph from the column `text`, strings [rows, 1], to `probabilities`, float32 [rows, classes]."""
    forms = {before + word + after: at for after in AFTER for before in BEFORE for at, word in enumerate(known) if before == "" or len(after) < 2}
    forms |= {word: at for at, word in enumerate(known)}  # a word that is another one with a sign stands for itself
    spelled = sorted(forms)
    nodes = [
        helper.make_node("Squeeze", ["text", "one"], ["flat"]),
        helper.make_node("StringNormalizer", ["flat"], ["lower"], case_change_action="LOWER", locale="C"),  # a locale that every machine has
        helper.make_node("StringConcat", ["lower", "end"], ["ended"]),  # else a batch of empty texts would have no word at all
        helper.make_node("StringSplit", ["ended"], ["words", "count"]),
        helper.make_node("TfIdfVectorizer", ["words"], ["counts"], mode="TF", min_gram_length=1, max_gram_length=1, max_skip_count=0,
                         ngram_counts=[0], ngram_indexes=[forms[f] for f in spelled], pool_strings=spelled),
        helper.make_node("Min", ["counts", "once"], ["seen"]),
        helper.make_node("Mul", ["seen", "rarity"], ["told"]),
        helper.make_node("ReduceL2", ["told", "one"], ["length"], keepdims=1),
        helper.make_node("Max", ["length", "least"], ["at_least"]),
        helper.make_node("Div", ["told", "at_least"], ["even"]),
        helper.make_node("Gemm", ["even", "weights", "intercepts"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    constants = [helper.make_tensor("one", TensorProto.INT64, [1], [1]),
                 helper.make_tensor("end", TensorProto.STRING, [], [b" \x03"]),  # type: ignore
                 helper.make_tensor("once", TensorProto.FLOAT, [], [1.0]), helper.make_tensor("least", TensorProto.FLOAT, [], [1e-6]),
                 *(helper.make_tensor(name, TensorProto.FLOAT, value.shape, value.tobytes(), raw=True)
                   for name, value in (("rarity", rarity), ("weights", weights), ("intercepts", intercepts)))]
    graph = helper.make_graph(nodes, "intent", [helper.make_tensor_value_info("text", TensorProto.STRING, [None, 1])],
                              [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, len(intercepts)])], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9, producer_name="penstock")
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def score(content: bytes, texts: list[str | None]) -> Floats:
    """What the exported graph answers: float32 [texts, classes]; None stands for null."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    answers: Floats = session.run(["probabilities"], {"text": np.array([[t or ""] for t in texts], object)})[0]
    return answers


def figures(content: bytes, classes: list[str], texts: list[str], intents: list[str]) -> dict[str, float]:
    """Accuracy of all answers, the share of texts over the threshold, and the accuracy of those."""
    answers = score(content, list(texts))
    right = np.array([classes[i] for i in answers.argmax(axis=1)]) == np.array(intents)
    sure = answers.max(axis=1) > THRESHOLD
    return {"accuracy": round(float(right.mean()), 4), "sure": round(float(sure.mean()), 4), "accuracy_where_sure": round(float(right[sure].mean()), 4)}


def golden(texts: list[str]) -> list[list[str | None]]:
    """Stored texts spread over the data, then what was found in a text, nothing, no word that is known, and very much."""
    picked: list[str | None] = [*texts[::len(texts) // 12][:12]]
    picked += ["My card [CREDIT_CARD_NUMBER] was stolen, call me on [PHONE_NUMBER]. Regards, [PERSON_NAME]", None, "", "   ", "zzzz 家族",
               "WHERE IS MY NEW CARD??", "(card)", "card " * 500]
    return [[text] for text in picked]


def main(folder: Path) -> None:
    contract = untrained()
    raw, intents, digest = read_queries("banking77_train.csv.gz")
    texts = as_stored(raw, contract)
    known, rarity, weights, intercepts, classes = fit(texts, intents)
    content = export(known, rarity, weights, intercepts)
    test, expected, _ = read_queries("banking77_test.csv.gz")
    examples = golden(texts)
    answers = score(content, [row[0] for row in examples])
    descriptor = {
        "name": "contact-intent", "version": "1", "format": "onnx", "uri": "model.onnx", "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content), "inputs": [{"name": "text", "type": "string"}], "missing": {"float": "NaN", "string": ""},
        "output": {"name": "probabilities"}, "classes": classes, "threshold": THRESHOLD,
        "golden": {"rows": examples, "scores": [round(float(s), 6) for s in answers.max(axis=1)], "labels": [classes[i] for i in answers.argmax(axis=1)],
                   "atol": 1e-4},
        "trained": {"data": "Banking77, banking77_train.csv", "sha256": digest, "rows": len(texts), "words": len(known),
                    "changed_by_deidentification": sum(a != b for a, b in zip(raw, texts)), "test_rows": len(test),
                    "test_as_stored": figures(content, classes, as_stored(test, contract), expected),
                    "test_as_read": figures(content, classes, test, expected)},
    }
    (folder / "model.onnx").write_bytes(content)
    (folder / "model.json").write_text("{\n" + ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in descriptor.items()) + "\n}\n", "utf-8")
    print(json.dumps({k: descriptor[k] for k in ("sha256", "size", "trained")}))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
