"""Check digits. Every function takes a text without separators and answers whether its check digits agree."""

_IBAN_LENGTHS = {
    "AD": 24,
    "AE": 23,
    "AL": 28,
    "AT": 20,
    "AZ": 28,
    "BA": 20,
    "BE": 16,
    "BG": 22,
    "BH": 22,
    "BI": 27,
    "BR": 29,
    "BY": 28,
    "CH": 21,
    "CR": 22,
    "CY": 28,
    "CZ": 24,
    "DE": 22,
    "DJ": 27,
    "DK": 18,
    "DO": 28,
    "EE": 20,
    "EG": 29,
    "ES": 24,
    "FI": 18,
    "FK": 18,
    "FO": 18,
    "FR": 27,
    "GB": 22,
    "GE": 22,
    "GI": 23,
    "GL": 18,
    "GR": 27,
    "GT": 28,
    "HR": 21,
    "HU": 28,
    "IE": 22,
    "IL": 23,
    "IQ": 23,
    "IS": 26,
    "IT": 27,
    "JO": 30,
    "KW": 30,
    "KZ": 20,
    "LB": 28,
    "LC": 32,
    "LI": 21,
    "LT": 20,
    "LU": 20,
    "LV": 21,
    "LY": 25,
    "MC": 27,
    "MD": 24,
    "ME": 22,
    "MK": 19,
    "MN": 20,
    "MR": 27,
    "MT": 31,
    "MU": 30,
    "NI": 28,
    "NL": 18,
    "NO": 15,
    "OM": 23,
    "PK": 24,
    "PL": 28,
    "PS": 29,
    "PT": 25,
    "QA": 29,
    "RO": 24,
    "RS": 22,
    "RU": 33,
    "SA": 24,
    "SC": 31,
    "SD": 18,
    "SE": 24,
    "SI": 19,
    "SK": 24,
    "SM": 27,
    "SO": 23,
    "ST": 25,
    "SV": 28,
    "TL": 23,
    "TN": 24,
    "TR": 26,
    "UA": 29,
    "VA": 22,
    "VG": 24,
    "XK": 20,
    "YE": 30,
}
_DOUBLED = str.maketrans("0123456789", "0246813579")


def luhn(number: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    return (sum(map(int, number[::-2])) + sum(map(int, number[-2::-2].translate(_DOUBLED)))) % 10 == 0


def mod97(text: str) -> bool:
    """ISO/IEC 7064 MOD 97-10, as IBANs use it (ISO 13616): the first four characters moved to the end."""
    return int("".join(str(int(c, 36)) for c in text[4:] + text[:4])) % 97 == 1


def iban_length(text: str) -> int:
    """Characters of an IBAN of this country (SWIFT IBAN registry); 0 where there are none."""
    return _IBAN_LENGTHS.get(text[:2].upper(), 0)


def aba(number: str) -> bool:
    """Weights 3, 7, 1 of a US routing number, and the ranges of its Federal Reserve districts."""
    district = int(number[:2])
    known = 1 <= district <= 12 or 21 <= district <= 32 or 61 <= district <= 72 or district == 80
    return known and sum(int(c) * w for c, w in zip(number, (3, 7, 1) * 3, strict=True)) % 10 == 0


def nhs(number: str) -> bool:
    """Modulus 11 of the NHS Data Dictionary; ten digits."""
    rest = 11 - sum(int(c) * w for c, w in zip(number[:9], range(10, 1, -1), strict=True)) % 11
    return rest % 11 == int(number[9]) and rest != 10


def vin(text: str) -> bool:
    """49 CFR 565.15(c): the ninth character of a vehicle identification number."""
    values = dict(
        zip(
            "ABCDEFGHJKLMNPRSTUVWXYZ0123456789",
            [1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 7, 9, 2, 3, 4, 5, 6, 7, 8, 9, *range(10)],
            strict=True,
        )
    )
    weights = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
    rest = sum(values[c] * w for c, w in zip(text.upper(), weights, strict=True)) % 11
    return text[8].upper() == ("X" if rest == 10 else str(rest))


def dea(text: str) -> bool:
    """US Drug Enforcement Administration number: two letters (or a letter and a 9) and seven digits."""
    d = [int(c) for c in text[2:]]
    return (d[0] + d[2] + d[4] + 2 * (d[1] + d[3] + d[5])) % 10 == d[6]
