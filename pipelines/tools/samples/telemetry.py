"""Readings of the telemetry contract: the machine temperatures of NAB, with a made-up operator on each shift and a few remarks.

The 22,695 readings come first, in the order of their times, which are taken as UTC: from 2014-01-07 02:00 the file holds one hour
twice, whose readings alternate here. Then the same again, 79 days later each time: whole days, so that hours and labelled windows
fall alike. Half of the remarks hold a name, a telephone number or an e-mail address.
"""

import csv
import gzip
import random
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

from pipelines.tools.people import Person, Random, person, phone
from pipelines.tools.samples.sample import Sample

MACHINE = "machine-1"
SPAN = timedelta(days=79)
_READINGS = Path(__file__).parents[3] / "schemas" / "telemetry" / "readings.csv.gz"
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_SHIFT = 8 * 3_600_000_000  # microseconds; shifts begin at 6, 14 and 22 UTC
_CREW = 24
_REMARKS, _UNMANNED = 0.06, 0.02  # share of the readings that have a remark, of the shifts that have no operator
_SILENT = ("Sensor cleaned.", "Bearing greased, order 4711.", "Fan 2 is loud again.", "Readings look odd since the belt was changed.",
           "Planned stop until 14:00.", "Coolant at 60 percent.", "Valve 12-B replaced, see log page 83.", "All quiet.",
           "Door of the cabinet was open.", "Kühlung läuft auf Stufe 3.", "Restart after power cut, 3 attempts.", "Part no. 88-1042 ordered.")
_NAMED = ("Shift taken over from {}.", "{} from maintenance changed the fan.", "Ask {} about the noise.", "Spoke with {} on site.",
          "Stopped on the word of {}, supervisor.", "Signed: {}")
_RUNG = ("Call {} if it goes over 100.", "Electrician on duty: {}", "Vendor hotline {} says wait.", "My mobile is {}.", "tel. {} for the spare part")
_MAILED = ("Report sent to {}.", "Copies to {} please.", "Photos are with {}, too large for here.")


def events(rows: int, seed: int) -> Iterator[Sample]:
    """Exactly `rows` readings in the order of event time; fewer rows are the first of more."""
    draw = random.Random(seed).random
    crew = [person(draw) for _ in range(_CREW)]
    series = readings()
    shift, operator = -1, crew[0]
    email: str | None = None
    for number in range(rows):
        again, at = divmod(number, len(series))
        moment, value = series[at]
        moment += again * SPAN
        time = (moment - _EPOCH) // timedelta(microseconds=1)
        if (time - 6 * 3_600_000_000) // _SHIFT != shift:
            shift = (time - 6 * 3_600_000_000) // _SHIFT
            operator = crew[int(draw() * _CREW)]
            email = None if draw() < _UNMANNED else operator.email
        reading = f"reading-{number:07d}-{int(draw() * 4_294_967_296):08x}"
        row: dict[str, object] = {"reading_id": reading, "measured_at": f"{moment:%Y-%m-%dT%H:%M:%SZ}", "machine": MACHINE, "value": value,
                                  "operator": email, "remark": _remark(draw, operator) if draw() < _REMARKS else None}
        yield Sample(reading, time, row)


def readings() -> list[tuple[datetime, float]]:
    """Time and temperature of every reading of the file, by time; those of one time in the order of the file."""
    lines = gzip.decompress(_READINGS.read_bytes()).decode("ascii").splitlines()
    found = [(datetime.fromisoformat(row["timestamp"]).replace(tzinfo=timezone.utc), float(row["value"])) for row in csv.DictReader(lines)]
    return sorted(found, key=lambda each: each[0])


def _remark(draw: Random, operator: Person) -> str:
    told = draw()
    silent = _SILENT[int(draw() * len(_SILENT))]
    if told < 0.5:
        return silent
    if told < 0.7:
        secret = _NAMED[int(draw() * len(_NAMED))].format(" ".join(reversed(person(draw).name.split(", "))))
    elif told < 0.9:
        secret = _RUNG[int(draw() * len(_RUNG))].format(phone(draw))
    else:
        secret = _MAILED[int(draw() * len(_MAILED))].format(operator.email if draw() < 0.3 else person(draw).email)
    return secret if draw() < 0.5 else f"{silent} {secret}"
