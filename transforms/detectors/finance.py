"""CREDIT_CARD_NUMBER, IBAN_CODE, SWIFT_CODE, US_BANK_ROUTING_MICR, VAT_NUMBER, FINANCIAL_ACCOUNT_NUMBER."""

import re

from transforms.detectors import checksums
from transforms.detectors.info_type import Hotword, InfoType, Likelihood, Pattern, Strength, digits

_SEP = "[ .\\-\u00a0\u2007\u2009\u202f\u2010-\u2015]"
_LEFT = r"(?:^|[^\pL0-9_.\-]|[\pL][.\-])"
_RIGHT = r"(?:$|[^\pL0-9_\-]|-(?:$|\D))"

# Issuer ranges and lengths by ISO/IEC 7812 as the networks publish them.
_BRANDS = re.compile(
    "|".join(
        (
            r"4(?:\d{12}|\d{15}|\d{18})",  # Visa
            r"(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}",  # Mastercard
            r"3[47]\d{13}",  # American Express
            r"(?:30[0-59]\d|36\d\d|3[89]\d\d)\d{10}(?:\d\d|\d{5})?",  # Diners Club
            r"(?:6011|64[4-9]\d|65\d\d|35(?:2[89]|[3-8]\d)|62\d\d)\d{12,15}",  # Discover, JCB, UnionPay
            r"(?:2131|1800)\d{11}",  # JCB, old
            r"(?:220[0-4]|60\d\d|81\d\d|82\d\d|508\d)\d{12}",  # Mir, RuPay
            r"(?:50[1-9]\d|5[6-8]\d\d|6304|6390|67\d\d)\d{8,15}",  # Maestro
        )
    )
)
_COUNTRIES = set(
    "AD AE AF AG AL AM AO AR AT AU AW AZ BA BB BD BE BF BG BH BI BJ BM BN BO BR BS BT BW BY BZ CA CD CF CG CH CI CL "
    "CM CN CO CR CU CV CY CZ DE DJ DK DM DO "
    "DZ EC EE EG ER ES ET FI FJ FM FO FR GA GB GD GE GG GH GI GL GM GN GP GQ GR GT GW GY HK HN HR HT HU ID IE IL IM "
    "IN IQ IR IS IT JE JM JO JP KE KG KH KI "
    "KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MG MH MK ML MM MN MO MR MT MU MV MW MX MY MZ "
    "NA NC NE NG NI NL NO NP NR NZ OM PA PE "
    "PF PG PH PK PL PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SI SK SL SM SN SO SR SS ST SV SY SZ TC TD TG "
    "TH TJ TL TM TN TO TR TT TV TW TZ UA UG "
    "US UY UZ VA VC VE VG VN VU WS XK YE ZA ZM ZW".split()
)

_CARD = Hotword(
    r"\b(?:card|credit|debit|visa|master ?card|amex|american express|maestro|discover|pan|cc|kreditkarte|carte|"
    r"tarjeta)\b",
    before=60,
    after=30,
)


def is_card(value: str) -> bool:
    """A number with an issuer's start, that issuer's length and a right Luhn digit."""
    number = digits(value)
    return _BRANDS.fullmatch(number) is not None and checksums.luhn(number)


def _luhn(value: str) -> bool:
    number = digits(value)
    return len(set(number)) > 1 and checksums.luhn(number)


def _card_length(value: str) -> int:
    """The longest start that is a card: an expiry date or a CVV may follow after one separator."""
    if is_card(value):
        return len(value)
    # the ends of runs of digits, from the last
    ends = [m.end() for m in re.finditer(r"[0-9](?![0-9])", value)][-2::-1]
    return next((end for end in ends if is_card(value[:end])), 0)


def _iban_length(value: str) -> int:
    """As many characters as the country's IBANs have, separators not counted."""
    left = checksums.iban_length(value)
    for position, character in enumerate(value):
        left -= character.isalnum()
        if not left:
            following = value[position + 1 : position + 2]
            return 0 if following.isalnum() else position + 1
    return 0


def _iban(value: str) -> bool:
    return checksums.mod97("".join(c for c in value if c.isalnum()))


