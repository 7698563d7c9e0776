"""Trains the chain of transforms/detectors/tagger.py: conditional likelihood, AdaGrad on mini-batches, features dropped at random.

AdaGrad: Duchi, Hazan and Singer, JMLR 12, 2011. Dropping features at random: Srivastava et al., JMLR 15, 2014; here it keeps the
chain from leaning on single words that it has seen, as a name in the wild was mostly never seen.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import scipy.sparse

from transforms.detectors.tagger import BUCKETS, LABELS
from transforms.detectors.tagger_features import OFFSETS, REACH, TOGETHER, Keys, case, features, key, together

Floats = npt.NDArray[np.float32]
Text = tuple[list[str], list[int]]


def matrix(texts: Sequence[Text], lists: Sequence[Keys], known: Keys | None = None, least: int = 4) -> tuple[scipy.sparse.csr_matrix, Keys]:
    """Which word of the texts has which feature, [words, features]; and the features' keys.

    known: the features to look for; None takes all that occur at least `least` times, one for each of the tagger's buckets.
    """
    ids: dict[tuple[str, str], int] = {}
    flat = [0] * REACH
    for read, _ in texts:
        written = case(" ".join(read))
        flat += [ids.setdefault((word, written), len(ids) + 1) for word in read] + [0] * REACH
    numbers = np.array(flat)
    seen = [({offset: [f"{offset}PAD"] for offset in OFFSETS}, "PAD", "PAD"), *(features(word, written, lists) for word, written in ids)]
    word_keys = np.array([key("W" + low) for _, low, _ in seen], np.uint32)[numbers]
    class_keys = np.array([key("C" + kind) for _, _, kind in seen], np.uint32)[numbers]
    inner = numbers[REACH:-REACH]
    real = inner > 0
    columns, counts = [], []
    for offset in OFFSETS:
        named = [np.array([key(f) for f in one[0][offset]], np.uint32) for one in seen]
        sizes = np.array([len(one) for one in named])
        starts = np.concatenate([[0], np.cumsum(sizes)])
        who = numbers[REACH + offset:len(numbers) - REACH + offset][real]
        size = sizes[who]
        places = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size) + np.repeat(starts[who], size)
        columns.append(np.concatenate(named)[places])
        counts.append(size)
    pairs = [together(word_keys, class_keys, number)[real] for number in range(len(TOGETHER))]
    if known is None:
        known = _kept(np.concatenate(columns + pairs), least)
    total = int(real.sum())
    rows = np.concatenate([np.repeat(np.arange(total, dtype=np.int32), size) for size in counts] + [np.arange(total, dtype=np.int32)] * len(pairs))
    named_keys = np.concatenate(columns + pairs)
    column = np.minimum(np.searchsorted(known, named_keys), len(known) - 1).astype(np.int32)
    fits = known[column] == named_keys
    found = scipy.sparse.csr_matrix((np.ones(int(fits.sum()), np.float32), (rows[fits], column[fits])), shape=(total, len(known)))
    return found, known


def _kept(keys: Keys, least: int) -> Keys:
    unique, count = np.unique(keys, return_counts=True)
    unique, count = unique[count >= least], count[count >= least]
    order = np.argsort(-count, kind="stable")
    _, first = np.unique(unique[order] % BUCKETS, return_index=True)
    return np.sort(unique[order][first])


def expected(scores: Floats, transitions: Floats, lengths: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Label probabilities [words, LABELS] and expected transition counts [from, to] of chains that lie one after the other in scores."""
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    order = np.argsort(-lengths, kind="stable")
    starts, lengths = starts[order], lengths[order]
    alive = [int((lengths > t).sum()) for t in range(int(lengths[0]))]
    local = np.exp(np.maximum(scores - scores.max(1, keepdims=True), -40))
    kernel = np.exp(transitions)
    forward, answer = np.empty_like(local), np.empty_like(local)
    forward[starts] = local[starts] / local[starts].sum(1, keepdims=True)
    for t in range(1, len(alive)):
        at = starts[:alive[t]] + t
        step = (forward[at - 1] @ kernel) * local[at]
        forward[at] = step / step.sum(1, keepdims=True)
    backward = np.ones((len(order), LABELS), np.float32)
    pairs = np.zeros((LABELS, LABELS), np.float32)
    for t in range(len(alive) - 1, -1, -1):
        n = alive[t]
        at = starts[:n] + t
        joint = forward[at] * backward[:n]
        answer[at] = joint / joint.sum(1, keepdims=True)
        if t:
            ahead = local[at] * backward[:n]
            before = forward[at - 1]
            norm = ((before @ kernel) * ahead).sum(1, keepdims=True)
            pairs += (before.T @ (ahead / norm)) * kernel
            step = ahead @ kernel.T
            backward[:n] = step / step.sum(1, keepdims=True)
    return answer, pairs


def train(texts: Sequence[Text], found: scipy.sparse.csr_matrix, seed: int, epochs: int = 8, batch: int = 500, rate: float = 0.25,
          drop: float = 0.2, decay: float = 2e-6) -> tuple[Floats, Floats]:
    """Weights [features, LABELS] and transitions [from, to], the mean over the second half of the steps."""
    chance = np.random.default_rng(seed)
    lengths = np.array([len(words) for words, _ in texts])
    starts = np.concatenate([[0], np.cumsum(lengths)])
    labels = np.array([label for _, own in texts for label in own])
    truth = np.eye(LABELS, dtype=np.float32)[labels]
    weights = np.zeros((found.shape[1], LABELS), np.float32)
    transitions = np.zeros((LABELS, LABELS), np.float32)
    squares, square_transitions = np.full_like(weights, 1e-2), np.full_like(transitions, 1e-2)
    total, total_transitions, steps = np.zeros_like(weights), np.zeros_like(transitions), 0
    for epoch in range(epochs):
        order = chance.permutation(np.nonzero(lengths)[0])
        pace = rate * (1 - 0.9 * epoch / epochs)
        for cut in range(0, len(order), batch):
            chosen = order[cut:cut + batch]
            size = lengths[chosen]
            rows = np.repeat(starts[chosen] - np.concatenate([[0], np.cumsum(size)[:-1]]), size) + np.arange(size.sum())
            part = found[rows]
            part.data *= (chance.random(len(part.data), dtype=np.float32) >= drop) / np.float32(1 - drop)
            own, own_labels = truth[rows], labels[rows]
            chances, pairs = expected(part @ weights, transitions, size)
            ends = np.cumsum(size)[:-1] - 1
            inside = np.ones(len(rows) - 1, bool)
            inside[ends] = False
            np.subtract.at(pairs, (own_labels[:-1][inside], own_labels[1:][inside]), 1)
            touched = np.unique(part.indices)
            gradient = (part.T @ (chances - own))[touched] / len(chosen) + decay * weights[touched]
            squares[touched] += gradient ** 2
            weights[touched] -= pace * gradient / np.sqrt(squares[touched])
            pairs /= len(chosen)
            square_transitions += pairs ** 2
            transitions -= pace * pairs / np.sqrt(square_transitions)
        if epoch >= epochs // 2:
            total += weights
            total_transitions += transitions
            steps += 1
    return total / np.float32(steps), total_transitions / np.float32(steps)
