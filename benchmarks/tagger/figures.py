"""Values made of figures, for the templates' slots: dates, ages, amounts, phone and card numbers, times."""

import datetime
import random
import re

MONTHS = "January February March April May June July August September October November December".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
NUMBERS = ("one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen "
           "twenty thirty forty fifty sixty seventy eighty ninety").split()
DATES = ("{d} {B} {Y}", "{B} {d}, {Y}", "{B} {d}", "{d} {B}", "{B} {o}, {Y}", "{B} {o}", "the {o} of {B}", "{o} {B} {Y}", "{o} of {B} {Y}",
         "{b} {d}, {Y}", "{d} {b} {Y}", "{b} {d}", "{d}-{b}-{Y}", "{d}-{b}-{y}", "{A}, {B} {d}", "{A}, {d} {B} {Y}", "{a} {d} {b}", "{B} {Y}", "{b} {Y}",
         "{A} {B} {o}", "{m}/{d}/{Y}", "{d}/{m}/{Y}", "{d}.{m}.{Y}", "{Y}-{m:02d}-{d:02d}", "{m}/{d}/{y}", "{d:02d}.{m:02d}.{y}", "{m}-{d}-{Y}",
         "{Y}/{m:02d}/{d:02d}", "{Y}-{m:02d}-{d:02d} {H:02d}:{M:02d}:{S:02d}", "{Y}-{m:02d}-{d:02d}T{H:02d}:{M:02d}:{S:02d}",
         "{d} {B}, {Y}", "{b}. {d}, {Y}", "{d} {B} '{y}", "{B} {d} {Y}", "{a} {b} {d} {Y}", "{m}/{d}/{Y} {H}:{M:02d}", "{d}th {B} {Y}", "{B} the {o}")

def year(chance: random.Random) -> str:
    """A year of the last and this century."""
    return str(chance.randint(1900, 2030))


def day(chance: random.Random) -> str:
    """A day of the week."""
    name = chance.choice(DAYS)
    return chance.choice([name] * 5 + [name[:3], name.lower(), name + "s"])


def date(chance: random.Random) -> str:
    """A date of the last and this century, in one of many forms."""
    on = datetime.datetime(1920, 1, 1) + datetime.timedelta(seconds=chance.randint(0, 110 * 365 * 86400))
    ending = "th" if 10 < on.day < 14 else {1: "st", 2: "nd", 3: "rd"}.get(on.day % 10, "th")
    month, day = MONTHS[on.month - 1], DAYS[on.weekday()]
    return chance.choice(DATES).format(d=on.day, m=on.month, Y=on.year, y=f"{on.year % 100:02d}", H=on.hour, M=on.minute, S=on.second,
                                            o=f"{on.day}{ending}", B=month, b=month[:3], A=day, a=day[:3])


def age(chance: random.Random) -> str:
    """An age in years, in figures or spelled out."""
    n = chance.randint(1, 99)
    tens = NUMBERS[17 + n // 10] if n >= 20 else ""
    spelled = NUMBERS[n - 1] if n <= 20 else tens + (f"-{NUMBERS[n % 10 - 1]}" if n % 10 else "")
    return spelled if chance.random() < 0.12 else str(n)


def phone(chance: random.Random) -> str:
    """A telephone number."""
    form = chance.choice(["###-###-####", "(###) ###-####", "+## ### #######", "+1-###-###-####x###", "0#### ######", "## ### ###", "##########",
                               "###.###.####", "(##) ####-####"])
    return _digits(chance, form)


def _digits(chance: random.Random, form: str) -> str:
    return re.sub("#", lambda _: str(chance.randint(0, 9)), form)


def card(chance: random.Random) -> str:
    """A card number."""
    return _digits(chance, chance.choice(["4###############", "5### #### #### ####", "3#############", "6011-####-####-####"]))


def ssn(chance: random.Random) -> str:
    """A US social security number."""
    return _digits(chance, chance.choice(["###-##-####", "### ## ####", "#########"]))


def iban(chance: random.Random) -> str:
    """A bank account."""
    return _digits(chance, chance.choice(["DE####################", "GB##NWBK##############", "gb##mvfc##############", "FR## #### #### #### #### #### ###"]))


def amount(chance: random.Random) -> str:
    """A sum of money."""
    n = chance.randint(1, 5000)
    return chance.choice(["${}", "£{}", "€{}", "{} euros", "{} dollars", "{} pounds", "USD {}", "{} GBP", "{} EUR", "{} million", "$ {}.99"]).format(n)


def time(chance: random.Random) -> str:
    """A time of day."""
    h, m = chance.randint(1, 23), chance.randint(0, 59)
    return chance.choice([f"{h}:{m:02d}", f"{h % 12 + 1}pm", f"{h % 12 + 1} am", f"{h % 12 + 1}:{m:02d} PM", "noon", "midnight"])


SLOTS = {"year": year, "day": day, "date": date, "age": age, "phone": phone, "card": card, "ssn": ssn, "iban": iban, "amount": amount, "time": time}
