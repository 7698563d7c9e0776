"""DATE, DATE_OF_BIRTH, TIME, AGE: shapes, then the calendar."""

import calendar
import re

from transforms.detectors.info_type import Hotword, InfoType, Likelihood, Pattern, Strength

# English, German, French, Spanish, Italian, Portuguese, Dutch: as numbers by their first letters
_MONTHS = {
    1: "january|jan|januar|janvier|enero|gennaio|janeiro|januari",
    2: "february|feb|februar|février|febrero|febbraio|fevereiro|februari",
    3: "march|mar|märz|mars|marzo|março|maart",
    4: "april|apr|avril|abril|aprile",
    5: "may|mai|mayo|maggio|maio|mei",
    6: "june|jun|juni|juin|junio|giugno|junho",
    7: "july|jul|juli|juillet|julio|luglio|julho",
    8: "august|aug|août|agosto|augustus",
    9: "september|sept|sep|septembre|septiembre|settembre|setembro",
    10: "october|oct|oktober|octobre|octubre|ottobre|outubro",
    11: "november|nov|novembre|noviembre|novembro",
    12: "december|dec|dezember|décembre|diciembre|dicembre|dezembro",
}
_NUMBER = {name: number for number, names in _MONTHS.items() for name in names.split("|")}
_NAMES = "|".join(sorted(_NUMBER, key=lambda name: (-len(name), name)))
_MONTH = rf"(?i:{_NAMES})\.?"
_CAPITAL = (
    "(?:"
    + "|".join(sorted({n.capitalize() for n in _NUMBER} | {n.upper() for n in _NUMBER}, key=lambda n: (-len(n), n)))
    + r")\.?"
)
_DAY = r"\d{1,2}(?:st|nd|rd|th|\.|º)?"
_WORDS = re.compile(r"[^\W\d_]+|\d+")


def _days(year: int, month: int) -> int:
    return calendar.monthrange(year, month)[1] if 1 <= month <= 12 else 0


def _year(text: str) -> int:
    year = int(text)
    return year if len(text) == 4 else (2000 if year < 50 else 1900) + year


def in_calendar(value: str) -> bool:
    """A day that exists, in any order of day and month, between the years 1800 and 2199."""
    words = _WORDS.findall(value)
    named = [_NUMBER[w.lower()] for w in words if w.lower() in _NUMBER]
    numbers = [w for w in words if w.isdigit()]
    if named:
        year = next((int(n) for n in numbers if len(n) == 4), 2000)
        return 1800 <= year < 2200 and all(1 <= int(n) <= _days(year, named[0]) for n in numbers if len(n) < 4)
    if len(numbers) == 1 and len(numbers[0]) == 8:
        numbers = [numbers[0][:4], numbers[0][4:6], numbers[0][6:]]
    if len(numbers) != 3:
        return False
    if len(numbers[0]) == 4:
        year, pairs = int(numbers[0]), [(int(numbers[1]), int(numbers[2]))]
    else:
        a, b = int(numbers[0]), int(numbers[1])
        year, pairs = _year(numbers[2]), [(a, b), (b, a)]
    return 1800 <= year < 2200 and any(1 <= day <= _days(year, month) for month, day in pairs)


_LEFT = r"(?:^|[^\pL0-9_.\-/$€£]|[\pL][.\-])"
_RIGHT = r"(?:$|[^\pL0-9_.\-/%]|[TZ]|[.\-/](?:$|\D))"
_BORN = Hotword(
    r"\b(?:born|birth(?:day|date)?|dob|d\.o\.b|geboren|geburtsdatum|née?|naissance|nacid[oa]|nacimiento|nat[oa] il)\b",
    Likelihood.VERY_LIKELY,
    before=40,
    after=20,
)
_NEAR = Hotword(
    r"\b(?:date|dated|on|since|until|till|from|due|expir\w+|issued|dob|birth\w*|born|valid|day)\b", before=20
)
_SHAPES: tuple[tuple[str, Likelihood], ...] = (
    (r"\d{4}-\d{1,2}-\d{1,2}|\d{4}/\d{1,2}/\d{1,2}|\d{4}\.\d{1,2}\.\d{1,2}", Likelihood.LIKELY),
    (
        r"\d{1,2}/\d{1,2}/\d{4}|\d{1,2}-\d{1,2}-\d{4}|\d{1,2}\.\d{1,2}\.\d{4}|\d{1,2} \d{1,2} (?:19|20)\d\d",
        Likelihood.LIKELY,
    ),
    (r"\d{1,2}/\d{1,2}/\d\d|\d{1,2}-\d{1,2}-\d\d", Likelihood.POSSIBLE),
    (r"\d{1,2}\.\d{1,2}\.\d\d", Likelihood.UNLIKELY),
    (rf"{_DAY}[ \-/]{{0,2}}(?:of |de |d')?{_MONTH}[ \-/,]{{0,2}}(?:of |de )?\d{{4}}", Likelihood.LIKELY),
    (rf"{_MONTH}[ \-]{{0,2}}{_DAY},? ?,?\d{{4}}", Likelihood.LIKELY),
    (rf"\d{{1,2}}-{_MONTH}-\d{{2}}", Likelihood.LIKELY),
    (rf"{_CAPITAL},? (?:of )?(?:19|20)\d\d", Likelihood.POSSIBLE),
    (
        rf"\d{{1,2}}(?:st|nd|rd|th) (?:of )?{_MONTH}|{_CAPITAL} \d{{1,2}}(?:st|nd|rd|th)?|\d{{1,2}}\.? {_CAPITAL}",
        Likelihood.POSSIBLE,
    ),
    (r"(?:18|19|20|21)\d\d[01]\d[0-3]\d", Likelihood.VERY_UNLIKELY),
)
_SCREEN = (
    rf"\d[ ./\-]\d{{1,2}}[ ./\-]\d|\d{{8}}|\d(?:st|nd|rd|th|\.|º)?[ \-/]{{0,2}}(?:of |de |d')?(?i:{_NAMES})|"
    rf"(?i:{_NAMES})\.?(?: of|,)?[ \-]{{0,2}}\d"
)
_DAYS = (
    "monday|tuesday|wednesday|thursday|friday|saturday|sunday|montag|dienstag|mittwoch|donnerstag|freitag|samstag|"
    "sonntag|"
    "lundi|mardi|mercredi|jeudi|vendredi|samedi|dimanche"
)

