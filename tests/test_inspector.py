"""The Inspector: configs, rules, overlaps, columns."""

import itertools
import pickle
from typing import Any, NamedTuple

import pyarrow as pa
import pytest
from google.cloud.dlp_v2.types import InspectConfig
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import Misconfigured
from transforms.detectors.custom import Dictionary
from transforms.detectors.info_type import Hit, Strength
from transforms.detectors.inspector import Finding, Inspector, Likelihood
from transforms.detectors.overlaps import resolve

CARD, EMAIL, IBAN, SSN, PHONE = "CREDIT_CARD_NUMBER", "EMAIL_ADDRESS", "IBAN_CODE", "US_SOCIAL_SECURITY_NUMBER", "PHONE_NUMBER"


def build(*types: str, **config: Any) -> Inspector:
    return Inspector.from_config(InspectConfig(info_types=[{"name": t} for t in types], **config))


def quotes(inspector: Inspector, text: str) -> list[tuple[str, str]]:
    return [(f.info_type, text[f.start : f.end]) for f in inspector.find(text)]


def code(**rest: Any) -> dict[str, Any]:
    """A custom infoType for codes such as C-1234."""
    return {"info_type": {"name": "CODE"}, "regex": {"pattern": r"C-(\d)(\d{3})"}, **rest}


# Offsets


@pytest.mark.parametrize("before", ["", "x ", "é ", "😀 ", "漢字 ", "e\u0301 ", "👩‍👩‍👧 ", "é😀 " * 3000])
def test_offsets_count_code_points(before: str) -> None:
    text = f"{before}mail jane@x.org ✓ or 123-45-6789 😀"
    inspector = build(EMAIL, SSN)
    assert quotes(inspector, text) == [(EMAIL, "jane@x.org"), (SSN, "123-45-6789")]
    assert inspector.find_column(pa.array([text])) == [(0, inspector.find(text))]


def test_lone_surrogates_hide_nothing() -> None:
    assert quotes(build(EMAIL), "\udcff jane@x.org \ud800") == [(EMAIL, "jane@x.org")]


# Likelihood


@pytest.mark.parametrize(("least", "found"), [
    ("LIKELIHOOD_UNSPECIFIED", 2), ("VERY_UNLIKELY", 3), ("UNLIKELY", 2), ("POSSIBLE", 2), ("LIKELY", 1), ("VERY_LIKELY", 0),
])  # fmt: skip
def test_min_likelihood(least: str, found: int) -> None:
    text = "a 123-45-6789 b 123 45 6788 c 123456787"  # LIKELY, POSSIBLE, VERY_UNLIKELY
    assert len(build(SSN, min_likelihood=least).find(text)) == found


def test_min_likelihood_of_one_info_type() -> None:
    inspector = build(SSN, EMAIL, min_likelihood="VERY_LIKELY",
                      min_likelihood_per_info_type=[{"info_type": {"name": SSN}, "min_likelihood": "LIKELY"}])  # fmt: skip
    assert quotes(inspector, "123-45-6789 jane@x.org") == [(SSN, "123-45-6789"), (EMAIL, "jane@x.org")]


# Overlaps


def hit(start: int, end: int, name: str, strength: Strength = Strength.SPECIFIC, likelihood: Likelihood = Likelihood.LIKELY) -> Hit:
    return Hit(start, end, name, likelihood, strength)


@pytest.mark.parametrize(("hits", "kept", "remark"), [
    ([hit(0, 9, "A", Strength.LOOSE), hit(0, 4, "B", Strength.CHECKED)], [("B", 0, 4), ("A", 4, 9)], "a checksum wins, the rest stays"),
    ([hit(0, 9, "A"), hit(2, 4, "B")], [("A", 0, 9)], "of equals the longer"),
    ([hit(0, 4, "A", likelihood=Likelihood.POSSIBLE), hit(0, 4, "B")], [("B", 0, 4)], "then the likelier"),
    ([hit(2, 6, "A"), hit(0, 4, "B")], [("B", 0, 4), ("A", 4, 6)], "then the one that starts first"),
    ([hit(0, 4, "B"), hit(0, 4, "A")], [("A", 0, 4)], "then the name"),
    ([hit(0, 4, "A"), hit(3, 9, "A", likelihood=Likelihood.POSSIBLE)], [("A", 0, 9)], "of one infoType: one finding"),
    ([hit(0, 9, "A", Strength.LOOSE), hit(3, 6, "B")], [("A", 0, 3), ("B", 3, 6), ("A", 6, 9)], "a hole in the middle"),
    ([hit(0, 4, "A"), hit(4, 8, "B")], [("A", 0, 4), ("B", 4, 8)], "side by side is no overlap"),
], ids=lambda x: x if isinstance(x, str) else "")  # fmt: skip
def test_overlaps(hits: list[Hit], kept: list[tuple[str, int, int]], remark: str) -> None:
    for order in (hits, hits[::-1]):
        assert [(f.info_type, f.start, f.end) for f in resolve(order, "abcdefghijkl")] == kept


