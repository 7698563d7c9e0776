"""Labelled texts from templates: fill the slots, label what filled them, then roughen the text as people do."""

import random
import re
import unicodedata
import zlib
from collections.abc import Iterator
from pathlib import Path

from benchmarks.tagger.values import Values
from transforms.detectors.tagger import TYPES
from transforms.detectors.tagger_features import words

HERE = Path(__file__).parent
FILES = ("templates_talk.txt", "templates_record.txt", "templates_news.txt", "templates_prose.txt", "templates_voices.txt")
PLAIN = ("templates_none.txt", "templates_plain.txt", "templates_titles.txt")
KIND = {"name": "PERSON_NAME", "first": "PERSON_NAME", "last": "PERSON_NAME", "title": "PERSON_NAME", "initial": "PERSON_NAME",
        "street": "STREET_ADDRESS", "address": "STREET_ADDRESS", "postcode": "STREET_ADDRESS", "pcity": "STREET_ADDRESS",
        "flat": "STREET_ADDRESS", "building": "STREET_ADDRESS", "city": "LOCATION", "country": "LOCATION", "place": "LOCATION",
        "state": "LOCATION", "org": "ORGANIZATION_NAME", "date": "DATE", "day": "DATE", "age": "AGE"}
Part = tuple[str, str | None]  # text, and its type when it is to be found


def templates(name: str) -> list[str]:
    """The templates of one file."""
    lines = (HERE / name).read_text(encoding="utf-8").splitlines()
    return [line.replace("\\n", "\n").replace("\\t", "\t") for line in lines if line and not line.startswith("#")]


def fill(template: str, values: Values) -> list[Part]:
    """One text of a template, in parts; neighbouring parts of one name (title, first, last) are one part."""
    while True:
        chosen = re.sub(r"\[([^\[\]]*\|[^\[\]]*)\]", lambda m: values.random.choice(m[1].split("|")), template)
        if chosen == template:
            break
        template = chosen
    parts: list[Part] = []
    at = 0
    for match in re.finditer(r"\{([A-Za-z0-9]+)\}", template):
        parts.append((template[at:match.start()], None))
        parts.append((values.slot(match[1]), KIND.get(match[1])))
        at = match.end()
    parts.append((template[at:], None))
    joined: list[Part] = []
    for text, kind in parts:
        if len(joined) > 1 and kind == "PERSON_NAME" == joined[-2][1] and joined[-1][0] == " ":
            gap, before = joined.pop(), joined.pop()
            joined.append((before[0] + gap[0] + text, kind))
        elif text:
            joined.append((text, kind))
    return joined


def roughen(parts: list[Part], chance: random.Random) -> list[Part]:
    """Case, accents, punctuation and slips of typing, as found in the wild; labels stay."""
    r = chance.random()
    change = (str.lower if r < 0.14 else str.upper if r < 0.18 else plain if r < 0.23 else str)
    parts = [(change(text), kind) for text, kind in parts]
    r = chance.random()
    if r < 0.07:
        parts = [(text.lower() if kind else text, kind) for text, kind in parts]
    elif r < 0.10:
        parts = [(text.upper() if kind else text, kind) for text, kind in parts]
    elif r < 0.14:
        parts = [(slip(text, chance) if not kind else text, kind) for text, kind in parts]
    elif r < 0.18:
        parts = [(text.replace("'", chance.choice(["\u2019", "", "`"])), kind) for text, kind in parts]
    elif r < 0.2:
        parts = [(text.replace(" - ", " \u2013 ").replace(",", chance.choice([" \u00e2\u20ac\u201c", " ,", "", ";"])) if not kind else text, kind)
                 for text, kind in parts]
    elif r < 0.235:
        parts = [(text.title() if not kind else text, kind) for text, kind in parts]
    elif r < 0.25:
        parts = [(shouted(text, chance) if not kind else text, kind) for text, kind in parts]
    if chance.random() < 0.12 and any("\n" in text for text, _ in parts):
        mark = chance.choice(["* ", "- ", "> ", "??? ", "# ", "| ", "...", ">>> ", "// ", "!! ", "\u2022 ", "\t", "  ", "~", "?? "])
        parts = [(mark, None)] + [piece for text, kind in parts for piece in marked(text, kind, mark)]
    last, kind = parts[-1]
    if kind is None and chance.random() < 0.15:
        parts[-1] = (last.rstrip(".!?"), None)
    return parts


def marked(text: str, kind: str | None, mark: str) -> Iterator[Part]:
    """The text with a mark at the head of each further line."""
    for number, line in enumerate(text.split("\n")):
        if number:
            yield "\n" + mark, None
        yield line, kind


def plain(text: str) -> str:
    """Without accents."""
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


def shouted(text: str, chance: random.Random) -> str:
    """Some words with a capital or in capitals, for stress, as titles and headlines have them."""
    return " ".join(chance.choice([str.upper, str.capitalize])(word) if chance.random() < 0.25 else word for word in text.split(" "))


def slip(text: str, chance: random.Random) -> str:
    """Two letters swapped or one lost."""
    if len(text) < 6:
        return text
    at = chance.randrange(1, len(text) - 2)
    return text[:at] + text[at + 1] + text[at] + text[at + 2:] if chance.random() < 0.5 else text[:at] + text[at + 1:]


def labelled(parts: list[Part]) -> tuple[list[str], list[int]]:
    """Words and their labels (tagger.LABELS)."""
    text = "".join(part for part, _ in parts)
    owner: list[tuple[int, str | None]] = []
    for number, (part, kind) in enumerate(parts):
        owner += [(number, kind)] * len(part)
    found, labels, before = [], [], -1
    for match in words(text).finditer(text):
        number, kind = owner[match.start()]
        found.append(match[0])
        labels.append(0 if kind is None else 2 * TYPES.index(kind) + (2 if number == before else 1))
        before = number
    return found, labels


def held_out(template: str) -> bool:
    """A fifth of the templates, left out of a training run whose reach beyond its own templates is to be measured."""
    return zlib.crc32(template.encode()) % 5 == 0


def chosen(names: tuple[str, ...], held: bool | None) -> list[str]:
    """The templates of these files; held: those held out (True), those not (False), all (None)."""
    return [t for name in names for t in templates(name) if held is None or held_out(t) == held]


def corpus(values: Values, size: int, plain_texts: list[str], held: bool | None = None) -> Iterator[list[Part]]:
    """`size` texts in parts; plain_texts hold nothing to find. held: see chosen()."""
    chance = values.random
    found, none = chosen(FILES, held), chosen(PLAIN, held)
    weights = [min(4.0, 0.5 + t.count("|") / 4) for t in found]
    for _ in range(size):
        values.settle()
        r = chance.random()
        if r < 0.62:
            parts = fill(chance.choices(found, weights)[0], values)
        elif r < 0.82 or not plain_texts:
            parts = fill(chance.choice(none), values)
        else:
            parts = [(chance.choice(plain_texts), None)]
        if chance.random() < 0.3:
            gap = chance.choice([" ", " ", "\n", " - ", "  ", "; "])
            more = fill(chance.choices(found, weights)[0] if chance.random() < 0.5 else chance.choice(none), values)
            parts = parts + [(gap, None)] + more if chance.random() < 0.5 else more + [(gap, None)] + parts
        yield roughen(parts, chance)