DATE = InfoType(
    "DATE",
    (
        *(
            Pattern(f"{_LEFT}({shape}){_RIGHT}", likelihood, check=in_calendar, hotwords=(_NEAR,))
            for shape, likelihood in _SHAPES
        ),
        Pattern(rf"(?i)\b({_DAYS})\b", Likelihood.UNLIKELY, Strength.LOOSE),
    ),
    screen=rf"{_SCREEN}|(?i:{_DAYS})",
)
DATE_OF_BIRTH = InfoType(
    "DATE_OF_BIRTH",
    # CHECKED: where a word says birth, DATE yields
    tuple(
        Pattern(f"{_LEFT}({shape}){_RIGHT}", Likelihood.VERY_UNLIKELY, Strength.CHECKED, in_calendar, hotwords=(_BORN,))
        for shape, _ in _SHAPES
    ),
    _SCREEN,
)
TIME = InfoType(
    "TIME",
    (
        Pattern(
            r"(?:^|[^\w:.])((?:[01]?\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d{1,9})?)?(?: ?(?i:am|pm|a\.m\.|"
            r"p\.m\.))?)(?:$|[^\w:])",
            Likelihood.POSSIBLE,
        ),
        Pattern(r"(?i)(?:^|[^\w:.])((?:1[0-2]|[1-9]) ?(?:am|pm|a\.m\.|p\.m\.|o'clock))(?:$|\W)", Likelihood.POSSIBLE),
    ),
    screen=r"\d:\d\d|(?i:\d ?(?:[ap]\.?m|o'cl))",
)


def _human(value: str) -> bool:
    return all(int(n) <= 125 for n in re.findall(r"\d+", value))


_NUMERALS = (
    "(?:twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)(?:[ -](?:one|two|three|four|five|six|seven|eight|"
    "nine))?|"
    "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|"
    "eighteen|nineteen"
)
AGE = InfoType(
    "AGE",
    (
        Pattern(
            rf"(?i)(?:^|[^\w.\-/$])((?:\d{{1,3}}(?:\.5)?|{_NUMERALS})[ \-]{{0,2}}(?:years?|yrs?|y|months?|mos?|"
            rf"weeks?)[ \-.]{{0,2}}(?:old|of age|o)\b)",
            Likelihood.VERY_LIKELY,
            check=_human,
        ),
        Pattern(
            rf"(?i)\b(?:aged?|ages|turn(?:s|ed|ing)?|age (?:is|was|of)|at the age of)[ :=]{{1,3}}(\d{{1,3}}|"
            rf"{_NUMERALS})(?:$|[^\w.%$/\-]|[.\-/](?:$|\D))",
            Likelihood.LIKELY,
            check=_human,
        ),
        Pattern(r"(?i)\b((?:1[6-9]|[2-9]\d)[ \-]?(?:yo|y/o|y\.o\.|jahre alt|ans|años))(?:$|\W)", Likelihood.LIKELY),
        Pattern(r"(?i)(?:^|[^\w.\-/])((?:1[89]|[2-9]\d)[ ]?/?[MF])(?:$|[^\w/])", Likelihood.UNLIKELY, Strength.LOOSE),
        Pattern(
            r"\b(?:I am|I'm|I’m|He is|She is|he's|she's)[ ](\d{1,2})(?:$|[.,;!?)]\s|[.,;!?)]$| and )",
            Likelihood.POSSIBLE,
        ),
    ),
    screen=r"(?i:old|of age|\b[ayt]|o\b)|\d ?/?[MFmf]|ans|años",
)

INFO_TYPES = (DATE, DATE_OF_BIRTH, TIME, AGE)