def test_what_remains_of_a_loser_has_no_separators_at_the_cuts() -> None:
    assert resolve([hit(0, 8, "A", Strength.LOOSE), hit(0, 3, "B", Strength.CHECKED)], "abc - de") == [
        Finding("B", 0, 3, Likelihood.LIKELY), Finding("A", 6, 8, Likelihood.LIKELY)]  # fmt: skip
    assert [f.info_type for f in resolve([hit(0, 5, "A", Strength.LOOSE), hit(0, 3, "B", Strength.CHECKED)], "abc -")] == ["B"]


spans = st.builds(lambda a, n, name, s, p: Hit(a, min(a + n, 30), name, p, s), st.integers(0, 29), st.integers(1, 12), st.sampled_from("ABC"),
                  st.sampled_from(list(Strength)), st.sampled_from(list(Likelihood)))  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(spans, max_size=8))
def test_nothing_found_is_left_in_clear(hits: list[Hit]) -> None:
    findings = resolve(hits, "x" * 30)
    assert {p for h in hits for p in range(h.start, h.end)} == {p for f in findings for p in range(f.start, f.end)}
    assert all(a.end <= b.start for a, b in itertools.pairwise(findings))


def test_card_beats_phone_and_url_holds_its_address() -> None:
    assert quotes(build(PHONE, CARD), "call 4111 1111 1111 1111") == [(CARD, "4111 1111 1111 1111")]
    assert quotes(build(EMAIL, "URL"), "https://x.org/?m=jane@x.org&t=1") == [("URL", "https://x.org/?m=jane@x.org&t=1")]
    assert quotes(build(IBAN, "URL"), "https://x.org/NO9386011117947/z") == [("URL", "https://x.org"), (IBAN, "NO9386011117947"), ("URL", "z")]
    assert quotes(build("DATE", "DATE_OF_BIRTH"), "born 3 March 1981") == [("DATE_OF_BIRTH", "3 March 1981")]


# Custom infoTypes


def test_custom_regex_and_its_groups() -> None:
    assert quotes(build(custom_info_types=[code()]), "é C-1234 C-12") == [("CODE", "C-1234")]
    grouped = code(regex={"pattern": r"C-(\d)(\d{3})", "group_indexes": [2]})
    assert quotes(build(custom_info_types=[grouped]), "é C-1234") == [("CODE", "234")]
    assert build(custom_info_types=[code()]).find("C-1234")[0].likelihood is Likelihood.VERY_LIKELY
    assert build(custom_info_types=[code(likelihood="UNLIKELY")]).find("C-1234") == []


def test_custom_regex_may_extend_a_built_in_type() -> None:
    extended = build(EMAIL, custom_info_types=[{"info_type": {"name": EMAIL}, "regex": {"pattern": r"user:\w+"}}])
    assert quotes(extended, "jane@x.org user:jane") == [(EMAIL, "jane@x.org"), (EMAIL, "user:jane")]


def test_group_names_of_two_regexes_may_clash() -> None:
    two = [{"info_type": {"name": n}, "regex": {"pattern": f"{n}(?P<x>[0-9]+)"}} for n in ("AA", "BB")]
    assert build(custom_info_types=two).find_column(pa.array(["AA1 BB2", "none"]))[0][0] == 0


@pytest.mark.parametrize(("text", "found", "remark"), [
    ("sam johnson", ["sam johnson"], "case"),
    ("Sam (Johnson)!", ["Sam (Johnson"], "whatever is no letter separates"),
    ("samjohnson", [], "words are whole"),
    ("jen123 jennifer", ["jen"], "digits end a word"),
    ("MÜLLER 😀 and jen", ["MÜLLER", "jen"], "beyond ASCII"),
    ("sam smith johnson", [], "phrases are whole"),
])  # fmt: skip
def test_dictionary(text: str, found: list[str], remark: str) -> None:
    words = {"info_type": {"name": "STAFF"}, "dictionary": {"word_list": {"words": ["Sam Johnson", "jen", "Müller"]}}}
    inspector = build(custom_info_types=[words])
    assert [q for _, q in quotes(inspector, text)] == found
    assert [f for _, f in inspector.find_column(pa.array([text]))] == ([inspector.find(text)] if found else [])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(min_size=2, max_size=5), min_size=1, max_size=4), st.text(max_size=12))
