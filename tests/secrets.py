"""Made-up secrets of 17 kinds, no two alike, and the lines of the census contract that carry one each.

A secret is planted where a sender could put it: in every field, as text and, where it is a number, as a number; inside
running text; and in lines that are no rows. What no detector of inspect.json was asked for is free text like any other,
so links and API keys are not planted where text is free (UNASKED).
"""

import csv
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Callable, Iterator
from itertools import count, pairwise
from typing import Any, NamedTuple

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq

FIRST = ("Margaret", "Katherine", "Elizabeth", "Christopher", "Alexander", "Jonathan", "Stephanie", "Benjamin", "Nathaniel", "Frederick")
LAST = ("Fitzgerald", "Henderson", "Richardson", "Montgomery", "Cunningham", "Washington", "Rodriguez", "Gallagher", "Hernandez", "Armstrong")


def _luhn(digits: str) -> str:
    total = sum(sum(divmod(int(d) * 2, 10)) if i % 2 == 0 else int(d) for i, d in enumerate(reversed(digits)))
    return digits + str(-total % 10)


def _fours(text: str) -> str:
    return " ".join(text[i:i + 4] for i in range(0, len(text), 4))


def _card(prefix: int, n: int) -> str:
    return _luhn(f"{prefix}{731_902_448_17 + n * 90_017:011d}")


def _iban(n: int) -> str:
    account = f"37040044{532_013_000 + n * 7_919:010d}"
    return f"DE{98 - int(f'{account}131400') % 97:02d}{account}"


def _phone(n: int) -> str:
    line = f"{1100 + n * 13:04d}"
    return (f"(415) 555-{line}", f"+44 20 7946 {line}", f"917.555.{line}", f"+1 305-555-{line}")[n % 4]


KINDS: dict[str, Callable[[int], str]] = {
    "email": lambda n: f"wren{n:03d}.okafor@mail{n:03d}.example.org",
    "ssn": lambda n: f"{310 + n}-{11 + n % 80}-{2000 + n * 17}",
    "ssn_bare": lambda n: f"{510 + n}{11 + n % 80}{3000 + n * 17}",
    "card": lambda n: _fours(_card(4532, n)),
    "card_bare": lambda n: _card(5425, n),
    "phone": _phone,
    "iban": lambda n: _fours(_iban(n)) if n % 2 else _iban(n),
    "ipv4": lambda n: f"203.0.113.{100 + n}",
    "ipv6": lambda n: f"2001:db8:{0x5a00 + n:x}::{0xbe00 + n:x}",
    "mac": lambda n: f"00:1b:44:{n:02x}:3a:{0xb7 ^ n:02x}",
    "passport": lambda n: f"C{40_010_000 + n * 137}",
    "licence": lambda n: f"D{6_100_000 + n * 71}",
    "address": lambda n: f"{4_100 + n * 3} Wisteria Lane, Apt {300 + n}, Springfield, IL 62704",
    "name": lambda n: f"{FIRST[n % 10]} {'QVXZJK'[n // 10]}. {LAST[(n * 3 + n // 10) % 10]}",
    "birth": lambda n: f"{1930 + n}-04-{1 + n % 28:02d}",
    "link": lambda n: f"https://portal.example.org/reset?token=tk{n:03d}Zq8vLm{n * 977:06d}XwR",
    "api_key": lambda n: "AIza" + hashlib.sha256(f"key {n}".encode()).hexdigest()[:35],
}
UNASKED = ("link", "api_key")  # inspect.json names no infoType for them
TEXTS = {
    "ssn_bare": ("My SSN is {}.", "social security number {}"), "passport": ("My passport number is {}.", "Passport {} is attached."),
    "licence": ("My driver's license is {}.", "Driver license number: {}"),
    "name": ("My name is {}.", "Please ask for {}."), "birth": ("I was born on {}.", "Date of birth: {}"),
    "address": ("I moved to {}.", "Write to {}"), "phone": ("Call me at {}.", "My phone: {}"),
}
_TEXTS = ("Please use {} from now on.", "It is {}")
FIELDS = ("application_id", "submitted_at", "full_name", "email", "phone", "ssn", "ip", "note", "age", "workclass", "fnlwgt", "education",
          "education_num", "marital_status", "occupation", "relationship", "race", "sex", "capital_gain", "capital_loss",
          "hours_per_week", "native_country")
