"""Rows a second of inspection on one core: Inspector, plain `re` one by one, one bare re2.Set, Presidio where it is installed.

    python benchmarks/detectors.py [--rows=100000] [--json]

Short texts (about 60 characters), clean ones and ones of which every third holds an identifier; five infoTypes; the best of three runs.
The bare Set only says which pattern matches somewhere; the others say what was found where.
"""

import argparse
import json
import random
import re
import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import re2
from google.cloud.dlp_v2.types import InspectConfig

from benchmarks.presidio import analyzer
from transforms.detectors.inspector import Inspector
from transforms.detectors.letters import narrow
from transforms.detectors.registry import INFO_TYPES

TYPES = ("EMAIL_ADDRESS", "PHONE_NUMBER", "US_SOCIAL_SECURITY_NUMBER", "CREDIT_CARD_NUMBER", "IP_ADDRESS")
# What someone would write by hand for the same five
BY_HAND = (
    r"[A-Za-z0-9._%+\-]+@[A-Za-z0-9.\-]+\.[A-Za-z]{2,}",
    r"(?:\+\d{1,3}[ .\-]?)?\(?\d{3}\)?[ .\-]\d{3}[ .\-]\d{4}",
    r"\b\d{3}-\d{2}-\d{4}\b",
    r"\b(?:\d[ \-]?){13,16}\b",
    r"\b(?:\d{1,3}\.){3}\d{1,3}\b",
)
WORDS = (
    "please update my record the card was late again and nobody answered thank you for help with this claim it has been open since "
    "spring we moved house then two letters came back unread I would like to know what happens next"
).split()


def texts(rows: int, every: int, seed: int = 1) -> list[str]:
    """Sentences of about 60 characters; one in `every` holds an identifier (0: none does)."""
    draw = random.Random(seed)
    planted = (
        "write to jane.{n}@example.org",
        "call (212) 555-01{n:02}",
        "ssn 123-45-67{n:02}",
        "card 4111 1111 1111 1111",
        "from 10.1.2.{n}",
    )
    made = []
    for row in range(rows):
        words = draw.choices(WORDS, k=11)
        if every and row % every == 0:
            words[draw.randrange(8) :] = [draw.choice(planted).format(n=draw.randrange(10, 99))]
        made.append(" ".join(words))
    return made


def rate(run: Callable[[], object], rows: int) -> float:
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return rows / best


def presidio(sample: list[str]) -> float | None:
    engine = analyzer()
    if engine is None:
        return None
    asked = ["EMAIL_ADDRESS", "PHONE_NUMBER", "US_SSN", "CREDIT_CARD", "IP_ADDRESS"]
    return rate(lambda: [engine.analyze(text, "en", entities=asked) for text in sample], len(sample))


def measure(rows: int) -> dict[str, dict[str, float | None]]:
    inspector = Inspector.from_config(InspectConfig(info_types=[{"name": t} for t in TYPES]))
    every = Inspector.from_config(InspectConfig(info_types=[{"name": t} for t in INFO_TYPES]))
    patterns = [re.compile(p) for p in BY_HAND]
    by_hand, screens = re2.Set.SearchSet(), re2.Set.SearchSet()
    for pattern in BY_HAND:
        by_hand.Add(pattern)
    for name in TYPES:
        screens.Add(narrow(INFO_TYPES[name].screen))
    by_hand.Compile()
    screens.Compile()
    return {
        label: _rates(texts(rows, share), inspector, every, patterns, by_hand, screens)
        for label, share in (("clean", 0), ("a third hit", 3))
    }


def _rates(
    made: list[str],
    inspector: Inspector,
    every: Inspector,
    patterns: list["re.Pattern[str]"],
    by_hand: Any,
    screens: Any,
) -> dict[str, float | None]:
    column, rows = pa.array(made), len(made)
    return {
        "Inspector.find_column": rate(lambda: inspector.find_column(column), rows),
        "Inspector.find_column, every infoType": rate(lambda: every.find_column(column), rows),
        "Inspector.find, one by one": rate(lambda: [inspector.find(t) for t in made], rows),
        "re, one by one": rate(lambda: [[m.span() for p in patterns for m in p.finditer(t)] for t in made], rows),
        "one re2.Set, bare, by hand": rate(lambda: [by_hand.Match(t) for t in made], rows),
        "one re2.Set, bare, our screens": rate(lambda: [screens.Match(t) for t in made], rows),
        "Presidio, blank model": presidio(made[:1000]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    table = measure(options.rows)
    if options.json:
        print(json.dumps(table))
        return
    print(f"{'rows/s, one core':40}" + "".join(f"{label:>14}" for label in table))
    for engine in next(iter(table.values())):
        print(
            f"{engine:40}"
            + "".join(f"{row[engine]:14,.0f}" if row[engine] else f"{'not installed':>14}" for row in table.values())
        )


if __name__ == "__main__":
    main()
