"""Names, addresses, places, organisations, dates and ages in free text: a small sequence tagger, numpy alone at run time.

The model is a linear-chain conditional random field (Lafferty, McCallum and Pereira, ICML 2001) over hashed features of words, word
shapes, affixes and word lists; benchmarks/tagger/train.py makes it from templates and writes tagger.npz. Whatever one
word contributes to the scores of its neighbours is computed once per distinct word and kept, so a batch costs a few array gathers.
It is made for prose. Machine logs are not prose: user agents look like names, so keep it off such columns.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from transforms.detectors.tagger_features import OFFSETS, REACH, TOGETHER, Keys, case, features, key, together, words

TYPES = ("PERSON_NAME", "STREET_ADDRESS", "LOCATION", "ORGANIZATION_NAME", "DATE", "AGE")
LABELS = 2 * len(TYPES) + 1  # 0: outside; 2t+1: first word of type t; 2t+2: further word of type t
PIECE = 200  # longest chain, in words; a longer text is cut so that one huge text does not stretch the whole batch
KNOWN_WORDS = 40_000  # words kept between batches: about 400 bytes each
SCREEN = 9.0  # a text whose every word stays this far below "outside" (log odds, words alone) is not looked at again
BUCKETS = 1 << 21

Floats = npt.NDArray[np.float32]


class Span(NamedTuple):
    """A finding: start and end in Unicode code points, one of TYPES, and the probability (0 to 1) that it is one at all."""

    start: int
    end: int
    info_type: str
    score: float


class Tagger:
    """Finds names, addresses, places, organisations, dates and ages in texts.

    model: the bytes of a file that benchmarks/tagger/train.py wrote; None takes the one beside this module.
    bias: added to the log odds of every word being part of a finding; above 0 more is found, below 0 less is found wrongly.
    Not safe for several threads at once: the words that were seen are kept in this object (in memory, in clear).
    """

    def __init__(self, model: bytes | None = None, bias: float = 0.0) -> None:
        raw = model if model is not None else Path(__file__).with_name("tagger.npz").read_bytes()
        with np.load(io.BytesIO(raw), allow_pickle=False) as stored:
            self._lists: list[Keys] = [np.cumsum(part, dtype=np.uint32) for part in
                                       np.split(stored["lists"], np.cumsum(stored["list_sizes"])[:-1])]
            keys = np.cumsum(stored["keys"], dtype=np.uint32)
            scaled = stored["weights"].reshape(LABELS, -1).T * stored["scales"].astype(np.float32)[:, None]
            transitions = stored["transitions"].astype(np.float32)
        self._keys = np.concatenate([np.zeros(1, np.uint32), keys])
        self._weights: Floats = np.concatenate([np.zeros((1, LABELS), np.float32), scaled.astype(np.float32)])
        self._row_of = np.zeros(BUCKETS, np.int32)
        self._row_of[keys % BUCKETS] = np.arange(1, len(keys) + 1)
        self._transitions: Floats = np.exp(np.maximum(transitions - transitions.max(), -20.0))
        self._bias = bias
        self._forget()

    def find(self, texts: Sequence[str]) -> list[list[Span]]:
        """The findings of each text, in order of their start; findings of one text do not overlap."""
        found: list[list[Span]] = []
        for start in range(0, len(texts), 512):
            found += self._find(texts[start:start + 512])
        return found

    def _forget(self) -> None:
        self._ids: dict[str, dict[str, int]] = {"": {}, "y": {}, "Y": {}}
        self._shares: Floats = np.zeros((len(OFFSETS), 1024, LABELS), np.float32)
        self._keys_of_word: Keys = np.zeros((2, 1024), np.uint32)
        self._learn(0, {offset: [f"{offset}PAD"] for offset in OFFSETS}, "PAD", "PAD")

    def _learn(self, number: int, seen: dict[int, list[str]], low: str, kind: str) -> None:
        if number >= self._shares.shape[1]:
            self._shares = np.concatenate([self._shares, np.zeros_like(self._shares)], axis=1)
            self._keys_of_word = np.concatenate([self._keys_of_word, np.zeros_like(self._keys_of_word)], axis=1)
        named = [key(feature) for offset in OFFSETS for feature in seen[offset]]
        rows = self._rows(np.array(named, np.uint32))
        starts = np.cumsum([0, *(len(seen[offset]) for offset in OFFSETS[:-1])])
        self._shares[:, number] = np.add.reduceat(self._weights[rows], starts, axis=0)
        self._keys_of_word[:, number] = key("W" + low), key("C" + kind)

    def _numbers(self, text: str) -> list[int]:
        written = case(text)
        known = self._ids[written]
        return [known.get(word) or self._number(word, written) for word in words(text).findall(text)]

    def _number(self, word: str, written: str) -> int:
        number = self._ids[written][word] = 1 + sum(map(len, self._ids.values()))
        self._learn(number, *features(word, written, self._lists))
        return number

    def _rows(self, keys: Keys) -> npt.NDArray[np.int32]:
        rows = self._row_of[keys % np.uint32(BUCKETS)]
        return np.where(self._keys[rows] == keys, rows, np.int32(0))

    def _find(self, texts: Sequence[str]) -> list[list[Span]]:
        if sum(map(len, self._ids.values())) > KNOWN_WORDS:
            self._forget()
        chances = self._chances([self._numbers(text) for text in texts])
        return [self._spans(text, chance) if chance is not None else [] for text, chance in zip(texts, chances)]

    def _chances(self, numbers: list[list[int]]) -> list[Floats | None]:
        """Per text the probabilities [words, LABELS], or None where the screen says that there is nothing to find."""
        chances: list[Floats | None] = [None] * len(numbers)
        flat, starts = _padded(numbers)
        alone = self._shares[REACH].take(flat[REACH:-REACH], 0)
        for at, offset in enumerate(OFFSETS):
            if offset:
                alone += self._shares[at].take(flat[REACH + offset:len(flat) - REACH + offset], 0)
        near = np.concatenate([[0], np.cumsum(alone[:, 1:].max(1) + self._bias > alone[:, 0] - SCREEN)])
        hot = [i for i, one in enumerate(numbers) if one and near[starts[i] + len(one)] > near[starts[i]]]
        if not hot:
            return chances
        flat, starts = _padded([numbers[i] for i in hot])
        scores = self._shares[REACH].take(flat[REACH:-REACH], 0)
        for at, offset in enumerate(OFFSETS):
            if offset:
                scores += self._shares[at].take(flat[REACH + offset:len(flat) - REACH + offset], 0)
        word_keys, class_keys = self._keys_of_word.take(flat, 1)
        for number in range(len(TOGETHER)):
            scores += self._weights.take(self._rows(together(word_keys, class_keys, number)), 0)
        pieces = [(start + cut, min(PIECE, len(numbers[i]) - cut), i) for start, i in zip(starts, hot)
                  for cut in range(0, len(numbers[i]), PIECE)]
        for (_, _, i), piece in zip(pieces, marginals(scores, self._transitions, [p[:2] for p in pieces])):
            earlier = chances[i]
            chances[i] = piece if earlier is None else np.concatenate([earlier, piece])
        return chances

    def _spans(self, text: str, chances: Floats) -> list[Span]:
        inside = 1.0 - chances[:, 0]
        floor = 1.0 / (1.0 + np.exp(self._bias))
        if not (inside > floor).any():
            return []
        best = chances[:, 1::2] + chances[:, 2::2]
        kinds = best.argmax(1).tolist()
        firsts = (chances[:, 1::2] > chances[:, 2::2])[np.arange(len(kinds)), kinds].tolist()
        runs: list[list[int]] = []
        for at in np.nonzero(inside > floor)[0].tolist():
            if runs and runs[-1][1] == at and runs[-1][2] == kinds[at] and not firsts[at]:
                runs[-1][1] = at + 1
            else:
                runs.append([at, at + 1, kinds[at]])
        places = [match.span() for match in words(text).finditer(text)]
        spans = [Span(places[a][0], places[b - 1][1], TYPES[kind], round(float(inside[a:b].mean()), 3)) for a, b, kind in runs]
        return [span for span in spans if any(c.isalnum() for c in text[span.start:span.end])]


def _padded(numbers: list[list[int]]) -> tuple[npt.NDArray[np.int64], list[int]]:
    """All texts in one array, REACH paddings before, between and after; and where each starts when the first are taken off."""
    flat, starts = [0] * REACH, []
    for one in numbers:
        starts.append(len(flat) - REACH)
        flat += one
        flat += [0] * REACH
    return np.array(flat, np.int64), starts


def marginals(scores: Floats, transitions: Floats, pieces: Sequence[tuple[int, int]]) -> list[Floats]:
    """Label probabilities of chains by the forward-backward algorithm (Rabiner, Proc. IEEE 77(2), 1989, section III).

    scores: [words, LABELS], logarithms; transitions: [from, to], not logarithms; pieces: (start, length) of each chain in scores.
    Answers [length, LABELS] for each chain, rows adding up to 1.
    """
    order = sorted(range(len(pieces)), key=lambda i: -pieces[i][1])
    starts = np.array([pieces[i][0] for i in order])
    lengths = np.array([pieces[i][1] for i in order])
    longest, count = int(lengths[0]), len(order)
    alive = [int(np.searchsorted(-lengths, -t, side="left")) for t in range(longest)]  # chains longer than t
    local = np.exp(np.maximum(scores - scores.max(1, keepdims=True), -40.0))  # never 0: no sum below may vanish
    forward = np.zeros((longest, count, LABELS), np.float32)
    forward[0] = local[starts]
    for t in range(1, longest):
        n = alive[t]
        step = (forward[t - 1, :n] @ transitions) * local[starts[:n] + t]
        forward[t, :n] = step / step.sum(1, keepdims=True)
    backward = np.ones((count, LABELS), np.float32)
    for t in range(longest - 1, 0, -1):
        n = alive[t]
        joint = forward[t, :n] * backward[:n]
        forward[t, :n] = joint / joint.sum(1, keepdims=True)
        step = (backward[:n] * local[starts[:n] + t]) @ transitions.T
        backward[:n] = step / step.sum(1, keepdims=True)
    joint = forward[0] * backward
    forward[0] = joint / joint.sum(1, keepdims=True)
    answer: list[Floats] = [forward[:0, 0]] * count
    for place, i in enumerate(order):
        answer[i] = forward[:lengths[place], place]
    return answer
