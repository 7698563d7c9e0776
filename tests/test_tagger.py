"""The tagger: spans, determinism, the trade by bias, and a floor for accuracy on texts written for this test."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from transforms.detectors import tagger as tagger_module
from transforms.detectors.tagger import KNOWN_WORDS, LABELS, PIECE, TYPES, Span, Tagger, marginals
from transforms.detectors.tagger_features import case, features, shape, words

# (text, what it holds); none of these sentences is a template of the training script
FOUND = [
    ("Good afternoon, could you tell me whether Margaret Whitfield has already checked in?", [("PERSON_NAME", "Margaret Whitfield")]),
    ("my name is carlos hernandez and my internet is down", [("PERSON_NAME", "carlos hernandez")]),
    ("Spoke to Mr. Thompson about the leak.", [("PERSON_NAME", "Thompson")]),
    ("The applicant, Siobhán O'Brien, brought her payslips.", [("PERSON_NAME", "Siobhán O'Brien")]),
    ("Please post the new card to 48 Maple Avenue, Springfield, IL 62704.", [("STREET_ADDRESS", "48 Maple Avenue")]),
    ("Wir wohnen jetzt in der Bahnhofstraße 12", [("STREET_ADDRESS", "Bahnhofstraße 12")]),
    ("She rents a room at 9 rue de la Paix.", [("STREET_ADDRESS", "9 rue de la Paix")]),
    ("Next month I will be travelling through Portugal and Morocco.", [("LOCATION", "Portugal"), ("LOCATION", "Morocco")]),
    ("I have been living in Manchester since the divorce", [("LOCATION", "Manchester")]),
    ("He was let go by Harrison Logistics Ltd. without notice.", [("ORGANIZATION_NAME", "Harrison Logistics")]),
    ("My claim dates from 14 March 2019, long before the move.", [("DATE", "14 March 2019")]),
    ("Her surgery took place on September 3rd, 2021.", [("DATE", "September 3rd, 2021")]),
    ("The claimant is a 47-year-old welder.", [("AGE", "47")]),
]
NOTHING = [
    "", " ", "\n\n", "?!", "😀😀", "the parcel has not arrived yet", "Why was my transfer declined?", "I would like to change my PIN, please.",
    "The washing machine makes a strange noise when it spins.", "How long does a refund usually take?", "asdf qwer", "{first_name}",
    "Thanks for your help!", "Is there a fee for using the card abroad?", "We waited 45 minutes and nobody came.",
]


@pytest.fixture(scope="module")
def tagger() -> Tagger:
    return Tagger()


def overlapping(text: str, wanted: str, spans: Sequence[Span]) -> list[str]:
    start = text.index(wanted)
    return [span.info_type for span in spans if span.start < start + len(wanted) and start < span.end]


@pytest.mark.parametrize(("text", "wanted"), FOUND)
def test_finds(tagger: Tagger, text: str, wanted: list[tuple[str, str]]) -> None:
    [spans] = tagger.find([text])
    for kind, value in wanted:
        assert kind in overlapping(text, value, spans)


@pytest.mark.parametrize("text", NOTHING)
def test_finds_nothing(tagger: Tagger, text: str) -> None:
    assert tagger.find([text]) == [[]]


def test_no_texts(tagger: Tagger) -> None:
    assert tagger.find([]) == []


def test_spans_are_code_points_in_order_and_apart(tagger: Tagger) -> None:
    plain = "My name is Margaret Whitfield and I live in Manchester."
    text = "😀🏳️‍🌈 𝔘 " + plain  # characters outside the basic plane count as one each
    [spans], [without] = tagger.find([text]), tagger.find([plain])
    assert [text[s.start:s.end] for s in spans] == ["Margaret Whitfield", "Manchester"]
    assert [s.info_type for s in spans] == [s.info_type for s in without] == ["PERSON_NAME", "LOCATION"]
    assert all(a.end <= b.start for a, b in pairwise(spans))


def test_lone_surrogates_do_not_stop_it(tagger: Tagger) -> None:
    assert isinstance(tagger.find(["\ud83d My name is Margaret Whitfield \udc00"])[0], list)


def test_same_answer_whatever_stands_beside_it(tagger: Tagger) -> None:
    texts = [text for text, _ in FOUND] + NOTHING
    alone = [tagger.find([text])[0] for text in texts]
    assert tagger.find(texts) == alone
    assert Tagger().find(texts[::-1] * 60)[:len(texts)] == alone[::-1]  # another object, another order, more than one batch


def test_scores_are_chances_and_bias_trades(tagger: Tagger) -> None:
    texts = [text for text, _ in FOUND] + NOTHING
    careful, eager = Tagger(bias=-3.0).find(texts), Tagger(bias=3.0).find(texts)
    assert all(0.0 < span.score <= 1.0 for spans in eager for span in spans)
    covered = [sum(span.end - span.start for spans in found for span in spans) for found in (careful, tagger.find(texts), eager)]
    assert covered[0] < covered[1] < covered[2]


def test_long_text_is_tagged_to_its_end(tagger: Tagger) -> None:
    filler = "The kettle is on the table and the rain is over. " * PIECE
    text = filler + "My name is Margaret Whitfield."
    [spans] = tagger.find([text])
    assert "PERSON_NAME" in overlapping(text, "Margaret Whitfield", spans)
    assert len(spans) < 10


def test_forgets_words_beyond_its_limit() -> None:
    own, letters = Tagger(), "abcdefghijklmnopqrstuvwxyz"
    before = own.find([FOUND[0][0]])
    seen = [" ".join(a + b + c + d for c in letters for d in letters) for a in letters for b in letters[:4]]
    own.find(seen)
    assert own.find([FOUND[0][0]]) == before
    assert sum(map(len, own._ids.values())) <= KNOWN_WORDS < sum(len(text.split()) for text in seen)


def test_at_most_two_megabytes() -> None:
    assert Path(tagger_module.__file__).with_name("tagger.npz").stat().st_size <= 2_000_000


def test_loads_nothing_but_its_own_format() -> None:
    with pytest.raises(ValueError):
        Tagger(b"not a model")


@pytest.mark.parametrize(("word", "written", "expected"), [
    ("7", "", "n0"), ("31", "", "n1"), ("64", "", "n2"), ("1987", "", "ny"), ("12345", "", "n5"), ("a@b.org", "", "@"),
    ("https://x.org", "", "://"), ("Maria", "", "Xx"), ("USA", "", "X3"), ("McLeod", "", "XxX"), ("word", "", "x"), ("word", "y", "y"),
    ("WORD", "Y", "Y"), ("?", "", "?"), ("'s", "", "'s"),
])
def test_shape(word: str, written: str, expected: str) -> None:
    assert shape(word, written) == expected


@pytest.mark.parametrize(("text", "expected"), [("all small", "y"), ("ALL BIG", "Y"), ("As usual", ""), ("123", ""), ("", "")])
def test_case(text: str, expected: str) -> None:
    assert case(text) == expected


@pytest.mark.parametrize(("text", "expected"), [
    ("Don't go.", ["Don", "'t", "go", "."]), ("12B\n", ["12", "B", "\n"]), ("write a.b@c.org now", ["write", "a.b@c.org", "now"]),
    ("see www.x.org/a, ok", ["see", "www.x.org/a", ",", "ok"]), ("snake_case", ["snake", "_", "case"]),
])
def test_words(text: str, expected: list[str]) -> None:
    assert words(text).findall(text) == expected


def test_features_hide_long_numbers() -> None:
    seen, low, _ = features("4916613736624573", "", [])
    assert not any("4916" in feature for named in seen.values() for feature in named)
    assert low == "#n9"


def test_marginals_equal_counting_all_paths() -> None:
    chance = np.random.default_rng(5)
    scores = chance.normal(size=(5, LABELS)).astype(np.float32)
    transitions = chance.normal(size=(LABELS, LABELS)).astype(np.float32)
    total = np.zeros((3, LABELS))
    for path in np.ndindex(LABELS, LABELS, LABELS):
        weight = np.exp(sum(scores[2 + t, label] for t, label in enumerate(path)) + transitions[path[0], path[1]]
                        + transitions[path[1], path[2]])
        for t, label in enumerate(path):
            total[t, label] += weight
    answer = marginals(scores, np.exp(transitions), [(0, 2), (2, 3)])
    assert np.allclose(answer[2:], total / total.sum(1, keepdims=True), atol=1e-4)
    assert np.allclose(answer.sum(1), 1, atol=1e-5)


def test_types_are_dlp_names() -> None:
    assert TYPES == ("PERSON_NAME", "STREET_ADDRESS", "LOCATION", "ORGANIZATION_NAME", "DATE", "AGE")
