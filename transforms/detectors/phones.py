"""PHONE_NUMBER: by the numbering plan where one is recognised, by words nearby where only digits are."""

import re

from transforms.detectors.finance import is_card
from transforms.detectors.info_type import Hotword, InfoType, Likelihood, Pattern, Strength, digits

# ITU-T E.164 country codes: all of one and two digits, and the first two digits of those of three.
_ONE, _TWO = (
    "17",
    (
        "20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 60 61 62 63 64 65 66 "
        "81 82 84 86 90 91 92 93 94 95 98"
    ).split(),
)
_THREE = "21 22 23 24 25 26 29 35 37 38 42 50 59 67 68 69 80 85 87 88 96 97 99".split()
_DATE = re.compile(r"(?:19|20)\d\d[-./ ]\d{1,2}[-./ ]\d{1,2}(?!\d)|\d{1,2}[-./ ]\d{1,2}[-./ ](?:19|20)\d\d(?!\d)")
_OTHER = re.compile(r"\d{3}-\d\d-\d{4}|\d{1,3}(?:\.\d{1,3}){3}")  # an SSN, an IPv4 address

_SEP = "[ .\\-\u00a0\u2007\u2009\u202f\u2010-\u2015]"
_LEFT = r"(?:^|[^\pL0-9_.\-/+#$€£(]|[^0-9\s][.\-(]|\s\()"
_RIGHT = r"(?:$|[^\pL0-9_.\-/@%€$£]|[.\-/](?:$|\D))"
_EXTENSION = r"(?:[ ,]{0,2}(?i:x|ext\.?|extension|poste|anexo)[ .:]{0,2}\d{1,6})?"

_WORDS = (
    r"\b(?:phone|telephone|tele?|tel[eé]fono?|mobile?|cell(?:phone)?|fax|call(?:ed|ing)?|dial(?:ed)?|ring|contact|"
    r"reach|whats ?app|sms|text|"
    r"voicemail|landline|handy|gsm|hotline|helpline|telefon|answer(?:s|ed|ing)?|reached|reachable|available (?:at|"
    r"on)|leave a message)\b"
)
# "my new number is", "T:" at the start of a line
_NUMBER = (
    r"|\b(?:my|our|his|her|their|your|new|old|this|the following|following) (?:new |old |other )?(?:number|"
    r"no\.?|nr\.?)(?: is|:| to)?[ :]*$"
)
_LETTER = r"|(?:^|\n)[ \t]*(?:ph|mob|t|p|m|f)[.:] ?$"
_NEAR = Hotword(_WORDS + _NUMBER + _LETTER, before=60)
_AFTER = Hotword(r"^[ ,(\-]{0,3}(?:office|fax|home|work|mobile|cell|direct|landline|phone|tel)\b", before=0, after=14)
_CLOSE = Hotword(_WORDS + _NUMBER + _LETTER, before=24)
_REFERENCE = Hotword(
    r"(?:order|invoice|ticket|case|reference|ref|account|acct|card|iban|transaction|tracking|sku|item|serial|"
    r"passport|licen[cs]e|"
    r"version|zip|postcode|policy|claim|member|customer|id|apt|apartment|suite|unit|room|flat|page|line)\.?(?: "
    r"?(?:no|nr|num|number|id|code))?[ .:#=]{0,4}(?:is )?$",
    Likelihood.UNLIKELY,
    before=28,
    lowers=True,
)


def _country_code(number: str) -> bool:
    return number[:1] in _ONE or number[:2] in _TWO or number[:2] in _THREE


def _international(value: str) -> bool:
    number = digits(re.split(r"[a-zA-Z]", value, maxsplit=1)[0]).removeprefix("00")
    return 8 <= len(number) <= 15 and _country_code(number)


def _between(least: int, most: int) -> "re.Pattern[str]":
    return re.compile(rf"\D*(?:\d\D*){{{least},{most}}}\Z")


_SIX_TO_TWELVE, _SEVEN_TO_TWELVE, _NINE_TO_ELEVEN = _between(6, 12), _between(7, 12), _between(9, 11)


def _free(value: str) -> bool:
    return not _DATE.match(value) and not _OTHER.fullmatch(value)


def _grouped(value: str) -> bool:
    return _free(value) and _SIX_TO_TWELVE.match(value) is not None


def _shaped(value: str) -> bool:
    """Groups as only telephone numbers have them: not thousands, not years, not a list of equal parts (but four pairs)."""
    groups = re.findall(r"\d+", value)
    sizes = [len(g) for g in groups]
    if (
        not _free(value)
        or not 8 <= sum(sizes) <= 11
        or any(s == 4 and g[:2] in ("19", "20") for s, g in zip(sizes, groups, strict=True))
    ):
        return False
    if len(set(sizes)) == 1:
        return sizes == [2, 2, 2, 2] and "-" in value
    return not all(s == 3 for s in sizes[1:])


def _bracketed(value: str) -> bool:
    return _SEVEN_TO_TWELVE.match(value) is not None


def _trunk(value: str) -> bool:
    return _free(value) and _NINE_TO_ELEVEN.match(value) is not None


def _bare(value: str) -> bool:
    return not is_card(value) and len(set(value)) > 2