CREDIT_CARD_NUMBER = InfoType(
    "CREDIT_CARD_NUMBER",
    (
        Pattern(
            rf"{_LEFT}(\d(?:{_SEP}?\d){{11,24}}){_RIGHT}",
            Likelihood.LIKELY,
            Strength.CHECKED,
            trim=_card_length,
            hotwords=(_CARD,),
        ),
        Pattern(
            rf"{_LEFT}(\d(?:{_SEP}?\d){{11,18}}){_RIGHT}",
            Likelihood.UNLIKELY,
            Strength.CHECKED,
            _luhn,
            hotwords=(_CARD,),
        ),
    ),
    screen=rf"\d(?:{_SEP}?\d){{11}}",
)

IBAN_CODE = InfoType(
    "IBAN_CODE",
    (
        Pattern(
            rf"(?:^|[^\pL0-9])([A-Za-z]{{2}}{_SEP}?\d{_SEP}?\d(?:{_SEP}?[A-Za-z0-9]){{11,36}})",
            Likelihood.VERY_LIKELY,
            Strength.CHECKED,
            _iban,
            _iban_length,
        ),
    ),
    screen=rf"[A-Za-z]{{2}}{_SEP}?\d{_SEP}?\d{_SEP}?[A-Za-z0-9]{_SEP}?[A-Za-z0-9]",
)

SWIFT_CODE = InfoType(
    "SWIFT_CODE",
    (
        Pattern(
            r"\b([A-Z]{6}[A-Z0-9]{2}(?:[A-Z0-9]{3})?)\b",
            Likelihood.UNLIKELY,
            Strength.LOOSE,
            lambda v: v[4:6] in _COUNTRIES,
            hotwords=(Hotword(r"\b(?:swift|bic)\b", before=40, after=20),),
        ),
    ),
    screen=r"[A-Z]{6}[A-Z0-9]{2}",
)

US_BANK_ROUTING_MICR = InfoType(
    "US_BANK_ROUTING_MICR",
    (
        Pattern(
            rf"{_LEFT}(\d{{9}}){_RIGHT}",
            Likelihood.VERY_UNLIKELY,
            Strength.CHECKED,
            checksums.aba,
            hotwords=(Hotword(r"\b(?:routing|aba|rtn|micr|transit)\b", before=40, after=20),),
        ),
    ),
    screen=r"\d{9}",
)

VAT_NUMBER = InfoType(
    "VAT_NUMBER",
    (
        Pattern(
            r"\b((?:ATU\d{8}|BE ?[01]\d{9}|DE ?\d{9}|DK ?\d{8}|EL ?\d{9}|ES ?[A-Z0-9]\d{7}[A-Z0-9]|FI ?\d{8}|FR "
            r"?[A-Z0-9]{2} ?\d{9}|GB ?\d{9}(?:\d{3})?|"
            r"IE ?\d[A-Z0-9]\d{5}[A-Z]{1,2}|IT ?\d{11}|LU ?\d{8}|NL ?\d{9}B\d{2}|PL ?\d{10}|PT ?\d{9}|SE ?\d{12}|CZ "
            r"?\d{8,10}|HU ?\d{8}|RO ?\d{2,10}))\b",
            Likelihood.UNLIKELY,
            Strength.LOOSE,
            hotwords=(Hotword(r"\b(?:vat|ust|uid|tva|iva|btw|mwst|moms|tax)\b", before=40),),
        ),
    ),
    screen=r"[A-Z]{2}[ U]?[A-Z0-9]{1,2} ?\d",
)

FINANCIAL_ACCOUNT_NUMBER = InfoType(
    "FINANCIAL_ACCOUNT_NUMBER",
    (
        Pattern(
            rf"{_LEFT}(\d(?:[ \-]?\d){{5,17}}){_RIGHT}",
            Likelihood.VERY_UNLIKELY,
            Strength.LOOSE,
            hotwords=(Hotword(r"\b(?:account|acct|a/c)\.?(?: (?:no|nr|num|number))?\b", before=25),),
        ),
    ),
    screen=r"\d(?:[ \-]?\d){5}",
)

INFO_TYPES = (CREDIT_CARD_NUMBER, IBAN_CODE, SWIFT_CODE, US_BANK_ROUTING_MICR, VAT_NUMBER, FINANCIAL_ACCOUNT_NUMBER)
