"""Values for the templates' slots: names, places, streets, organisations, dates ... drawn from faker's locales and world.txt."""

import random
import re
from collections.abc import Callable
from pathlib import Path

import faker

from benchmarks.tagger import figures

HERE = Path(__file__).parent
LOCALES = ("en_US en_US en_US en_US en_GB en_GB en_AU en_CA en_IN en_IE en_NZ en_PH de_DE de_AT de_CH fr_FR fr_CA fr_CH es_ES es_MX "
           "es_AR es_CO it_IT nl_NL nl_BE pt_BR pt_PT pl_PL cs_CZ sk_SK sv_SE no_NO da_DK fi_FI hu_HU ro_RO hr_HR sl_SI tr_TR "
           "id_ID et_EE lt_LT lv_LV vi_VN el_GR ru_RU uk_UA az_AZ").split()
NAME_SHAPES = ("{f} {l}",) * 14 + ("{f} {i}. {l}",) * 2 + ("{f} {i} {l}", "{f} {f2} {l}", "{f} {l}-{l2}", "{f}-{f2} {l}", "{i}. {l}",
                                                        "{l}, {f}", "{f} {l} {l2}", "{f} {l} Jr.", "{t} {f} {l}", "{t} {l}",
                                                        "{f} de {l}", "{f} van {l}", "{f} von {l}", "{f} {i}.", "{f} {l} III")


