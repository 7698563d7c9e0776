"""One event of a sample."""

from typing import NamedTuple


class Sample(NamedTuple):
    """id and time (microseconds since 1970, UTC) are those in the row; row is what the JSON line holds."""

    id: str
    time: int
    row: dict[str, object]
