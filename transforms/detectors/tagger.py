"""Names, addresses, places, organisations, dates and ages in free text: a small sequence tagger, numpy alone at run time.

The model is a linear-chain conditional random field (Lafferty, McCallum and Pereira, ICML 2001) over hashed features of words, word
shapes, affixes and word lists; benchmarks/tagger/train.py makes it from templates and writes tagger.npz. Whatever one
word contributes to the scores of its neighbours is computed once per distinct word and kept, so a batch costs a few array gathers.
It is made for prose. Machine logs are not prose: user agents look like names, so keep it off such columns.
"""

import io
import math
import threading
from collections.abc import Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from transforms.detectors.tagger_features import OFFSETS, REACH, TOGETHER, Keys, case, features, key, together, words

TYPES = ("PERSON_NAME", "STREET_ADDRESS", "LOCATION", "ORGANIZATION_NAME", "DATE", "AGE")
LABELS = 2 * len(TYPES) + 1  # 0: outside; 2t+1: first word of type t; 2t+2: further word of type t
PIECE = 200  # longest chain, in words; a longer text is cut so that one huge text does not stretch the whole batch
KNOWN_WORDS = 40_000  # words kept between batches: about 500 bytes each
BATCH_TEXTS, BATCH_CHARACTERS = 512, 200_000  # looked at in one go, so that memory stays small
SCREEN = 1.0  # a text whose words, each read alone, all stay this far (log odds) below "part of a finding" is left
BUCKETS = 1 << 21

Floats = npt.NDArray[np.float32]
_ALONE = threading.Lock()


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
            self._bias = float(stored["bias"][0]) + bias
        self._keys = np.concatenate([np.zeros(1, np.uint32), keys])
        self._weights: Floats = np.concatenate([np.zeros((1, LABELS), np.float32), scaled.astype(np.float32)])
        self._row_of: npt.NDArray[np.int32] = np.zeros(BUCKETS, np.int32)
        self._row_of[keys % BUCKETS] = np.arange(1, len(keys) + 1)
        self._transitions: Floats = np.exp(np.maximum(transitions - transitions.max(), -20.0))
        self._forget()

    def find(self, texts: Sequence[str]) -> list[list[Span]]:
        """The findings of each text, in order of their start; findings of one text do not overlap. One thread of a process at a time."""
        found: list[list[Span]] = []
        ahead: list[str] = []
        room = BATCH_CHARACTERS
        with _ALONE:  # what it remembers of words is shared by threads that share an engine
            for text in texts:
                if ahead and (len(ahead) == BATCH_TEXTS or len(text) > room):
                    found += self._find(ahead)
                    ahead, room = [], BATCH_CHARACTERS
                ahead.append(text)
                room -= len(text)
            return found + self._find(ahead) if ahead else found

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
        rows: npt.NDArray[np.int32] = self._row_of[keys % np.uint32(BUCKETS)]
        rows[self._keys[rows] != keys] = 0
        return rows

    def _find(self, texts: Sequence[str]) -> list[list[Span]]:
        if sum(map(len, self._ids.values())) > KNOWN_WORDS:
            self._forget()
        found: list[list[Span]] = [[] for _ in texts]
        numbers = [self._numbers(text) for text in texts]
        scores, hot = self._scores(numbers)
        if not hot:
            return found
        lengths = [len(numbers[i]) for i in hot]
        starts = [0, *accumulate(lengths)]
        pieces = [(start + cut, min(PIECE, length - cut)) for start, length in zip(starts, lengths) for cut in range(0, length, PIECE)]
        chances = marginals(scores, self._transitions, pieces)
        inside = 1.0 - chances[:, 0]
        firsts, further = chances[:, 1::2], chances[:, 2::2]
        kinds = (firsts + further).argmax(1)
        begins = np.take_along_axis(firsts > further, kinds[:, None], 1)[:, 0]
        part = np.nonzero(inside > 1.0 / (1.0 + math.exp(self._bias)))[0]
        borders = part.searchsorted(starts).tolist()
        listed = list(zip(part.tolist(), kinds[part].tolist(), begins[part].tolist(), inside[part].tolist()))
        for i, start, low, high in zip(hot, starts, borders, borders[1:]):
            if low < high:
                found[i] = _spans(texts[i], [(at - start, *rest) for at, *rest in listed[low:high]])
        return found

    def _scores(self, numbers: list[list[int]]) -> tuple[Floats, list[int]]:
        """Scores of the words of the texts that pass the screen, text after text; and which texts those are."""
        flat, starts = _padded(numbers)
        scores = self._shares[REACH].take(flat[REACH:-REACH], 0)
        for at, offset in enumerate(OFFSETS):
            if offset:
                scores += self._shares[at].take(flat[REACH + offset:len(flat) - REACH + offset], 0)
        near = np.concatenate([[0], np.cumsum(scores[:, 1:].max(1) + self._bias > scores[:, 0] - SCREEN)])
        hot = [i for i, one in enumerate(numbers) if near[starts[i] + len(one)] > near[starts[i]]]
        if not hot:
            return scores[:0], hot
        rows = np.concatenate([np.arange(starts[i], starts[i] + len(numbers[i])) for i in hot])
        scores = scores.take(rows, 0)
        word_keys, class_keys = self._keys_of_word.take(flat, 1)
        for number in range(len(TOGETHER)):
            scores += self._weights.take(self._rows(together(word_keys, class_keys, number).take(rows)), 0)
        return scores, hot


