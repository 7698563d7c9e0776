"""Trains the tagger and writes transforms/detectors/tagger.npz: python -m benchmarks.tagger.train [--negatives=banking77_train.csv]

Needs, at training time only: faker==40.54.0 numpy==2.4.6 scipy==1.17.1 (Python 3.11). About 4 minutes on one core. The same seed, versions
and machine give the same bytes. --negatives: a CSV whose first column holds texts with nothing to find (the training part of Banking77,
PolyAI-LDN/task-specific-datasets, CC BY 4.0); its test part is for evaluate.py alone.
"""

import argparse
import csv
import io
import os
import sys
import time
import zipfile
from pathlib import Path

import numpy as np

from benchmarks.tagger.corpus import corpus, labelled
from benchmarks.tagger.crf import Floats, matrix, train
from benchmarks.tagger.lists import keyed, listed
from benchmarks.tagger.values import Values
from transforms.detectors import tagger
from transforms.detectors.tagger_features import Keys

BIAS = 0.5  # what Tagger(bias=0) adds to the log odds: recall of 0.97 on held-out templates; F2 is flat around it


def plain_texts(path: str | None) -> list[str]:
    """The first column of a CSV with a header."""
    if path is None:
        return []
    with open(path, newline="", encoding="utf-8") as lines:
        return [row[0] for row in list(csv.reader(lines))[1:] if row]


def packed(keys: Keys, weights: Floats, transitions: Floats, lists: list[Keys], rows: int) -> bytes:
    """The model's file: the `rows` features that weigh most, 8 bits a weight, one scale a feature."""
    weights = weights - weights.mean(1, keepdims=True)  # what all labels share decides nothing
    size = np.abs(weights).max(1)
    kept = np.sort(np.argsort(-size, kind="stable")[:rows])
    scales = (size[kept] / 127).astype(np.float16)
    weights = np.rint(weights[kept] / np.maximum(scales.astype(np.float32), 1e-8)[:, None]).clip(-127, 127).astype(np.int8)
    steps = np.diff(keys[kept], prepend=np.uint32(0))
    arrays = {"keys": steps.astype(np.uint32), "weights": weights.T.ravel(), "scales": scales, "transitions": transitions, "bias": np.array([BIAS], np.float32),
              "lists": np.concatenate([np.diff(one, prepend=np.uint32(0)) for one in lists]), "list_sizes": np.array([len(one) for one in lists])}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, array in arrays.items():
            body = io.BytesIO()
            np.lib.format.write_array(body, np.ascontiguousarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(name + ".npy", (1980, 1, 1, 0, 0, 0)), body.getvalue(), zipfile.ZIP_DEFLATED)  # no clock in the bytes
    return out.getvalue()


def trained(seed: int, texts: int, epochs: int, negatives: list[str], rows: int, held: bool | None = None, drop: float = 0.2) -> bytes:
    """Makes the texts, trains, packs."""
    began = time.monotonic()
    values = Values(seed)
    words = listed(values)
    examples = [labelled(parts) for parts in corpus(values, texts, negatives, held)]
    print(f"{len(examples)} texts, {sum(len(w) for w, _ in examples)} words, {time.monotonic() - began:.0f} s", file=sys.stderr)
    found, keys = matrix(examples, keyed(words, hidden=30))
    print(f"{found.shape[1]} features, {found.nnz} occurrences, {time.monotonic() - began:.0f} s", file=sys.stderr)
    weights, transitions = train(examples, found, seed, epochs, drop=drop)
    print(f"trained, {time.monotonic() - began:.0f} s", file=sys.stderr)
    return packed(keys, weights, transitions, keyed(words), rows)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--negatives")
    options.add_argument("--output", default=str(Path(tagger.__file__).with_name("tagger.npz")))
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--texts", type=int, default=140_000)
    options.add_argument("--epochs", type=int, default=6)
    options.add_argument("--drop", type=float, default=0.2, help="share of the features dropped at random")
    options.add_argument("--rows", type=int, default=134_000, help="features kept")
    options.add_argument("--hold_out", action="store_true", help="train without a fifth of the templates; evaluate.py --unseen measures on them")
    chosen = options.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":  # some of faker's providers draw from sets
        os.environ |= {"PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"}
        os.execv(sys.executable, [sys.executable, "-m", "benchmarks.tagger.train", *sys.argv[1:]])
    model = trained(chosen.seed, chosen.texts, chosen.epochs, plain_texts(chosen.negatives), chosen.rows,
                    False if chosen.hold_out else None, chosen.drop)
    Path(chosen.output).write_bytes(model)
    print(f"{chosen.output}: {len(model):,} bytes")


if __name__ == "__main__":
    main()
