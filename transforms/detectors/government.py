"""Numbers that states give to people: US and UK."""

import re

from transforms.detectors import checksums
from transforms.detectors.info_type import Hotword, InfoType, Likelihood, Pattern, Strength, digits

_DASH = "[\\-\u2010-\u2015]"
_LEFT = r"(?:^|[^\pL0-9_.\-]|[\pL][.\-])"
_RIGHT = r"(?:$|[^\pL0-9_\-.]|[.\-](?:$|[^\pL0-9]))"
# Numbers that were printed in advertisements and so were never anybody's alone
_PRINTED = {"078051120", "219099999", "457555462"}
# IRS: the middle digits of taxpayer numbers that look like SSNs
_ITIN = {*range(50, 66), *range(70, 89), 90, 91, 92, *range(94, 100)}


def ssn(value: str) -> bool:
    """Social Security Administration's rules since 2011: area not 000, 666 or 9xx, no group or serial of zeros."""
    n = digits(value)
    return (
        n[:3] not in ("000", "666")
        and n[0] != "9"
        and n[3:5] != "00"
        and n[5:] != "0000"
        and n not in _PRINTED
        and len(set(n)) > 1
    )


def _itin(value: str) -> bool:
    n = digits(value)
    return n[0] == "9" and int(n[3:5]) in _ITIN


_SSN = Hotword(r"\b(?:ssn|ss#|social|soc\.? ?sec|social[\- ]security)(?:\b|[# :])", before=60, after=20)
_CALLED = Hotword(r"\b(?:phone|tel|mobile|cell|fax|call|dial|reach)\b", Likelihood.UNLIKELY, before=40, lowers=True)
US_SOCIAL_SECURITY_NUMBER = InfoType(
    "US_SOCIAL_SECURITY_NUMBER",
    (
        Pattern(
            rf"(?:^|[^0-9.\-]|[^0-9][.\-])(\d{{3}}{_DASH}\d\d{_DASH}\d{{4}})(?:$|[^0-9\-]|-(?:$|\D))",
            Likelihood.LIKELY,
            Strength.SPECIFIC,
            ssn,
            hotwords=(_SSN,),
        ),
        Pattern(
            rf"{_LEFT}(\d{{3}}[ .\x{{a0}}]\d\d[ .\x{{a0}}]\d{{4}}){_RIGHT}",
            Likelihood.POSSIBLE,
            Strength.LOOSE,
            ssn,
            hotwords=(_SSN, _CALLED),
        ),
        Pattern(rf"{_LEFT}(\d{{9}}){_RIGHT}", Likelihood.VERY_UNLIKELY, Strength.LOOSE, ssn, hotwords=(_SSN,)),
    ),
    screen="\\d{3}[ .\u00a0\\-\u2010-\u2015]?\\d\\d[ .\u00a0\\-\u2010-\u2015]?\\d{4}",
)
US_INDIVIDUAL_TAXPAYER_IDENTIFICATION_NUMBER = InfoType(
    "US_INDIVIDUAL_TAXPAYER_IDENTIFICATION_NUMBER",
    (
        Pattern(
            rf"{_LEFT}(9\d\d{_DASH}\d\d{_DASH}\d{{4}}){_RIGHT}",
            Likelihood.LIKELY,
            Strength.SPECIFIC,
            _itin,
            hotwords=(Hotword(r"\b(?:itin|taxpayer)\b"),),
        ),
    ),
    screen="9\\d\\d[\\-\u2010-\u2015]\\d\\d[\\-\u2010-\u2015]\\d{4}",
)
US_EMPLOYER_IDENTIFICATION_NUMBER = InfoType(
    "US_EMPLOYER_IDENTIFICATION_NUMBER",
    (
        Pattern(
            rf"{_LEFT}(\d\d-\d{{7}}){_RIGHT}",
            Likelihood.UNLIKELY,
            Strength.LOOSE,
            hotwords=(Hotword(r"\b(?:ein|fein|employer|tax id)\b"),),
        ),
    ),
    screen=r"\d\d-\d{7}",
)