def _spans(text: str, parts: list[tuple[int, int, bool, float]]) -> list[Span]:
    """Joins words that are part of a finding, (number of the word, type, begins a finding, probability), to findings."""
    runs: list[list[tuple[int, int, bool, float]]] = []
    for part in parts:
        at, kind, begins, _ = part
        if runs and not begins and runs[-1][-1][:2] == (at - 1, kind):
            runs[-1].append(part)
        else:
            runs.append([part])
    places = [match.span() for match in words(text).finditer(text)]
    spans = [Span(places[run[0][0]][0], places[run[-1][0]][1], TYPES[run[0][1]], round(sum(p for *_, p in run) / len(run), 3))
             for run in runs]
    return [span for span in spans if any(c.isalnum() for c in text[span.start:span.end])]


def _padded(numbers: list[list[int]]) -> tuple[npt.NDArray[np.int64], list[int]]:
    """All texts in one array, REACH paddings before, between and after; and where each starts when the first are taken off."""
    flat, starts = [0] * REACH, []
    for one in numbers:
        starts.append(len(flat) - REACH)
        flat += one
        flat += [0] * REACH
    return np.array(flat, np.int64), starts


def marginals(scores: Floats, transitions: Floats, chains: Sequence[tuple[int, int]]) -> Floats:
    """Label probabilities of chains by the forward-backward algorithm (Rabiner, Proc. IEEE 77(2), 1989, section III).

    scores: [words, LABELS], logarithms; transitions: [from, to], not logarithms; chains: (start, length) of each in scores.
    Answers [words, LABELS], rows adding up to 1, the same to the last bit whatever else is in the batch (a matrix product would
    not be: its order of summing depends on the number of rows).
    """
    ordered = np.array(sorted(chains, key=lambda chain: -chain[1]))
    starts, lengths = ordered[:, 0], ordered[:, 1]
    steps = [starts[:int(np.searchsorted(-lengths, -t))] + t for t in range(int(lengths[0]))]  # rows of every chain's word t
    local = np.exp(np.maximum(scores - scores.max(1, keepdims=True), -40.0))  # never 0: no sum below may vanish
    answer: Floats = local.copy()
    for before, at in pairwise(steps):
        step = np.einsum("ij,jk", answer[before[:len(at)]], transitions) * local[at]
        answer[at] = step / step.sum(1, keepdims=True)
    backward = np.ones((len(starts), LABELS), np.float32)
    for at in reversed(steps):
        joint = answer[at] * backward[:len(at)]
        answer[at] = joint / joint.sum(1, keepdims=True)
        step = np.einsum("ij,kj", backward[:len(at)] * local[at], transitions)
        backward[:len(at)] = step / step.sum(1, keepdims=True)
    return answer
