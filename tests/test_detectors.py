"""Every infoType by itself: what it must find at which likelihood, and what it must leave alone."""

import re

import pytest
import re2
from google.cloud.dlp_v2.types import InspectConfig
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.detectors import checksums, name_words
from transforms.detectors.finder import PatternFinder
from transforms.detectors.info_type import Likelihood
from transforms.detectors.inspector import Inspector
from transforms.detectors.registry import INFO_TYPES
from transforms.detectors.text import Text

V, L, P, U = Likelihood.VERY_LIKELY, Likelihood.LIKELY, Likelihood.POSSIBLE, Likelihood.UNLIKELY


def inspector(*types: str, least: Likelihood = Likelihood.POSSIBLE) -> Inspector:
    return Inspector.from_config(InspectConfig(info_types=[{"name": t} for t in types], min_likelihood=least))


# (infoType, text, what is found, at least how likely, remark)
FOUND = [
    ("EMAIL_ADDRESS", "mail jane.doe+x@mail.example.co.uk, please", "jane.doe+x@mail.example.co.uk", V, "tag, subdomains, comma behind"),
    ("EMAIL_ADDRESS", "<o'neil@x.org>", "o'neil@x.org", V, "apostrophe inside"),
    ("EMAIL_ADDRESS", "an jürgen@müller.de.", "jürgen@müller.de", V, "letters beyond ASCII, full stop behind"),
    ("EMAIL_ADDRESS", "a@xn--bcher-kva.example", "a@xn--bcher-kva.example", V, "punycode"),
    ("EMAIL_ADDRESS", "jane@[10.1.2.3] bounced", "jane@[10.1.2.3]", L, "address literal"),
    ("EMAIL_ADDRESS", "write to jane [at] example [dot] org", "jane [at] example [dot] org", L, "obfuscated"),
    ("EMAIL_ADDRESS", "jane at example dot org", "jane at example dot org", L, "spelt out"),
    ("EMAIL_ADDRESS", "jane＠example.org", "jane＠example.org", V, "full-width at sign"),
    ("URL", "see https://x.org/a?b=c&d=(e).", "https://x.org/a?b=c&d=(e", V, "punctuation at the end is not part of it"),
    ("URL", "www.example.com/path, or", "www.example.com/path", L, "without scheme"),
    ("URL", "example.org/login now", "example.org/login", L, "bare domain with a path"),
    ("DOMAIN_NAME", "the site example.co.uk is down", "example.co.uk", L, "bare domain"),
    ("PHONE_NUMBER", "+44 20 7946 0958", "+44 20 7946 0958", L, "international"),
    ("PHONE_NUMBER", "+49 (0)30 123456-78", "+49 (0)30 123456-78", L, "international with a trunk zero"),
    ("PHONE_NUMBER", "(212) 555-0142", "(212) 555-0142", L, "North America"),
    ("PHONE_NUMBER", "212.555.0142 x77", "212.555.0142 x77", L, "extension"),
    ("PHONE_NUMBER", "1-800-555-0199", "1-800-555-0199", L, "with the country's 1"),
    ("PHONE_NUMBER", "212\u2011555\u20110142", "212\u2011555\u20110142", P, "non-breaking hyphens"),
    ("PHONE_NUMBER", "001-748-088-2851x818", "001-748-088-2851x818", P, "exchange that no plan has, but dialled from abroad"),
    ("PHONE_NUMBER", "06-10446904", "06-10446904", P, "trunk zero"),
    ("PHONE_NUMBER", "02.27.96.63.08", "02.27.96.63.08", P, "French pairs"),
    ("PHONE_NUMBER", "(85) 5986-8343", "(85) 5986-8343", P, "area code in brackets"),
    ("PHONE_NUMBER", "call me on 785 8949", "785 8949", L, "local, beside a word"),
    ("PHONE_NUMBER", "my cell: 2125550142", "2125550142", L, "bare, beside a word"),
    ("PHONE_NUMBER", "24 428557-Office", "24 428557", L, "the word behind it"),
    ("PHONE_NUMBER", "nobody answers at 785 8949", "785 8949", L, "somebody ought to answer"),
    ("PHONE_NUMBER", "Jane, 88 165 40 96", "88 165 40 96", P, "groups of different sizes"),
    ("PHONE_NUMBER", "28-81-33-70", "28-81-33-70", P, "four pairs"),
    ("PHONE_NUMBER", "my new number is 785 8949", "785 8949", L, "a number of somebody"),
    ("PHONE_NUMBER", "Jane Doe\n12 Main St\n75 196 772", "75 196 772", P, "a line of its own"),
    ("US_SOCIAL_SECURITY_NUMBER", "123-45-6789", "123-45-6789", L, "hyphens"),
    ("US_SOCIAL_SECURITY_NUMBER", "ssn 123-45-6789.", "123-45-6789", V, "beside a word"),
    ("US_SOCIAL_SECURITY_NUMBER", "123\u201345\u20136789", "123\u201345\u20136789", L, "en dashes"),
    ("US_SOCIAL_SECURITY_NUMBER", "123 45 6789", "123 45 6789", P, "spaces"),
    ("US_SOCIAL_SECURITY_NUMBER", "social security number is 123456789", "123456789", L, "bare, beside a word"),
    ("US_INDIVIDUAL_TAXPAYER_IDENTIFICATION_NUMBER", "912-71-1234", "912-71-1234", L, "area 9, group 71"),
    ("US_EMPLOYER_IDENTIFICATION_NUMBER", "EIN 12-3456789", "12-3456789", L, "beside a word"),
    ("US_PASSPORT", "passport no. 123456789", "123456789", L, "nine digits"),
    ("US_PASSPORT", "Passport: A12345678", "A12345678", L, "next generation"),
    ("PASSPORT", "Reisepass C01X0006H", "C01X0006H", L, "German"),
    ("UK_PASSPORT", "passport 925665416", "925665416", L, "nine digits"),
    ("US_DRIVERS_LICENSE_NUMBER", "My driver's license number is A125325867", "A125325867", L, "letter and nine digits"),
    ("US_DRIVERS_LICENSE_NUMBER", "driver license LH329609T", "LH329609T", L, "two letters, digits, letter"),
    ("US_DRIVERS_LICENSE_NUMBER", "DL# 50473044", "50473044", L, "abbreviated"),
    ("UK_NATIONAL_INSURANCE_NUMBER", "AB 12 34 56 C", "AB 12 34 56 C", L, "spaces"),
    ("UK_NATIONAL_HEALTH_SERVICE_NUMBER", "NHS number 943 476 5919", "943 476 5919", L, "check digit agrees"),
    ("US_HEALTHCARE_NPI", "NPI 1234567893", "1234567893", L, "check digit agrees"),
    ("US_DEA_NUMBER", "AB1234563", "AB1234563", P, "check digit agrees"),
    ("US_MEDICARE_BENEFICIARY_ID_NUMBER", "1EG4-TE5-MK73", "1EG4-TE5-MK73", L, "CMS's example"),
    ("VEHICLE_IDENTIFICATION_NUMBER", "1M8GDM9AXKP042788", "1M8GDM9AXKP042788", P, "check character X"),
    ("CREDIT_CARD_NUMBER", "4111 1111 1111 1111", "4111 1111 1111 1111", L, "Visa"),
    ("CREDIT_CARD_NUMBER", "5105105105105100", "5105105105105100", L, "Mastercard"),
    ("CREDIT_CARD_NUMBER", "3782-822463-10005", "3782-822463-10005", L, "American Express"),
    ("CREDIT_CARD_NUMBER", "4111 1111 1111 1111 12/27", "4111 1111 1111 1111", L, "an expiry date behind it"),
    ("CREDIT_CARD_NUMBER", "card number 9999999999999995", "9999999999999995", L, "no issuer, but Luhn and a word"),
    ("IBAN_CODE", "GB82 WEST 1234 5698 7654 32 thanks", "GB82 WEST 1234 5698 7654 32", V, "a word behind it"),
    ("IBAN_CODE", "de89370400440532013000", "de89370400440532013000", V, "lower case"),
    ("IBAN_CODE", "NO9386011117947", "NO9386011117947", V, "the shortest"),
    ("SWIFT_CODE", "BIC DEUTDEFF500", "DEUTDEFF500", L, "beside a word"),
    ("US_BANK_ROUTING_MICR", "routing number 021000021", "021000021", L, "beside a word"),
    ("VAT_NUMBER", "VAT: GB123456789", "GB123456789", L, "beside a word"),
    ("FINANCIAL_ACCOUNT_NUMBER", "account number 12345678", "12345678", L, "beside a word"),
    ("IP_ADDRESS", "10.1.2.3", "10.1.2.3", L, "version 4"),
    ("IP_ADDRESS", "from 10.1.2.3:8080", "10.1.2.3", L, "a port behind it"),
    ("IP_ADDRESS", "d80:e4b5:79da:6cf6:71f3:51f7:9161:c319", "d80:e4b5:79da:6cf6:71f3:51f7:9161:c319", L, "version 6"),
    ("IP_ADDRESS", "at 2001:db8::8a2e:370:7334.", "2001:db8::8a2e:370:7334", L, "shortened"),
    ("MAC_ADDRESS", "00:1A:2b:3c:4d:5e", "00:1A:2b:3c:4d:5e", L, "colons"),
    ("MAC_ADDRESS", "001a.2b3c.4d5e", "001a.2b3c.4d5e", L, "dots"),
    ("MAC_ADDRESS_LOCAL", "02:1A:2b:3c:4d:5e", "02:1A:2b:3c:4d:5e", L, "the local bit is set"),
    ("IMEI_HARDWARE_ID", "IMEI 490154203237518", "490154203237518", L, "check digit agrees"),
    ("DATE", "on 2024-02-29", "2024-02-29", L, "a leap day"),
    ("DATE", "31/12/1999", "31/12/1999", L, "day first"),
    ("DATE", "12/31/1999", "12/31/1999", L, "month first"),
    ("DATE", "3rd of March, 2021", "3rd of March, 2021", L, "words"),
    ("DATE", "Mar 3, 2021", "Mar 3, 2021", L, "American"),
    ("DATE", "am 3. März 2021", "3. März 2021", L, "German"),
    ("DATE", "see you on May 5", "May 5", P, "no year"),
    ("DATE", "2021-03-03T10:00:00Z", "2021-03-03", L, "a time behind it"),
    ("DATE_OF_BIRTH", "born on 3 March 1981", "3 March 1981", V, "beside a word"),
    ("DATE_OF_BIRTH", "DOB: 03/04/1981", "03/04/1981", V, "abbreviated"),
    ("TIME", "at 14:05:59", "14:05:59", P, "seconds"),
    ("AGE", "a 50 year old man", "50 year old", V, "words"),
    ("AGE", "aged 34.", "34", L, "before it"),
    ("AGE", "she is seventy-two years old", "seventy-two years old", V, "a number word"),
    ("PERSON_NAME", "Dr. Smith called", "Smith", V, "title"),
    ("PERSON_NAME", "ask Mrs Anna-Maria van der Berg about it", "Anna-Maria van der Berg", V, "title, particles"),
    ("PERSON_NAME", "my name is Xiu Zzyzx.", "Xiu Zzyzx", L, "a phrase is enough for unknown names"),
    ("PERSON_NAME", "my name is jane doe", "jane doe", P, "lower case"),
    ("PERSON_NAME", "I spoke with Jane Doe yesterday", "Jane Doe", L, "phrase"),
    ("PERSON_NAME", "add Jane Q. Doe as guardian", "Jane Q. Doe", P, "first name of the list and a surname"),
    ("PERSON_NAME", "Yesterday Jane Doe came", "Jane Doe", P, "a capital before it"),
    ("PERSON_NAME", "Hi, I'm Jane Doe", "Jane Doe", P, "a shortened word before it"),
    ("PERSON_NAME", "my neighbour Vinh Zyxer can confirm", "Vinh Zyxer", L, "a relation"),
    ("PERSON_NAME", "Xatou K. Zurray knows", "Xatou K. Zurray", P, "an initial in the middle"),
    ("PERSON_NAME", "in the name of Zsófia A. Saito.", "Zsófia A. Saito", L, "an initial that is a word too"),
    ("PERSON_NAME", "Signed: Doe, Jane", "Doe, Jane", L, "surname first"),
    ("PERSON_NAME", "Hi Tamara, thanks", "Tamara", P, "greeting"),
    ("FIRST_NAME", "ask Tamara about it", "Tamara", P, "list"),
    ("STREET_ADDRESS", "12 Baker Street, London NW1 6XE", "12 Baker Street, London NW1 6XE", L, "British"),
    ("STREET_ADDRESS", "at 1600 Pennsylvania Ave NW, Washington, DC 20500", "1600 Pennsylvania Ave NW, Washington, DC 20500", L, "American"),
    ("STREET_ADDRESS", "4589 40th Street Suite 603", "4589 40th Street Suite 603", L, "ordinal, unit"),
    ("STREET_ADDRESS", "P.O. Box 101", "P.O. Box 101", L, "box"),
    ("STREET_ADDRESS", "Hauptstraße 5, 10115 Berlin", "Hauptstraße 5, 10115 Berlin", L, "German"),
    ("STREET_ADDRESS", "12 rue de la Paix", "12 rue de la Paix", P, "French"),
    ("LOCATION", "from Springfield, IL 62701", "Springfield, IL 62701", L, "city and state"),
    ("LOCATION", "Turkmenistan was fun", "Turkmenistan", P, "country"),
    ("ORGANIZATION_NAME", "works at Cantrell Ltd. now", "Cantrell Ltd", L, "legal form"),
    ("ORGANIZATION_NAME", "the University of Michigan", "University of Michigan", L, "institution"),
    ("GCP_API_KEY", "key=AIzaSyA1234567890abcdefghijklmnopqrstuv", "AIzaSyA1234567890abcdefghijklmnopqrstuv", V, "prefix and length"),
    ("AWS_CREDENTIALS", "AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLE", V, "AWS's own example"),
    ("JSON_WEB_TOKEN", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", V, "three parts"),
    ("AUTH_TOKEN", "Authorization: Bearer abcdefghijklmnop1234", "abcdefghijklmnop1234", L, "bearer"),
    ("BASIC_AUTH_HEADER", "Authorization: Basic dXNlcjpwYXNz", "Basic dXNlcjpwYXNz", V, "header"),
    ("ENCRYPTION_KEY", "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----", V, "PEM"),
    ("PASSWORD", "password: hunter2!", "hunter2!", L, "field"),
]


@pytest.mark.parametrize(("name", "text", "value", "least", "remark"), FOUND, ids=[f"{r[0]}: {r[4]}" for r in FOUND])
def test_found(name: str, text: str, value: str, least: Likelihood, remark: str) -> None:
    findings = inspector(name).find(text)
    assert [text[f.start : f.end] for f in findings] == [value]
    assert findings[0].likelihood >= least


def test_every_info_type_has_a_case() -> None:
    assert {row[0] for row in FOUND} == INFO_TYPES.keys()


# (infoType, text, remark): nothing at POSSIBLE
CLEAN = [
    ("EMAIL_ADDRESS", "sprite@2x.png", "a file"),
    ("EMAIL_ADDRESS", "meet @ noon, lodash@4.17.21", "at signs"),
    ("URL", "and/or, n/a, 3.5/5", "slashes"),
    ("PHONE_NUMBER", "2019-05-04 11:28", "a date and a time"),
    ("PHONE_NUMBER", "phone call on 04.05.2019", "a date beside a word"),
    ("PHONE_NUMBER", "2813882583", "a bare number without a word"),
    ("PHONE_NUMBER", "order number 2125550142", "an order number"),
    ("PHONE_NUMBER", "phone order no. 2125550142", "the nearer word wins"),
    ("PHONE_NUMBER", "1 234 567 rows, $ 2,345,678.90", "amounts"),
    ("PHONE_NUMBER", "550e8400-e29b-41d4-a716-446655440000", "a UUID"),
    ("PHONE_NUMBER", "123-45-6789", "an SSN"),
    ("PHONE_NUMBER", "192.168.100.200", "an IP address"),
    ("PHONE_NUMBER", "app-0000012", "an id"),
    ("US_SOCIAL_SECURITY_NUMBER", "000-12-3456 666-12-3456 900-12-3456", "areas that do not exist"),
    ("US_SOCIAL_SECURITY_NUMBER", "123-00-6789 123-45-0000", "zeros"),
    ("US_SOCIAL_SECURITY_NUMBER", "078-05-1120", "printed on a million wallets"),
    ("US_SOCIAL_SECURITY_NUMBER", "1123-45-6789 123-45-67890", "longer numbers"),
    ("US_SOCIAL_SECURITY_NUMBER", "123456789", "nine digits without a word"),
    ("US_SOCIAL_SECURITY_NUMBER", "call 123 45 6789", "a phone number"),
    ("PHONE_NUMBER", "2019 2020 2021, 10 20 30 40, 123 456 789", "lists of numbers"),
    ("PHONE_NUMBER", "Apt. 338 32 216 Menzies Street", "an apartment and a street"),
    ("PHONE_NUMBER", "75 196 772", "three groups without a word"),
    ("US_PASSPORT", "123456789", "nine digits without a word"),
    ("US_DRIVERS_LICENSE_NUMBER", "A125325867", "without a word"),
    ("CREDIT_CARD_NUMBER", "4111 1111 1111 1112", "Luhn fails"),
    ("CREDIT_CARD_NUMBER", "0000 0000 0000 0000", "zeros"),
    ("CREDIT_CARD_NUMBER", "1700000000000", "milliseconds"),
    ("CREDIT_CARD_NUMBER", "12345678-1234-1234-1234-411111111111", "a UUID"),
    ("IBAN_CODE", "GB83 WEST 1234 5698 7654 32", "checksum fails"),
    ("IBAN_CODE", "ab12cd34ef56ab12cd34ef56", "no such country"),
    ("SWIFT_CODE", "DOWNTOWN", "capitals without a word"),
    ("US_BANK_ROUTING_MICR", "routing 021000022", "checksum fails"),
    ("IP_ADDRESS", "version 1.2.3.4", "a version"),
    ("IP_ADDRESS", "1.2.3.4.5 256.1.1.1", "too many parts, too large"),
    ("IP_ADDRESS", "12:34:56 std::string a::b", "a time, code"),
    ("MAC_ADDRESS", "00:1A:2b:3c:4d", "five pairs"),
    ("MAC_ADDRESS_LOCAL", "00:1A:2b:3c:4d:5e", "the local bit is not set"),
    ("DATE", "2023-02-29 31/31/2020 version 1.2.19", "not in the calendar"),
    ("DATE", "10/10, 24/7, 1-2-3-4", "no dates"),
    ("DATE_OF_BIRTH", "ordered on 3 March 1981", "another date"),
    ("AGE", "34 items, turned 1999", "numbers"),
    ("PERSON_NAME", "I Want To Speak To A Human At Your Company", "capitals"),
    ("PERSON_NAME", "May I ask? Will Bank of America pay?", "words that are names"),
    ("PERSON_NAME", "Dear Customer Service, Thank You", "a greeting to nobody"),
    ("STREET_ADDRESS", "I waited 5 minutes by the road", "a number and a street word"),
    ("ORGANIZATION_NAME", "I am limited to one group", "small letters"),
    ("PASSWORD", "my password is not working", "talk"),
    ("UK_NATIONAL_INSURANCE_NUMBER", "GB123456A", "a prefix that is not given out"),
    ("US_DEA_NUMBER", "AB1234567", "checksum fails"),
    ("VEHICLE_IDENTIFICATION_NUMBER", "1M8GDM9A1KP042788", "checksum fails"),
]


@pytest.mark.parametrize(("name", "text", "remark"), CLEAN, ids=[f"{r[0]}: {r[2]}" for r in CLEAN])
def test_left_alone(name: str, text: str, remark: str) -> None:
    assert inspector(name).find(text) == []


def test_spaces_that_pass_for_letters_are_no_names() -> None:
    assert inspector("PERSON_NAME").find("my name is \u1680\u1680") == []


def test_weak_hits_are_there_for_those_who_ask() -> None:
    assert inspector("PHONE_NUMBER", least=Likelihood.VERY_UNLIKELY).find("ref 2125550142")[0].likelihood <= U


# A text that looks like everything: pieces that detectors know, glued with noise
PIECES = [row[1] for row in FOUND] + [row[1] for row in CLEAN] + ["😀", "é", "\u00a0", "\n", "\x00", "\udcff", "Ω", "漢字", "\u1680"]
glued = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=8)), max_size=6).map(" ".join)
FINDERS = [PatternFinder(t, p) for t in INFO_TYPES.values() for p in t.patterns]
SCREENS = {r: re2.compile(r) for f in FINDERS for r in (f.screen, f.needs, f.near, f.whole)}
EVERYTHING = inspector(*INFO_TYPES, least=Likelihood.VERY_UNLIKELY)