def test_the_screen_of_a_dictionary_hides_nothing(phrases: list[str], text: str) -> None:
    import re2

    dictionary = Dictionary(phrases)
    for value in (text, *phrases, *(p.upper() for p in phrases)):
        if dictionary.spans(value):
            assert re2.search(dictionary.screen(), value)


def test_surrogates_are_found_by_their_length() -> None:
    inspector = build(custom_info_types=[{"info_type": {"name": "TOK"}, "surrogate_type": {}}])
    assert quotes(inspector, "a TOK(5):é2345678 b TOK(99):x") == [("TOK", "TOK(5):é2345")]


# Rules


def hotword(pattern: str, before: int = 0, after: int = 0, **adjustment: Any) -> dict[str, Any]:
    return {"hotword_rule": {"hotword_regex": {"pattern": pattern}, "proximity": {"window_before": before, "window_after": after},
                             "likelihood_adjustment": adjustment}}  # fmt: skip


def exclusion(**rule: Any) -> dict[str, Any]:
    return {"exclusion_rule": rule}


def ruled(rules: list[dict[str, Any]], *types: str, **config: Any) -> Inspector:
    return build(*types, rule_set=[{"info_types": [{"name": types[0] if types else "CODE"}], "rules": rules}], **config)


@pytest.mark.parametrize(("rules", "text", "likelihood", "remark"), [
    ([hotword("(?i)case", 10, fixed_likelihood="POSSIBLE")], "Case C-1234", 3, "fixed, before"),
    ([hotword("(?i)case", 10, fixed_likelihood="POSSIBLE")], "Case and many words C-1234", 5, "too far"),
    ([hotword("case", 6, fixed_likelihood="POSSIBLE")], "xcase C-1234", 3, "the whole word within the window"),
    ([hotword("case", 4, fixed_likelihood="POSSIBLE")], "case C-1234", 5, "a part of it within the window"),
    ([hotword("case", 0, 6, fixed_likelihood="POSSIBLE")], "C-1234 case", 3, "after"),
    ([hotword("case", 6, fixed_likelihood="POSSIBLE")], "C-1234 case", 5, "after, but only before was asked"),
    ([hotword("C-1", 1, relative_likelihood=-1)], "C-1234", 4, "the finding is in its window"),
    ([hotword("case", 9, relative_likelihood=-1), hotword("case", 9, relative_likelihood=-1)], "case C-1234", 3, "two in a row"),
    ([hotword("case", 9, relative_likelihood=1), hotword("case", 9, relative_likelihood=-1)], "case C-1234", 4, "never above the top"),
    ([hotword("é😀", 4, fixed_likelihood="POSSIBLE")], "é😀 C-1234", 3, "windows count code points"),
])  # fmt: skip
def test_hotword_rules(rules: list[dict[str, Any]], text: str, likelihood: int, remark: str) -> None:
    assert [f.likelihood for f in ruled(rules, custom_info_types=[code()]).find(text)] == [likelihood]
    by_detection_rule = build(custom_info_types=[code(detection_rules=rules)])
    assert [f.likelihood for f in by_detection_rule.find(text)] == [likelihood]


FULL, PARTIAL, INVERSE = (f"MATCHING_TYPE_{m}_MATCH" for m in ("FULL", "PARTIAL", "INVERSE"))


@pytest.mark.parametrize(("rule", "text", "left", "remark"), [
    ({"regex": {"pattern": ".*@x.org"}, "matching_type": FULL}, "a@x.org b@y.org", ["b@y.org"], "regex, full"),
    ({"regex": {"pattern": "x"}, "matching_type": FULL}, "a@x.org", ["a@x.org"], "regex, full, not whole"),
    ({"regex": {"pattern": "x"}, "matching_type": PARTIAL}, "a@x.org b@y.org", ["b@y.org"], "regex, partial"),
    ({"regex": {"pattern": "x"}, "matching_type": INVERSE}, "a@x.org b@y.org", ["a@x.org"], "regex, inverse"),
    ({"dictionary": {"word_list": {"words": ["a@x.org"]}}, "matching_type": FULL}, "a@x.org aa@x.org", ["aa@x.org"], "words, full"),
    ({"dictionary": {"word_list": {"words": ["xx"]}}, "matching_type": FULL}, "a@xx.org", ["a@xx.org"], "words, full, not whole"),
    ({"dictionary": {"word_list": {"words": ["xx"]}}, "matching_type": PARTIAL}, "a@xx.org b@y.org", ["b@y.org"], "words, partial"),
    ({"dictionary": {"word_list": {"words": ["xx"]}}, "matching_type": INVERSE}, "a@xx.org b@y.org", ["a@xx.org"], "words, inverse"),
    ({"exclude_by_hotword": {"hotword_regex": {"pattern": "test"}, "proximity": {"window_before": 6}}}, "test a@x.org, b@y.org", ["b@y.org"], "hotword"),
])  # fmt: skip
def test_exclusion_rules(rule: dict[str, Any], text: str, left: list[str], remark: str) -> None:
    assert [q for _, q in quotes(ruled([exclusion(**rule)], EMAIL), text)] == left