ROW = {"application_id": "", "submitted_at": "2026-03-02T10:00:00Z", "age": 39, "workclass": "Private", "fnlwgt": 77_516, "education": "Bachelors",
       "education_num": 13, "marital_status": "Divorced", "occupation": "Sales", "relationship": "Unmarried", "race": "White", "sex": "Female",
       "capital_gain": 0, "capital_loss": 0, "hours_per_week": 40, "native_country": "?"}
MASKED = {"full_name", "email", "phone", "ssn", "ip", "note"}  # a row may be stored with these; with any other field wrong it may not


class Planted(NamedTuple):
    """A secret and the line that carries it. mark: what this line and no other holds beside it, its application_id as a
    rule. may_store: the policy may transform the row and store it; else it must be refused.
    """

    place: str
    kind: str
    secret: str
    line: bytes
    mark: str
    may_store: bool

    @property
    def label(self) -> str:
        return f"{self.kind} in {self.place}"


def text_with(kind: str, secret: str, way: int) -> str:
    """The secret in a sentence that says what it is, as people write it."""
    return TEXTS.get(kind, _TEXTS)[way].format(secret)


def row(mark: str, **fields: Any) -> dict[str, Any]:
    """A row that is right, but for what is given."""
    return ROW | {"application_id": mark} | fields


def planted() -> list[Planted]:
    """Every secret of a run: each kind in each place, each time another value. A row comes before its conflict."""
    return [p for first, kind in enumerate(KINDS) for p in _of_kind(kind, first * 1_000)]


def _of_kind(kind: str, first: int) -> Iterator[Planted]:
    numbers = count()

    def plant(place: str, make: Callable[[str, str], Any], may_store: bool = False) -> Planted:
        number = next(numbers)
        secret, mark = KINDS[kind](number), f"A{first + number:07d}-{zlib.crc32(place.encode()):08x}"
        made = make(secret, mark)
        return Planted(place, kind, secret, made if isinstance(made, bytes) else json.dumps(made, ensure_ascii=False).encode(), mark, may_store)

    yield plant("application_id", lambda s, m: row(s))._replace(mark=KINDS[kind](0))
    digits = KINDS[kind](0).replace(" ", "").replace("-", "").isdigit()
    for field in FIELDS[1:]:
        if field != "note":
            yield plant(field, lambda s, m, f=field: row(m, **{f: s}), field in MASKED)
            if digits:
                yield plant(f"{field} as a number", lambda s, m, f=field: row(m, **{f: int(s.replace(" ", "").replace("-", ""))}))
    if kind not in UNASKED:
        for way in (0, 1):
            yield plant(f"note {way}", lambda s, m, w=way: row(m, note=text_with(kind, s, w)), True)
        yield plant("an escaped note", lambda s, m: _raw(row(m, note="@"), _escaped(text_with(kind, s, 0))), True)
    for place, make in (WRONG | IN_FILES).items():
        yield plant(place, make, place in STORABLE)


def _escaped(text: str) -> bytes:
    return "".join(f"\\u{ord(c):04x}" for c in text).encode()


def _raw(row: dict[str, Any], content: bytes) -> bytes:
    return json.dumps(row).encode().replace(b"@", content)


VISIT = {"requested_at": "2026-03-02T10:00:00Z", "ip": "198.51.100.7", "user_agent": None, "method": "GET", "path": "/", "query": None, "status": 200, "bytes": 1,
         "referrer": None}
VISITS: dict[str, Callable[[str], dict[str, Any]]] = {  # a client's address is the key of its visit; the pages of one are measures of it
    "ip": lambda s: {"ip": s}, "user_agent": lambda s: {"user_agent": f"Mozilla/5.0 {s}"}, "path": lambda s: {"path": f"/from/{s}"},
    "query": lambda s: {"query": f"q={s}"}, "referrer": lambda s: {"referrer": f"https://example.org/?q={s}"}, "status": lambda s: {"status": s},
    "method": lambda s: {"method": s}, "an unknown field": lambda s: {"extra": s}, "the name of a field": lambda s: {s: 1}}


def visits() -> list[Planted]:
    """Secrets in lines of the weblog contract, others than those of planted(); the last line is hours later, so that visits end."""
    found = list[Planted]()
    for kind in ("ipv4", "ipv6", "email", "card", "mac"):
        for number, (place, make) in enumerate(VISITS.items(), 100):
            if place != "path" or kind in ("ipv4", "mac"):
                secret, mark = KINDS[kind](number), f"w{len(found)}-00000"
                line = json.dumps(VISIT | {"request_id": mark} | make(secret)).encode()
                found.append(Planted(f"{place} of a visit", kind, secret, line, mark, place in ("user_agent", "path", "query", "referrer") or place == "ip"))
    last = json.dumps(VISIT | {"request_id": "w99-00000", "requested_at": "2026-03-02T18:00:00Z"}).encode()
    return [*found, found[0]._replace(line=last, mark="w99-00000")]


