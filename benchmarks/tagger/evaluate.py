"""Precision, recall and F2 of the tagger: python -m benchmarks.tagger.evaluate LABELLED.json [--plain=banking77_test.csv] [--part=test]

LABELLED: the format of presidio-research (microsoft/presidio-research, MIT): [{"full_text", "template_id", "spans": [{"entity_type",
"start_position", "end_position"}]}]. It is split in two by template; all that was chosen was chosen on `dev`, and `test` is for reports.
A labelled span is found when a finding (of its type) overlaps it, a finding is right when it overlaps a labelled span (of its type).
Findings on what patterns detect (cards, phones, e-mail ...) and on job titles count neither way; neither do ages, which the set does not label.
"""

import argparse
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from benchmarks.tagger.corpus import corpus
from benchmarks.tagger.train import plain_texts
from benchmarks.tagger.values import Values
from transforms.detectors.tagger import TYPES, Span, Tagger
from transforms.detectors.tagger_features import words

MEANS = {"PERSON": "PERSON_NAME", "ADDRESS": "STREET_ADDRESS", "STREET_ADDRESS": "STREET_ADDRESS", "LOCATION": "LOCATION", "GPE": "LOCATION",
         "ORGANIZATION": "ORGANIZATION_NAME", "DATE_TIME": "DATE", "AGE": "AGE", "PREFIX": "PERSON_NAME", **{kind: kind for kind in TYPES}}


def part_of(item: dict[str, Any]) -> str:
    """Which half a text belongs to: all texts of one template are on one side."""
    return "test" if hashlib.sha256(f"tagger{item['template_id']}".encode()).digest()[0] % 2 else "dev"


def tally(items: Sequence[dict[str, Any]], findings: Sequence[Sequence[Span]]) -> dict[str, Counter[str]]:
    """By type, and for any type: how many findings, how many of them right, how many labelled spans, how many of them found."""
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in (*TYPES, "any")}
    labels_ages = any(span["entity_type"] == "AGE" for item in items for span in item["spans"])
    for item, found in zip(items, findings, strict=True):
        spans = [(s["start_position"], s["end_position"], MEANS.get(s["entity_type"])) for s in item["spans"]]
        wanted = [s for s in spans if s[2]]
        for start, end, kind, _ in found:
            hit = [s[2] for s in spans if s[0] < end and start < s[1]]
            if (hit and not any(hit)) or (not hit and kind == "AGE" and not labels_ages):
                continue
            counts[kind].update(findings=1, right=kind in hit)
            counts["any"].update(findings=1, right=any(hit))
        for start, end, want in wanted:
            hit = [f.info_type for f in found if f.start < end and start < f.end]
            counts[str(want)].update(labelled=1, found=want in hit)
            counts["any"].update(labelled=1, found=bool(hit))
    return counts


def table(counts: dict[str, Counter[str]]) -> str:
    """One line a type."""
    lines = [f"{'type':20}{'P':>7}{'R':>7}{'F2':>7}{'n':>7}"]
    for kind, c in counts.items():
        if c["labelled"]:
            p, r = c["right"] / max(1, c["findings"]), c["found"] / c["labelled"]
            lines.append(f"{kind:20}{100 * p:7.1f}{100 * r:7.1f}{500 * p * r / max(1e-9, 4 * p + r):7.1f}{c['labelled']:7}")
    return "\n".join(lines)


def unseen(size: int) -> list[dict[str, Any]]:
    """Texts of the held-out templates (train.py --hold_out), in the format of LABELLED."""
    items = []
    for parts in corpus(Values(99), size, [], held=True):
        ends = list(accumulate(len(text) for text, _ in parts))
        items.append({"full_text": "".join(text for text, _ in parts), "template_id": 0,
                      "spans": [{"entity_type": kind, "start_position": end - len(text), "end_position": end}
                                for end, (text, kind) in zip(ends, parts, strict=True) if kind]})
    return items


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("labelled", nargs="?")
    options.add_argument("--unseen", type=int, default=0, help="score so many texts of the held-out templates instead")
    options.add_argument("--plain", help="a CSV of texts with nothing to find")
    options.add_argument("--part", default="dev", choices=["dev", "test", "all"])
    options.add_argument("--model")
    options.add_argument("--bias", type=float, default=0.0)
    options.add_argument("--show", type=int, default=0, help="print so many errors (shows the texts: for the dev part)")
    chosen = options.parse_args()
    tagger = Tagger(Path(chosen.model).read_bytes() if chosen.model else None, chosen.bias)
    items = unseen(chosen.unseen) if chosen.unseen else [
        i for i in json.loads(Path(chosen.labelled).read_text(encoding="utf-8")) if chosen.part in ("all", part_of(i))]
    found = tagger.find([item["full_text"] for item in items])
    print(f"{'unseen' if chosen.unseen else chosen.part}: {len(items)} texts, {len({i['template_id'] for i in items})} templates\n{table(tally(items, found))}")
    if chosen.show:
        show(items, found, chosen.show)
    if chosen.plain:
        texts = plain_texts(chosen.plain)
        spans = tagger.find(texts)
        total = sum(len(words(text).findall(text)) for text in texts)
        print(f"{chosen.plain}: {1000 * sum(map(len, spans)) / total:.2f} findings per 1,000 words")
        for text, own in list(zip(texts, spans, strict=True)):
            if own and chosen.show:
                print("   ", [(text[s.start:s.end], s.info_type, s.score) for s in own], "|", text[:90])


def show(items: Sequence[dict[str, Any]], findings: Sequence[Sequence[Span]], limit: int) -> None:
    """Prints what was missed (-) and what was found wrongly (+), of any type."""
    for item, found in zip(items, findings, strict=True):
        spans, text = item["spans"], item["full_text"]
        missed = [text[s["start_position"]:s["end_position"]] + "/" + s["entity_type"] for s in spans if MEANS.get(s["entity_type"])
                  and not any(f.start < s["end_position"] and s["start_position"] < f.end for f in found)]
        extra = [(text[f.start:f.end], f.info_type, f.score) for f in found
                 if not any(s["start_position"] < f.end and f.start < s["end_position"] for s in spans)]
        if (missed or extra) and limit:
            limit -= 1
            print("-", missed, "+", extra, "|", repr(text[:160]))


if __name__ == "__main__":
    main()
