"""The clock of a shard of windows in the streaming graph: from Beam's watermark to the watermark that windows close by.

Two clocks meet. Beam's watermark follows the times at which messages were published; windows close in event time, and each
row carries, in its column `watermark`, how far event time had come when it was read. A shard's watermark is the greatest
such column that reached it, once Beam's watermark has passed the publish time of the row that brought it (so all that was
published before is in). Where a shard is idle it walks with Beam's watermark, so that the last windows close. It never
comes nearer to Beam's watermark than the contract's disorder: in a stream of now a window closes as Beam's watermark
passes its end + disorder, and one event of the near future closes nothing early; in a replay of 2015 windows close as the
events of 2015 come by, and none is closed by now. It is the clock of a stream on one machine (pipelines.watermark), once a
shard.
"""

from datetime import timedelta
from typing import NamedTuple

LONG_AGO, FOR_EVER = -(1 << 61), 1 << 60
LAST = 9_223_371_950_454_774_999  # GlobalWindow().max_timestamp(): Beam's watermark goes there when a stream is drained
IDLE = timedelta(seconds=30)


class Clock(NamedTuple):
    """All are microseconds: watermark, due, base, ahead and latest in event time; fired, ahead_at and seen in Beam's.

    watermark: of the last firing, LONG_AGO before there is one; due: the watermark at which the next one is, or FOR_EVER;
    fired: when the last one was; base: how far rows published up to then had come; ahead: how far those up to ahead_at;
    latest: those up to seen, the last ones. No more is kept: while `ahead` makes something due, later rows do not move it,
    or a steady stream would put the firing off for ever.
    """

    watermark: int = LONG_AGO
    due: int = FOR_EVER
    fired: int = LONG_AGO
    base: int = LONG_AGO
    ahead: int = LONG_AGO
    ahead_at: int = LONG_AGO
    latest: int = LONG_AGO
    seen: int = LONG_AGO

    def heard(self, at: int, watermark: int, due: int) -> "Clock":
        """Rows that were published at `at` came with this watermark; something of theirs is due at `due`."""
        now = self._replace(due=min(self.due, due), latest=max(self.latest, watermark), seen=max(self.seen, at))
        return now if now.ahead >= now.due else now._replace(ahead=now.latest, ahead_at=now.seen)

    def at(self, time: int, disorder: int, idle: int) -> int:
        """The shard's watermark when Beam's watermark is `time`."""
        if time >= LAST:
            return FOR_EVER
        return max(self.watermark, min(self._known(time) + max(0, time - self.seen - idle), time - disorder))

    def next(self, disorder: int, idle: int) -> int | None:
        """The time of Beam's watermark at which the shard's reaches `due`, in whole milliseconds, as runners keep timers; None
        where nothing is due."""
        if self.due >= FOR_EVER:
            return None
        waits = LONG_AGO if self.base >= self.due else self.ahead_at if self.ahead >= self.due else self.seen + idle + self.due - self.latest
        return min(-(-max(self.due + disorder, waits, self.fired) // 1000) * 1000, LAST)

    def settled(self, time: int, watermark: int, due: int) -> "Clock":
        """What was due at `time` is told; the next is due at `due`."""
        now = self._replace(watermark=watermark, due=due, fired=max(self.fired, time), base=self._known(time))
        return now._replace(ahead=now.latest, ahead_at=now.seen) if time >= self.ahead_at else now

    def _known(self, time: int) -> int:
        return self.latest if time >= self.seen else self.ahead if time >= self.ahead_at else self.base