@pytest.mark.parametrize(("matching", "left", "remark"), [
    (FULL, ["jane@x.org"], "inside the other"), (PARTIAL, ["jane@x.org"], "overlaps the other"), (INVERSE, ["2125550142"], "stands alone"),
])  # fmt: skip
def test_exclusion_by_info_types(matching: str, left: list[str], remark: str) -> None:
    """The code is inside an address once and alone once; the address itself is hidden where the codes are asked for."""
    rule = exclusion(exclude_info_types={"info_types": [{"name": EMAIL}]}, matching_type=matching)
    number = {"info_type": {"name": "CODE"}, "regex": {"pattern": r"\d{10}"}}
    inspector = build(EMAIL, custom_info_types=[number], rule_set=[{"info_types": [{"name": "CODE"}], "rules": [rule]}])
    found = [q for n, q in quotes(inspector, "2125550142@x.org 7185550142") if n == "CODE"]
    assert found == (["2125550142"] if matching == INVERSE else ["7185550142"])


@pytest.mark.timeout(300)
def test_rules_on_a_long_text_take_time_by_its_length() -> None:
    """Squares of its findings or of its length would take minutes here."""
    by_type = exclusion(exclude_info_types={"info_types": [{"name": SSN}]}, matching_type=PARTIAL)
    inspector = ruled([by_type, hotword("x", 10, relative_likelihood=-1)], EMAIL, custom_info_types=[{"info_type": {"name": SSN}, "regex": {"pattern": "b@"}}])
    assert {f.info_type for f in inspector.find("é b@x.org c@y.org" * 4000)} == {SSN, EMAIL}


def test_excluded_custom_types_count_for_rules_and_are_never_told() -> None:
    internal = {"info_type": {"name": "INTERNAL"}, "regex": {"pattern": r"\S+@corp\.example"}, "exclusion_type": "EXCLUSION_TYPE_EXCLUDE"}
    rule = exclusion(exclude_info_types={"info_types": [{"name": "INTERNAL"}]}, matching_type=FULL)
    inspector = ruled([rule], EMAIL, custom_info_types=[internal])
    assert quotes(inspector, "a@corp.example b@x.org") == [(EMAIL, "b@x.org")]


# Faults