@settings(max_examples=150, deadline=None)
@given(glued)
def test_a_screen_never_hides_a_hit(text: str) -> None:
    seen = Text(text)
    for finder in FINDERS:
        hits = list(finder.find(seen))
        if hits:
            assert SCREENS[finder.screen].search(seen.data), finder.name
            assert SCREENS[finder.needs].search(seen.data), finder.name
        for hit in hits:
            assert hit.likelihood <= finder.likelihood or SCREENS[finder.near].search(seen.data), finder.name
            assert hit.likelihood <= finder.at_most, finder.name
            assert (hit.start, hit.end) != (0, len(text)) or SCREENS[finder.whole].search(seen.data), finder.name


numbers = st.lists(st.sampled_from(["19", "20", "2024", "03", "1", "555", "0142", "12345", " ", "-", ".", "/", "\u00a0", "\u2011", " x7", "(", ")", "a", "$", ","]), max_size=9)
GROUPED = [f for f in FINDERS if f.needs != f.regex and f.name == "PHONE_NUMBER"]


@settings(max_examples=1500, deadline=None)
@given(numbers.map("".join))
def test_what_a_telephone_number_needs_is_in_every_one(text: str) -> None:
    assert len(GROUPED) == 2
    for finder in GROUPED:
        assert SCREENS[finder.needs].search(text.encode()) or not list(finder.find(Text(text)))


