"""Requests of the weblog contract: the 10,000 of schemas/weblog/apache_logs.txt.gz in order of time, then the same again later."""

import gzip
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote_plus

from pipelines.tools.samples.sample import Sample

_LOG = Path(__file__).parents[3] / "schemas" / "weblog" / "apache_logs.txt.gz"
# The combined log format of Apache's mod_log_config; one line of the log ends inside its user agent.
_LINE = re.compile(r'(\S+) - - \[([^\]]+)\] "(\S+) (\S+) \S+" (\d{3}) (\S+) "(.*?)" "(.*?)"?')
_DAY = timedelta(days=1)


class _Request(NamedTuple):
    at: datetime
    number: int
    row: dict[str, object]


def events(rows: int, seed: int) -> Iterator[Sample]:
    """The requests in the order of event time, those of one second in the order of the log. Nothing is drawn: every seed gives the same.

    Each further round stands later by the days that the log touches and one more, so that no session reaches from one
    into the next; its ids name the round.
    """
    requests = _requests()
    days = -((requests[0].at - requests[-1].at) // _DAY)  # rounded up
    for index in range(rows):
        lap, position = divmod(index, len(requests))
        request = requests[position]
        at = request.at + lap * (days + 1) * _DAY
        id = f"w{lap}-{request.number:05d}"
        yield Sample(id, int(at.timestamp()) * 1_000_000, {"request_id": id, "requested_at": f"{at:%Y-%m-%dT%H:%M:%SZ}", **request.row})


def _requests() -> list[_Request]:
    lines = gzip.decompress(_LOG.read_bytes()).decode("ascii").splitlines()
    return sorted((_request(number, line) for number, line in enumerate(lines)), key=lambda r: (r.at, r.number))


def _request(number: int, line: str) -> _Request:
    found = _LINE.fullmatch(line)
    if found is None:
        raise ValueError(f"line {number} of the log is no request")
    ip, at, method, target, status, size, referrer, agent = found.groups()
    path, _, query = target.partition("?")
    row = {"ip": ip, "user_agent": _or_none(agent), "method": method, "path": path, "query": _decoded(query), "status": int(status),
           "bytes": None if size == "-" else int(size), "referrer": _decoded(referrer)}
    return _Request(datetime.strptime(at, "%d/%b/%Y:%H:%M:%S %z"), number, row)


def _or_none(text: str) -> str | None:
    return None if text in ("", "-") else text


def _decoded(text: str) -> str | None:
    """Percent escapes as what they stand for: detectors look at text. What is no UTF-8 becomes U+FFFD."""
    told = _or_none(text)
    return None if told is None else unquote_plus(told)