_PASSPORT = Hotword(r"\b(?:passport|passeport|reisepass|pasaporte|travel document)\b", before=50, after=15)
US_PASSPORT = InfoType(
    "US_PASSPORT",
    (
        Pattern(
            rf"{_LEFT}([A-Za-z]?\d{{8}}|\d{{9}}){_RIGHT}",
            Likelihood.VERY_UNLIKELY,
            Strength.LOOSE,
            lambda v: len(v) == 9,
            hotwords=(_PASSPORT,),
        ),
    ),
    screen=r"[A-Za-z\d]\d{8}",
)
UK_PASSPORT = InfoType(
    "UK_PASSPORT",
    (Pattern(rf"{_LEFT}(\d{{9}}){_RIGHT}", Likelihood.VERY_UNLIKELY, Strength.LOOSE, hotwords=(_PASSPORT,)),),
    r"\d{9}",
)
PASSPORT = InfoType(
    "PASSPORT",
    (
        Pattern(
            rf"{_LEFT}([A-Za-z]{{0,2}}\d{{6,9}}[A-Za-z]?|[CFGHJKLMNPRTVWXYZ0-9]{{9}}){_RIGHT}",
            Likelihood.VERY_UNLIKELY,
            Strength.LOOSE,
            lambda v: 7 <= len(v) <= 10 and bool(digits(v)),
            hotwords=(_PASSPORT,),
        ),
    ),
    screen=r"\d",
)

# Shapes of the fifty states' licences: https://ntsi.com/drivers-license-format/
_LICENCES = re.compile(
    r"[A-Z]\d{3,8}|[A-Z]\d{11,14}|[A-Z]{2}\d{3,7}|\d{7,10}|[A-Z]{2}\d{6}[A-Z]|\d{3}[A-Z]{2}\d{4}|\d{12}|"
    r"\d{2}[A-Z]{3}\d{5}|\d{8}[A-Z]|\d{9}[A-Z]|[A-Z]\d{9}[A-Z]?|"
    r"[A-Z]{3}\d{6}|[A-Z]{1,7}[A-Z0-9*]{4,11}|[A-Z]\d{6}R|[A-Z]\d{2}[ -]?\d{2}[ -]?\d{4}|[A-Z]\d{3}[ -]\d{3}[ "
    r"-]\d{2}[ -]\d{3}[ -]\d|\d{3}[ -]\d{3}[ -]\d{3}",
    re.IGNORECASE,
)
_DRIVER = Hotword(
    r"(?:driver'?’?s?'?’? ?licen[cs]e|driving licen[cs]e|\bdl ?#|\bdl\b|\bd\.l\.|\bdmv\b|licen[cs]e (?:no|nr|num|"
    r"number|#|id)|\blicen[cs]e\b)",
    before=60,
    after=25,
)
_LICENCE = r"([A-Za-z]{0,7}\d[\dA-Za-z*]{2,16}(?:[ \-]\d{2,4}){0,4})"
US_DRIVERS_LICENSE_NUMBER = InfoType(
    "US_DRIVERS_LICENSE_NUMBER",
    (
        Pattern(
            rf"{_LEFT}{_LICENCE}{_RIGHT}",
            Likelihood.VERY_UNLIKELY,
            Strength.LOOSE,
            lambda v: bool(_LICENCES.fullmatch(v)) and len(digits(v)) >= 3,
            hotwords=(_DRIVER,),
        ),
    ),
    screen=r"\d[A-Za-z\d]",
)

