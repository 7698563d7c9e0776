"""The word lists that the tagger knows, as sorted 32-bit keys."""

import re

import numpy as np

from benchmarks.tagger.figures import DAYS, MONTHS, NUMBERS
from benchmarks.tagger.values import Values
from transforms.detectors.tagger_features import Keys, key

NATIONS = ("American British English Scottish Welsh Irish French German Spanish Italian Portuguese Dutch Belgian Swiss Austrian Polish Czech Slovak "
           "Hungarian Romanian Bulgarian Greek Turkish Russian Ukrainian Swedish Norwegian Danish Finnish Icelandic Chinese Japanese Korean Indian "
           "Pakistani Vietnamese Thai Indonesian Australian Canadian Mexican Brazilian Argentinian Chilean Colombian Cuban Egyptian Moroccan Nigerian "
           "Kenyan Israeli Iranian Iraqi Syrian Lebanese Arab Arabic European African Asian Latin Jewish Muslim Christian Catholic Hindi")


def spelled(values: list[str]) -> set[str]:
    """The words of values, lower case, those of one letter left out."""
    return {word for value in values for word in re.findall(r"[^\W\d_]{2,}", value.lower())}


def listed(values: Values) -> list[set[str]]:
    """The lists in the order in which the model numbers them."""
    world, pools = values.world, values.pools
    own = {name: [v for pool in pools for v in pool[name]] for name in ("first", "last", "city", "street", "company")}
    return [spelled(own["first"] + world["first_names"]), spelled(own["last"] + world["last_names"]),
            spelled(own["city"] + world["cities"]), spelled(world["countries"] + world["states"]), spelled(world["abbreviations"]),
            spelled(own["street"]) - spelled(values.words), spelled(world["streets_en"] + world["streets_head"] + world["streets_tail"]),
            spelled(world["orgs"]), spelled(world["org_tails"]), spelled(world["org_forms"]), spelled(world["org_heads"]),
            spelled(values.words), spelled(MONTHS + [m[:3] for m in MONTHS]), spelled(DAYS + [d[:3] for d in DAYS]),
            spelled(world["titles"]), spelled(world["jobwords"]), spelled([NATIONS]), spelled(NUMBERS)]


def keyed(lists: list[set[str]], hidden: int = 0) -> list[Keys]:
    """Sorted keys. hidden: percent of names, places, streets and ordinary words left out, so that training also sees what no list knows."""
    out = []
    for number, one in enumerate(lists):
        keys = np.array(sorted({key(word) for word in one}), np.uint32)
        out.append(keys[keys % 100 >= hidden] if number in (0, 1, 2, 5, 7, 11) else keys)
    return out
