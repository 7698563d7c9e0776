"""Applications of the census contract: made-up people with rows of UCI Adult, spread over four days, in the order of their times."""

import json
import random
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from heapq import heappop, heappush

from pipelines.tools.applications import application, attributes
from pipelines.tools.census_lines import DAYS, JITTER, START, calendar, second
from pipelines.tools.samples.sample import Sample

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def events(rows: int, seed: int) -> Iterator[Sample]:
    """Exactly `rows` applications in the order of event time."""
    draw = random.Random(seed).random
    columns, dates = attributes(), calendar(START, DAYS)
    start = int((datetime(START.year, START.month, START.day, tzinfo=timezone.utc) - _EPOCH) / timedelta(microseconds=1))
    waiting: list[tuple[int, int, Sample]] = []
    for position in range(rows):
        # No later row comes before this: its time is its turn, give or take JITTER and the fraction of a second.
        settled = start + int((position / rows * DAYS * 86_400 - JITTER - 1) * 1_000_000)
        while waiting and waiting[0][0] < settled:
            yield heappop(waiting)[2]
        row = json.loads(application(position, second(position, rows, DAYS, draw), dates, columns, draw).line)
        time = (datetime.fromisoformat(row["submitted_at"].replace("Z", "+00:00")) - _EPOCH) // timedelta(microseconds=1)
        heappush(waiting, (time, position, Sample(row["application_id"], time, row)))
    while waiting:
        yield heappop(waiting)[2]