UK_NATIONAL_INSURANCE_NUMBER = InfoType(
    "UK_NATIONAL_INSURANCE_NUMBER",
    (
        Pattern(
            r"(?i)\b([abceghj-prstw-z][abceghj-nprstw-z] ?\d\d ?\d\d ?\d\d ?[a-d])\b",
            Likelihood.LIKELY,
            Strength.SPECIFIC,
            lambda v: v[:2].upper() not in ("BG", "GB", "KN", "NK", "NT", "TN", "ZZ"),
            hotwords=(Hotword(r"national insurance|\bnino?\b"),),
        ),
    ),
    screen=r"[A-Za-z]{2} ?\d\d ?\d\d ?\d\d ?[A-Da-d]",
)
UK_NATIONAL_HEALTH_SERVICE_NUMBER = InfoType(
    "UK_NATIONAL_HEALTH_SERVICE_NUMBER",
    (
        Pattern(
            rf"{_LEFT}(\d{{3}}[ \-]?\d{{3}}[ \-]?\d{{4}}){_RIGHT}",
            Likelihood.VERY_UNLIKELY,
            Strength.CHECKED,
            lambda v: checksums.nhs(digits(v)),
            hotwords=(Hotword(r"\b(?:nhs|national health)\b"),),
        ),
    ),
    screen=r"\d{3}[ \-]?\d{3}[ \-]?\d{4}",
)
US_HEALTHCARE_NPI = InfoType(
    "US_HEALTHCARE_NPI",
    # The check digit counts the prefix 80840 (45 CFR 162.406)
    (
        Pattern(
            rf"{_LEFT}([12]\d{{9}}){_RIGHT}",
            Likelihood.VERY_UNLIKELY,
            Strength.CHECKED,
            lambda v: checksums.luhn("80840" + v),
            hotwords=(Hotword(r"\b(?:npi|provider)\b"),),
        ),
    ),
    screen=r"[12]\d{9}",
)
US_DEA_NUMBER = InfoType(
    "US_DEA_NUMBER",
    (
        Pattern(
            r"\b([A-HJ-NP-UX][A-Z9]\d{7})\b",
            Likelihood.POSSIBLE,
            Strength.CHECKED,
            checksums.dea,
            hotwords=(Hotword(r"\bdea\b"),),
        ),
    ),
    screen=r"[A-Z][A-Z9]\d{7}",
)
US_MEDICARE_BENEFICIARY_ID_NUMBER = InfoType(
    "US_MEDICARE_BENEFICIARY_ID_NUMBER",
    (
        Pattern(
            r"\b([1-9][AC-HJKMNP-RT-Y][AC-HJKMNP-RT-Y0-9]\d-?[AC-HJKMNP-RT-Y][AC-HJKMNP-RT-Y0-9]\d-?[AC-HJKMNP-RT-Y]{2}\d{2})\b",
            Likelihood.LIKELY,
            hotwords=(Hotword(r"\b(?:medicare|mbi)\b"),),
        ),
    ),
    screen=r"[1-9][A-Y][A-Y0-9]\d-?[A-Y]",
)
VEHICLE_IDENTIFICATION_NUMBER = InfoType(
    "VEHICLE_IDENTIFICATION_NUMBER",
    (
        Pattern(
            r"\b([A-HJ-NPR-Za-hj-npr-z0-9]{11}[A-HJ-NPR-Za-hj-npr-z0-9]{2}\d{4})\b",
            Likelihood.POSSIBLE,
            Strength.CHECKED,
            lambda v: not v.isdigit() and checksums.vin(v),
            hotwords=(Hotword(r"\b(?:vin|vehicle|chassis)\b"),),
        ),
    ),
    screen=r"[A-Za-z0-9]{13}\d{4}",
)

INFO_TYPES = (
    US_SOCIAL_SECURITY_NUMBER,
    US_INDIVIDUAL_TAXPAYER_IDENTIFICATION_NUMBER,
    US_EMPLOYER_IDENTIFICATION_NUMBER,
    US_PASSPORT,
    UK_PASSPORT,
    PASSPORT,
    US_DRIVERS_LICENSE_NUMBER,
    UK_NATIONAL_INSURANCE_NUMBER,
    UK_NATIONAL_HEALTH_SERVICE_NUMBER,
    US_HEALTHCARE_NPI,
    US_DEA_NUMBER,
    US_MEDICARE_BENEFICIARY_ID_NUMBER,
    VEHICLE_IDENTIFICATION_NUMBER,
)