def test_a_date_is_not_what_a_telephone_number_needs() -> None:
    assert not any(SCREENS[f.needs].search(b"I came on 2024-05-03, it cost $1,234.56 more.") for f in GROUPED)


@settings(max_examples=200, deadline=None)
@given(glued)
def test_find_never_raises_and_offsets_are_in_range(text: str) -> None:
    end = 0
    for finding in EVERYTHING.find(text):
        assert end <= finding.start < finding.end <= len(text)
        end = finding.end


@pytest.mark.timeout(300)
@pytest.mark.parametrize("unit", ["a", "1", "1-", "1 2", "A b ", "Jane ", "x@", "a.", "@", "::", "1.", "(1) ", "eyJ", " at a dot "])
def test_long_texts_take_time_by_their_length(unit: str) -> None:
    """A quadratic pattern would take minutes here; pytest's own time-out is the judge."""
    EVERYTHING.find(unit * (30_000 // len(unit)) + " jane@example.org")


def test_programs_stay_small() -> None:
    """A pattern of many instructions leaves RE2's automaton and runs a hundred times slower."""
    sizes = {f"{f.name}: {f.regex[:40]}": re2.compile(f.regex).programsize for f in FINDERS}
    assert max(sizes.values()) < 6000, max(sizes, key=lambda k: sizes[k])


def test_patterns_keep_to_one_group() -> None:
    assert {re2.compile(f.regex).groups for f in FINDERS} <= {0, 1}


@pytest.mark.parametrize(("check", "right", "wrong"), [
    (checksums.luhn, "79927398713", "79927398710"),
    (checksums.mod97, "GB82WEST12345698765432", "GB82WEST12345698765433"),
    (checksums.aba, "021000021", "121000021"),
    (checksums.nhs, "9434765919", "9434765918"),
    (checksums.vin, "11111111111111111", "11111111211111111"),
    (checksums.dea, "AB1234563", "AB1234564"),
], ids=lambda x: getattr(x, "__name__", ""))
def test_checksums(check: object, right: str, wrong: str) -> None:
    assert callable(check)
    assert check(right) and not check(wrong)


def test_the_list_of_first_names_is_plain_words() -> None:
    assert len(name_words.first_names()) > 10_000
    assert {"jane", "jürgen", "jurgen", "giulia"} <= name_words.first_names()
    assert not any(re.search(r"[\d\s#]", name) for name in name_words.first_names())