FAULTS: list[tuple[dict[str, Any], str]] = [
    ({}, "infoTypes: is empty"),
    ({"info_types": [{"name": "NO_SUCH"}]}, "infoTypes[0]: NO_SUCH has no offline detector"),
    ({"info_types": [{"name": EMAIL, "version": "legacy"}]}, "infoTypes[0].version"),
    ({"info_types": [{"name": EMAIL}], "exclude_info_types": True}, "excludeInfoTypes"),
    ({"info_types": [{"name": EMAIL}], "min_likelihood": 9}, "minLikelihood: is no likelihood"),
    ({"custom_info_types": [code(regex={"pattern": "(?=x)"})]}, "customInfoTypes[0].regex.pattern: is no pattern"),
    ({"custom_info_types": [code(regex={"pattern": "x{1,2000}"})]}, "customInfoTypes[0].regex.pattern: is no pattern"),
    ({"custom_info_types": [code(regex={"pattern": ""})]}, "customInfoTypes[0].regex.pattern: is empty"),
    ({"custom_info_types": [code(regex={"pattern": "(x)", "group_indexes": [2]})]}, "regex.groupIndexes"),
    ({"custom_info_types": [{"info_type": {"name": "a b"}, "regex": {"pattern": "x"}}]}, "infoType.name"),
    ({"custom_info_types": [{"info_type": {"name": "S"}, "stored_type": {"name": "projects/p/storedInfoTypes/s"}}]}, "storedType has no offline form"),
    ({"custom_info_types": [{"info_type": {"name": "S"}}]}, "without a type"),
    ({"custom_info_types": [{"info_type": {"name": "S"}, "dictionary": {"cloud_storage_path": {"path": "gs://b/f"}}}]}, "holds no wordList"),
    ({"custom_info_types": [{"info_type": {"name": "S"}, "dictionary": {"word_list": {"words": ["x"]}}}]}, "wordList: needs words"),
    ({"custom_info_types": [code(detection_rules=[hotword("x", 9)])]}, "detectionRules[0].hotwordRule.likelihoodAdjustment"),
    ({"info_types": [{"name": EMAIL}], "rule_set": [{"info_types": [{"name": SSN}], "rules": [hotword("x", 9, relative_likelihood=1)]}]}, "ruleSet[0].infoTypes"),
    ({"info_types": [{"name": EMAIL}], "rule_set": [{"info_types": [{"name": EMAIL}]}]}, "ruleSet[0]: needs"),
    ({"info_types": [{"name": EMAIL}], "rule_set": [{"info_types": [{"name": EMAIL}], "rules": [{"adjustment_rule": {}}]}]}, "rules[0]: is neither"),
    ({"info_types": [{"name": EMAIL}], "rule_set": [{"info_types": [{"name": EMAIL}], "rules": [hotword("x", 900, 900, relative_likelihood=1)]}]}, "hotwordRule.proximity"),
    ({"info_types": [{"name": EMAIL}], "rule_set": [{"info_types": [{"name": EMAIL}], "rules": [exclusion(regex={"pattern": "x"})]}]}, "matchingType"),
    ({"info_types": [{"name": EMAIL}], "rule_set": [{"info_types": [{"name": EMAIL}], "rules": [exclusion(matching_type=FULL)]}]}, "exclusionRule: needs"),
    ({"info_types": [{"name": EMAIL}], "min_likelihood_per_info_type": [{"info_type": {"name": SSN}, "min_likelihood": "LIKELY"}]}, "minLikelihoodPerInfoType[0].infoType"),
]


@pytest.mark.parametrize(("config", "said"), FAULTS, ids=[said for _, said in FAULTS])
def test_faults(config: dict[str, Any], said: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        Inspector.from_config(InspectConfig(config))
    assert len(caught.value.faults) == 1
    assert said in str(caught.value)
    assert caught.value.faults[0].where.startswith("inspectConfig.")


def test_all_faults_at_once() -> None:
    config = InspectConfig(info_types=[{"name": "NO_SUCH"}, {"name": "NOR_THIS"}], custom_info_types=[code(regex={"pattern": "("})])
    with pytest.raises(Misconfigured) as caught:
        Inspector.from_config(config)
    assert len(caught.value.faults) == 3


def test_limits_and_quotes_are_read_and_ignored() -> None:
    inspector = build(EMAIL, include_quote=True, limits={"max_findings_per_item": 1})
    assert len(inspector.find("a@x.org b@x.org")) == 2


def test_it_pickles() -> None:
    inspector = pickle.loads(pickle.dumps(build(EMAIL, custom_info_types=[code()])))
    assert quotes(inspector, "a@x.org C-1234") == [(EMAIL, "a@x.org"), ("CODE", "C-1234")]


# A second voter


class Vote(NamedTuple):
    start: int
    end: int
    info_type: str
    score: float


class Voter:
    """Says that every Zyx is a person, and that it is sure or not."""

    def __init__(self, score: float) -> None:
        self.score = score

    def find(self, texts: Any) -> list[list[Vote]]:
        return [[Vote(t.index("Zyx"), t.index("Zyx") + 3, "PERSON_NAME", self.score)] if "Zyx" in t else [] for t in texts]


def test_a_tagger_votes_beside_the_patterns() -> None:
    config = InspectConfig(info_types=[{"name": "PERSON_NAME"}, {"name": EMAIL}])
    sure = Inspector.from_config(config, Voter(0.95))
    assert quotes(sure, "so Zyx wrote a@x.org") == [("PERSON_NAME", "Zyx"), (EMAIL, "a@x.org")]
    assert quotes(sure, "Dr. Zyx Abc") == [("PERSON_NAME", "Zyx Abc")]
    assert [row for row, _ in sure.find_column(pa.array(["clean", "so Zyx", None]))] == [1]
    assert Inspector.from_config(config, Voter(0.3)).find("so Zyx wrote") == []
    assert Inspector.from_config(InspectConfig(info_types=[{"name": EMAIL}]), Voter(0.95)).find("so Zyx wrote") == []
