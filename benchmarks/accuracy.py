"""How far the detectors reach: precision, recall and F2 by infoType on annotated texts.

    python -m benchmarks.accuracy ANNOTATED.json [--likelihood=POSSIBLE] [--tagger] [--misses=PHONE_NUMBER]

ANNOTATED.json as presidio-research writes it: [{"full_text": ..., "spans": [{"entity_type", "start_position", "end_position"}]}].
A span counts as found when a finding of its type overlaps it, a finding as right when it overlaps a span of its type; "any" asks only
whether something was found where something is. Presidio is measured beside it when it can be imported.
"""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

from google.cloud.dlp_v2.types import InspectConfig

from benchmarks.presidio import analyzer
from transforms.detectors.inspector import Inspector, Likelihood

NAMES = {
    "EMAIL_ADDRESS": "EMAIL_ADDRESS",
    "PHONE_NUMBER": "PHONE_NUMBER",
    "US_SSN": "US_SOCIAL_SECURITY_NUMBER",
    "CREDIT_CARD": "CREDIT_CARD_NUMBER",
    "IBAN_CODE": "IBAN_CODE",
    "IP_ADDRESS": "IP_ADDRESS",
    "DOMAIN_NAME": "URL",
    "URL": "URL",
    "US_DRIVER_LICENSE": "US_DRIVERS_LICENSE_NUMBER",
    "US_PASSPORT": "US_PASSPORT",
    "PERSON": "PERSON_NAME",
    "ADDRESS": "STREET_ADDRESS",
    "STREET_ADDRESS": "STREET_ADDRESS",
    "LOCATION": "LOCATION",
    "GPE": "LOCATION",
    "ORGANIZATION": "ORGANIZATION_NAME",
    "DATE_TIME": "DATE",
    "AGE": "AGE",
}
Span = tuple[int, int, str]


def rates(gold: Iterable[list[Span]], found: Iterable[list[Span]], name: str) -> tuple[float, float, float, int, int]:
    """(precision, recall, F2, spans, findings) of one infoType, or of all under the name any."""
    right = hit = spans = findings = 0
    for marked, guessed in zip(gold, found, strict=True):
        of = [s for s in marked if name in (s[2], "any")]
        by = [s for s in guessed if name in (s[2], "any")]
        spans += len(of)
        findings += len(by)
        hit += sum(any(b[0] < s[1] and s[0] < b[1] for b in by) for s in of)
        right += sum(any(b[0] < s[1] and s[0] < b[1] for s in of) for b in by)
    precision, recall = right / findings if findings else 1.0, hit / spans if spans else 1.0
    both = 4 * precision + recall
    return precision, recall, 5 * precision * recall / both if both else 0.0, spans, findings


def ours(texts: list[str], types: list[str], likelihood: str, tagged: bool) -> list[list[Span]]:
    tagger = None
    if tagged:
        from transforms.detectors.tagger import Tagger

        tagger = Tagger()
    config = InspectConfig(info_types=[{"name": t} for t in types], min_likelihood=Likelihood[likelihood])
    inspector = Inspector.from_config(config, tagger)
    return [[(f.start, f.end, f.info_type) for f in inspector.find(text)] for text in texts]


def presidio(texts: list[str]) -> list[list[Span]] | None:
    engine = analyzer()
    if engine is None:
        return None
    return [
        [(r.start, r.end, NAMES.get(r.entity_type, r.entity_type)) for r in engine.analyze(text, "en")]
        for text in texts
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("annotated", type=Path)
    parser.add_argument("--likelihood", default="POSSIBLE", choices=[x.name for x in Likelihood])
    parser.add_argument("--tagger", action="store_true", help="the tagger votes too")
    parser.add_argument("--misses", default="", help="print what this infoType misses and finds wrongly")
    options = parser.parse_args()
    rows = json.loads(options.annotated.read_text("utf-8"))
    texts = [r["full_text"] for r in rows]
    gold = [
        [
            (s["start_position"], s["end_position"], NAMES[s["entity_type"]])
            for s in r["spans"]
            if s["entity_type"] in NAMES
        ]
        for r in rows
    ]
    types = sorted({s[2] for spans in gold for s in spans})
    engines = {"penstock": ours(texts, types, options.likelihood, options.tagger), "presidio": presidio(texts)}
    for engine, found in engines.items():
        if found is None:
            print(f"{engine}: not installed")
            continue
        print(f"{engine:24} {'P':>6} {'R':>6} {'F2':>6} {'spans':>6} {'found':>6}")
        for name in [*types, "any"]:
            precision, recall, f2, spans, findings = rates(gold, found, name)
            print(f"{name:24} {precision:6.3f} {recall:6.3f} {f2:6.3f} {spans:6} {findings:6}")
    if options.misses:
        _misses(texts, gold, engines["penstock"] or [], options.misses)


def _misses(texts: list[str], gold: list[list[Span]], found: list[list[Span]], name: str) -> None:
    for text, marked, guessed in zip(texts, gold, found, strict=True):
        for sign, these, those in (("-", marked, guessed), ("+", guessed, marked)):
            for start, end, _ in (s for s in these if s[2] == name):
                if not any(b[0] < end and start < b[1] for b in those if b[2] == name):
                    print(
                        sign, repr(text[max(0, start - 30) : start]), repr(text[start:end]), repr(text[end : end + 20])
                    )


if __name__ == "__main__":
    main()
