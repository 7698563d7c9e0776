"""One application of the census contract as a line of JSON: a made-up person, a note, and a row of UCI Adult."""

import gzip
import json
from datetime import date
from pathlib import Path
from typing import NamedTuple

from pipelines.tools.notes import note
from pipelines.tools.people import Random, person

_ADULT = Path(__file__).parents[2] / "schemas" / "census" / "adult.data.gz"
_COLUMNS = ("age", "workclass", "fnlwgt", "education", "education_num", "marital_status", "occupation", "relationship", "race", "sex",
            "capital_gain", "capital_loss", "hours_per_week", "native_country")
_OFFSETS = ((0, "Z"), (0, "+00:00"), (0, "Z"), (0, "Z"), (3600, "+01:00"), (7200, "+02:00"), (-18000, "-05:00"), (-28800, "-08:00"),
            (19800, "+05:30"))  # seconds east of UTC, and how RFC 3339 writes them
_EVERY_NULL, _EVERY_ABSENT = 40, 97  # one row of Adult in so many has an attribute that is null, or is left out


class Application(NamedTuple):
    """A line of JSON and the day of its time in UTC."""

    line: str
    day: date


def attributes() -> list[str]:
    """The 14 columns of every row of adult.data as members of a JSON object; the income is left out."""
    rendered = []
    for number, line in enumerate(gzip.decompress(_ADULT.read_bytes()).decode("ascii").split("\n")):
        values = line.split(", ")[:-1]
        if not values:
            continue
        members = [f'"{c}":{v}' if v.isdigit() else f'"{c}":"{v}"' for c, v in zip(_COLUMNS, values, strict=True)]
        at = number // 7 % len(_COLUMNS)
        if number % _EVERY_NULL == 0:
            members[at] = f'"{_COLUMNS[at]}":null'
        elif number % _EVERY_ABSENT == 0:
            del members[at]
        rendered.append(",".join(members))
    return rendered


def application(number: int, second: float, dates: list[date], columns: list[str], draw: Random) -> Application:
    """A new application. `second` counts from midnight UTC of dates[1]; dates[0] is the day before, the last the day after."""
    applicant = person(draw)
    shape = draw()
    email = "null" if shape < 0.03 else f'"{applicant.email}"'
    phone = "null" if 0.03 <= shape < 0.07 else f'"{applicant.phone}"'
    ssn = "null" if 0.07 <= shape < 0.08 else f'"{applicant.ssn}"'
    if shape >= 0.97:
        noted = ""
    else:
        noted = '"note":null,' if shape >= 0.92 else f'"note":"{note(draw, applicant)}",'
    offset, suffix = _OFFSETS[int(draw() * len(_OFFSETS))]
    whole = int(second)
    day, clock = divmod(whole + offset, 86_400)
    hour, rest = divmod(clock, 3_600)
    minute, seconds = divmod(rest, 60)
    fraction = int(draw() * 3_000_000)  # a third of the times each: whole seconds, milliseconds, microseconds
    part = "" if fraction < 1_000_000 else f".{fraction % 1_000:03d}" if fraction < 2_000_000 else f".{fraction % 1_000_000:06d}"
    line = (f'{{"application_id":"A{number:07d}-{int(draw() * 4_294_967_296):08x}",'
            f'"submitted_at":"{dates[day + 1]}T{hour:02d}:{minute:02d}:{seconds:02d}{part}{suffix}",'
            f'"full_name":"{applicant.name}","email":{email},"phone":{phone},"ssn":{ssn},"ip":"{applicant.ip}",'
            f'{noted}{columns[int(draw() * len(columns))]}}}')
    return Application(line, dates[whole // 86_400 + 1])


def reordered(line: str, draw: Random) -> str:
    """The same row written by another hand: members in another order, spaces, and escapes outside ASCII."""
    members = list(json.loads(line).items())
    first = 1 + int(draw() * (len(members) - 1))
    return json.dumps(dict(members[first:] + members[:first]))


def conflicting(line: str, draw: Random) -> str:
    """Another row with the id and the time of this one."""
    row = json.loads(line)
    choice = int(draw() * 3)
    if choice == 0:
        row["hours_per_week"] = ((row.get("hours_per_week") or 0) + 1) % 100
    elif choice == 1:
        row["note"] = f"{row.get('note') or ''} Corrected."
    else:
        row["age"] = 18 + ((row.get("age") or 0) + 1) % 70
    return json.dumps(row, ensure_ascii=False, separators=(",", ":"))