def world() -> dict[str, list[str]]:
    """The lists of world.txt by their section's name."""
    parts = re.split(r"^\[(\w+)\]\n", (HERE / "world.txt").read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {name: [v.strip() for v in body.strip().split(";") if v.strip()] for name, body in zip(parts[1::2], parts[2::2])}


def ordinary_words() -> list[str]:
    """The words of words.txt."""
    lines = (HERE / "words.txt").read_text(encoding="utf-8").splitlines()
    return [word for line in lines if not line.startswith("#") for word in line.split()]


def locale_pool(locale: str, seed: int, count: int = 500) -> dict[str, list[str]]:
    """What faker knows of one locale: each value once, in the order drawn."""
    source = faker.Faker(locale)
    source.seed_instance(seed)

    def draw(name: str, number: int) -> list[str]:
        make: Callable[[], str] | None = getattr(source, name, None)
        return list(dict.fromkeys(make() for _ in range(number))) if make else []

    return {"first": draw("first_name", count), "last": draw("last_name", count), "city": draw("city", count // 2),
            "street": draw("street_address", count) + draw("street_name", count // 5), "address": draw("address", count // 2),
            "company": draw("company", count // 2), "postcode": draw("postcode", 60), "job": draw("job", 60), "state": draw("state", 60)}


class Values:
    """One value a call, by slot name; seeded, so the same seed gives the same values in the same order."""

    def __init__(self, seed: int, count: int = 500) -> None:
        self.random = random.Random(seed)
        self.world = world()
        self.words = ordinary_words()
        pools = {locale: locale_pool(locale, seed, count) for locale in dict.fromkeys(LOCALES)}
        self.pools = [pools[locale] for locale in LOCALES]
        self.pool = self.pools[0]
        self.invented = 0.15

    def settle(self) -> None:
        """Picks the locale of the next text: most of its values come from there."""
        self.pool = self.random.choice(self.pools)

    def slot(self, name: str) -> str:
        """A value for {name} in a template."""
        return figures.SLOTS[name](self.random) if name in figures.SLOTS else str(getattr(self, name)())

    def pick(self, what: str) -> str:
        pool = self.pool if self.random.random() < 0.8 else self.random.choice(self.pools)
        return self.random.choice(pool[what] or self.pools[0][what])

    def invent(self, what: str) -> str:
        """A word that nobody knows, sounding like its kind: the head of one value and the tail of another."""
        one, two = self.pick(what).split()[0], self.pick(what).split()[0]
        cut, tail = self.random.randint(1, max(1, len(one) - 1)), self.random.randint(2, 4)
        return (one[:cut] + two[-tail:].lower()).strip("-'.")

    def first(self) -> str:
        r = self.random.random()
        return (self.invent("first") if r < self.invented else self.random.choice(self.world["first_names"]) if r < 0.4
                else self.pick("first"))

    def last(self) -> str:
        r = self.random.random()
        return (self.invent("last") if r < self.invented else self.random.choice(self.world["last_names"]) if r < 0.35
                else self.pick("last"))

    def initial(self) -> str:
        return self.random.choice("ABCDEFGHIJKLMNOPRSTVWZ")

    def title(self) -> str:
        return self.random.choice(self.world["titles"])

    def name(self) -> str:
        return self.random.choice(NAME_SHAPES).format(f=self.first(), f2=self.first(), l=self.last(), l2=self.last(), i=self.initial(),
                                                      t=self.title())

    def city(self) -> str:
        r = self.random.random()
        return (self.invent("city") if r < self.invented else self.random.choice(self.world["cities"]) if r < 0.5 else self.pick("city"))

    def country(self) -> str:
        return self.random.choice(self.world["countries"])

    def state(self) -> str:
        return self.random.choice(self.world["states"] if self.random.random() < 0.5 else self.world["abbreviations"])

    def place(self) -> str:
        r = self.random.random()
        if r < 0.1:
            return f"{self.city()}, {self.country() if r < 0.05 else self.state()}"
        return self.city() if r < 0.5 else self.country() if r < 0.85 else self.random.choice(self.world["states"])

    def num2(self) -> str:
        return str(self.random.randint(1, 99))

    def num3(self) -> str:
        return str(self.random.randint(1, 9999))

    def num(self) -> str:
        return self.random.choice(["", "", "A", "INV-", "R"]) + str(self.random.randint(100, 10 ** self.random.randint(3, 11)))

    building = num3

    def flat(self) -> str:
        n = self.num2() + self.random.choice(["", "", "", "A", "B", "c"]) if self.random.random() < 0.7 else self.initial()
        return self.random.choice(self.world["flats"]).format(n=n)

    def street(self) -> str:
        r, choose, w = self.random.random(), self.random.choice, self.world
        n = self.num3() if self.random.random() < 0.3 else self.num2()
        base = self.last() if self.random.random() < 0.6 else choose([self.name, self.city, self.W, self.first])()
        if r < 0.4:
            made = self.pick("street")
            made = made if any(c.isdigit() for c in made) or self.random.random() < 0.4 else choose([f"{n} {made}", f"{made} {n}"])
        elif r < 0.6:
            made = f"{n} {choose(['', '', '', 'N ', 'South ', 'West ', 'E. '])}{base} {choose(w['streets_en'])}"
        elif r < 0.66:
            made = f"{base} {choose(w['streets_en'])}"
        elif r < 0.7:
            made = f"{n} {choose(['1st', '2nd', '3rd', '5th', '12th', '42nd', 'First', 'Main', 'High', 'Church', 'Park', 'Station'])} {choose(w['streets_en'])}"
        elif r < 0.8:
            made = choose([f"{choose(w['streets_head'])} {base} {n}", f"{n} {choose(w['streets_head'])} {base}", f"{n}, {choose(w['streets_head'])} {base}"])
        elif r < 0.9:
            tail = choose(w["streets_tail"])
            made = f"{base.split()[-1]}{choose(['', '', '-', ' '])}{tail} {n}"
        elif r < 0.93:
            made = choose(["P.O. Box {}", "PO Box {}", "P. O. Box {}", "Postfach {}", "Apartado {}", "BP {}", "Postbus {}"]).format(n)
        elif r < 0.95:
            made = f"the corner of {base} {choose(w['streets_en'])} and {self.last()} {choose(w['streets_en'])}"
        elif r < 0.97:
            made = f"PSC {n}, Box {self.num3()}"
        else:
            made = f"{base} {n}"
        made = made.split("\n")[0]
        if self.random.random() < 0.08:
            made = f"{self.num2()} {made}"
        return made + (choose([", ", " "]) + self.flat() if self.random.random() < 0.15 else "")

    def postcode(self) -> str:
        return self.pick("postcode") if self.random.random() < 0.7 else f"{self.random.randint(1, 99999):05d}"

    def pcity(self) -> str:
        state = self.random.choice(self.world["abbreviations"])
        return self.random.choice(["{p} {c}", "{c} {p}", "{c}, {s} {p}", "{c}, {p}", "{p}, {c}", "{c} {s} {p}", "{c}\n{p}"]).format(
            p=self.postcode(), c=self.city(), s=state)

    def address(self) -> str:
        r = self.random.random()
        if r < 0.3:
            made = self.pick("address")
        elif r < 0.4:
            made = self.street()
        elif r < 0.5:
            made = f"{self.street()}\n{self.city()}\n, {self.random.choice(self.world['abbreviations'])}\n {self.postcode()}"
        elif r < 0.6:
            made = f"{self.street()}{self.random.choice([', ', chr(10)])}{self.city()}, {self.country()} {self.postcode()}"
        else:
            made = self.street() + self.random.choice([", ", "\n", " ", ",\n"]) + self.pcity() + (
                self.random.choice([", ", "\n", " "]) + self.country() if self.random.random() < 0.3 else "")
        if self.random.random() < 0.3:
            made = made.replace("\n", self.random.choice([", ", " "]))
        return made

    def W(self) -> str:
        word = self.w()
        return word[0].upper() + word[1:]

    def w(self) -> str:
        """An ordinary word; some are bent or made up, as no list knows all."""
        word, r = self.random.choice(self.words), self.random.random()
        if r < 0.75 or len(word) < 4:
            return word
        if r < 0.9:
            return word + self.random.choice(["s", "ing", "ed", "er", "ly", "men", "ship", "ness", "able", "less", "ful", "ish", "ists"])
        return word + self.random.choice(self.words) if r < 0.95 else word[:-2] + self.random.choice(self.words)[-4:]

    def org(self) -> str:
        r, choose, w = self.random.random(), self.random.choice, self.world
        if r < 0.2:
            return choose(w["orgs"])
        if r < 0.35:
            return self.pick("company")
        if r < 0.65:
            made = re.sub(r"\{(\w+)\}", lambda m: self.slot(m[1]), choose(w["org_plain"]))
            return f"{made} {choose(w['org_forms'])}" if self.random.random() < 0.15 else made
        kinds: list[Callable[[], str]] = [lambda: choose(w["org_heads"]), self.W, self.last, self.city, lambda: f"{self.W()} {self.W()}",
                                          lambda: self.invent("last")]
        head = choose(kinds)()
        made = f"{head} {choose(w['org_tails'])}" if self.random.random() < 0.7 else f"{head} {self.W()}"
        if self.random.random() < 0.2:
            made += " " + choose(w["org_tails"])
        return f"{made}{choose([' ', ', '])}{choose(w['org_forms'])}" if self.random.random() < 0.3 else made

    def jobword(self) -> str:
        return self.random.choice(self.world["jobwords"])

    def job(self) -> str:
        r, word = self.random.random(), self.jobword()
        return (self.pools[0]["job"][int(r * 200) % len(self.pools[0]["job"])] if r < 0.4
                else f"{self.random.choice(self.world['job_areas'])} {word.capitalize() if r < 0.8 else word}")

    def email(self) -> str:
        return f"{self.first()}{self.random.choice(['.', '', '_'])}{self.last()}@{self.w()}.{self.random.choice(['com', 'org', 'net', 'de', 'co.uk'])}".replace(" ", "")

    def url(self) -> str:
        return self.random.choice(["http://www.{}{}.com/", "https://{}.{}.org", "www.{}{}.net", "https://{}.com/{}"]).format(self.w(), self.w())