ANOTHER_DAY, UNSCORABLE, CRASHES = "a row of another day", "a row that gets no score", "a row that breaks a stage"
STORABLE = {ANOTHER_DAY, UNSCORABLE, CRASHES}  # rows that are right: what goes wrong is in the run
WRONG: dict[str, Callable[[str, str], Any]] = {
    "a cut line": lambda s, m: json.dumps(row(m, note=f"{s} and more"))[:-8].encode(),
    "bad UTF-8": lambda s, m: _raw(row(m, note="@"), s.encode() + b"\xff\xfe"),
    "a lone surrogate": lambda s, m: _raw(row(m, note="@"), s.encode() + b"\\ud83d"),
    "a key that stands twice": lambda s, m: _raw(row(m), b"")[:-1] + f',"sex":{json.dumps(s)}}}'.encode(),
    "an unknown field": lambda s, m: row(m, extra=s),
    "the name of a field": lambda s, m: row(m, **{s: 1}),
    "a nested object": lambda s, m: row(m, note={"deep": [{"er": s}]}),
    "the name of a nested field": lambda s, m: row(m, full_name={s: None}),
    "a row that is too large": lambda s, m: row(m, note=s + " and again" * 6_500),
    "a text that is too long": lambda s, m: row(m, full_name=s + "!" * 200),
    "NaN beside it": lambda s, m: row(m, email=s, age=float("nan")),
    "a row without a time": lambda s, m: {k: v for k, v in row(m, full_name=s).items() if k != "submitted_at"},
    "an array": lambda s, m: [m, s],
    "a string": lambda s, m: f"{m} {s}",
    "no JSON": lambda s, m: f"{m} {s}".encode(),
    "a time": lambda s, m: row(m, submitted_at=f"2026-03-02T10:00:00Z {s}"),
    ANOTHER_DAY: lambda s, m: row(m, submitted_at="2026-03-03T10:00:00Z", full_name=s),
    UNSCORABLE: lambda s, m: row(m, hours_per_week=150, email=s),
    CRASHES: lambda s, m: row(m, age=120, email=s, full_name=f"{m} {s}"),
}
IN_FILES: dict[str, Callable[[str, str], Any]] = {  # of these formats, each row refused for its occupation
    form: lambda s, m: row(m, occupation=s) for form in ("ndjson.gz", "csv", "avro", "parquet")}
CUT = {"ndjson.gz": 200, "avro": 300}  # files of these formats lack so many bytes; what stood behind the cut nobody reads


def files(secrets: list[Planted]) -> dict[str, bytes]:
    """The files of a run, by name: all planted lines, some twice, some with the id of another; rows in every format, two of
    the files cut; a CSV file whose header is none; and, apart from them, the rows that break a stage.
    """
    lines = [p.line for p in secrets if p.place not in IN_FILES and p.place != CRASHES]
    notes = [p for p in secrets if p.place == "note 0"]
    lines += [p.line for p in notes]
    lines += [json.dumps(row(p.mark, note=other.secret)).encode() for p, other in pairwise(notes)]
    made = {"rows.ndjson": b"\n".join(lines) + b"\n", "breaks.ndjson": b"\n".join(p.line for p in secrets if p.place == CRASHES)}
    for form, write in _WRITERS.items():
        content = write([json.loads(p.line) for p in secrets if p.place == form])
        made[f"rows.{form}"] = content[:len(content) - CUT.get(form, 0)]
    secret = next(p.secret for p in secrets if p.place == "csv")
    made["header.csv"] = f'application_id,"{secret}"\nA0000000-00000000,"{secret}"\n"{secret}\n'.encode()
    return made


def _ndjson_gz(rows: list[dict[str, Any]]) -> bytes:
    return gzip.compress(b"\n".join(json.dumps(r).encode() for r in rows))


def _csv(rows: list[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _avro(rows: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    fastavro.writer(file, {"type": "record", "name": "e", "fields": [
        {"name": f, "type": ["null", "int" if type(rows[0].get(f)) is int else "string"]} for f in FIELDS]}, rows, sync_interval=1_000)
    return file.getvalue()


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file.getvalue()


_WRITERS = {"ndjson.gz": _ndjson_gz, "csv": _csv, "avro": _avro, "parquet": _parquet}