# Most groups of digits are dates and amounts. What follows says where a number that _grouped or _shaped takes may be: six
# digits after a group that is no year, or a year that no month and day follow.
_NO_YEAR = r"(?:\d{2,3}|1[0-8]\d\d|2[1-9]\d\d|[03-9]\d{3})"
_FIRST = rf"(?:{_NO_YEAR}|\d{{5}})"
_GROUPED_NEEDS = (
    rf"{_LEFT}(?:{_FIRST}{_SEP}(?:\d{{2,6}}{_SEP}\d\d|\d{{4}}|\d{{2,3}}[ ,]{{0,2}}(?i:x|ext|poste|anexo))|"
    rf"\d{{3}}{_SEP}\d{{3}}|\d{{4,5}}{_SEP}\d\d(?:\d|{_RIGHT}|(?i:x|ext|poste|anexo))|"
    rf"(?:19|20)\d\d(?:{_SEP}\d\d{_SEP}\d{{3}}|[^.\-/ 0-9]\d\d))"
)
_SHAPED_NEEDS = rf"{_LEFT}{_NO_YEAR}(?: {_NO_YEAR} {_NO_YEAR}|-{_NO_YEAR}-{_NO_YEAR})"
_PLAIN = (_CLOSE, _AFTER, _REFERENCE)
_GROUPED = (_NEAR, _AFTER, _REFERENCE)
PHONE_NUMBER = InfoType(
    "PHONE_NUMBER",
    (
        Pattern(
            rf"(?:^|[^\pL0-9_+])(\+ ?\d(?:{_SEP}{{0,2}}[(/]?\d\)?){{6,14}}{_EXTENSION}){_RIGHT}",
            Likelihood.LIKELY,
            Strength.SPECIFIC,
            _international,
            hotwords=(_NEAR,),
        ),
        # North America: area code and exchange never start with 0 or 1 (nationalnanpa.com)
        Pattern(
            rf"{_LEFT}((?:1{_SEP})?(?:\([2-9]\d\d\){_SEP}{{0,2}}|"
            rf"[2-9]\d\d[.\-])[2-9]\d\d[.\-]\d{{4}}{_EXTENSION}){_RIGHT}",
            Likelihood.LIKELY,
            Strength.SPECIFIC,
            hotwords=(_NEAR,),
        ),
        Pattern(
            rf"{_LEFT}((?:00)?(?:1{_SEP})?(?:\(\d{{3}}\){_SEP}{{0,2}}|"
            rf"\d{{3}}{_SEP})\d{{3}}{_SEP}\d{{4}}{_EXTENSION}){_RIGHT}",
            Likelihood.POSSIBLE,
            Strength.LOOSE,
            hotwords=_GROUPED,
        ),
        Pattern(
            rf"{_LEFT}(00[1-9](?:{_SEP}?\d){{7,13}}{_EXTENSION}){_RIGHT}",
            Likelihood.POSSIBLE,
            Strength.LOOSE,
            _international,
            hotwords=_PLAIN,
        ),
        Pattern(
            rf"{_LEFT}(\(\d{{2,5}}\){_SEP}?\d{{2,8}}(?:{_SEP}\d{{2,4}}){{0,3}}{_EXTENSION}){_RIGHT}",
            Likelihood.POSSIBLE,
            Strength.LOOSE,
            _bracketed,
            hotwords=_GROUPED,
        ),
        Pattern(
            rf"{_LEFT}(0\d{{1,4}}(?:{_SEP}|/ ?)\d{{2,8}}(?:{_SEP}\d{{2,4}}){{0,4}}){_RIGHT}",
            Likelihood.POSSIBLE,
            Strength.LOOSE,
            _trunk,
            hotwords=_GROUPED,
        ),
        Pattern(
            rf"{_LEFT}(\d{{2,5}}(?:{_SEP}\d{{2,6}}){{1,4}}{_EXTENSION}){_RIGHT}",
            Likelihood.UNLIKELY,
            Strength.LOOSE,
            _grouped,
            hotwords=_GROUPED,
            needs=_GROUPED_NEEDS,
        ),
        Pattern(
            rf"{_LEFT}(\d{{2,4}}(?:(?: \d{{2,4}}){{2,3}}|(?:-\d{{2,4}}){{2,3}})){_RIGHT}",
            Likelihood.POSSIBLE,
            Strength.LOOSE,
            _shaped,
            hotwords=_GROUPED,
            needs=_SHAPED_NEEDS,
        ),
        # a line of its own in an address block or a signature
        Pattern(
            rf"(?:\n[ \t]*(\d{{2,5}}(?:{_SEP}\d{{2,6}}){{1,4}}{_EXTENSION}))[ \t]*(?:$|[\n,;])",
            Likelihood.POSSIBLE,
            Strength.LOOSE,
            _grouped,
            hotwords=(_REFERENCE,),
        ),
        Pattern(
            rf"{_LEFT}(\d{{7,15}}{_EXTENSION}){_RIGHT}",
            Likelihood.VERY_UNLIKELY,
            Strength.LOOSE,
            _bare,
            hotwords=_PLAIN,
        ),
    ),
    screen=rf"\d(?:{_SEP}{{0,2}}[(/]?\)?\d\)?){{5}}",
)

INFO_TYPES = (PHONE_NUMBER,)
