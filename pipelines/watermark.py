"""The watermark of a stream on one machine: how far, in event time, the stream is believed to be complete.

It follows the greatest event time that was stored, the contract's disorder behind it, and never goes back. After a start
it is held for one ack deadline and until the subscription was empty once: a run that was killed may have left rows behind
that come again only then (without the hold, 168 of 346 windows were wrong after kills). It stands still, too, while there
is a backlog, which comes in no order that could be relied on: two pulls that overtake each other are a thousand messages
apart. A stream that is idle for 30 s lets it walk with the clock from where it stood, so that the last windows close; a
replay of old events is therefore not closed by now.
"""

from datetime import timedelta

IDLE = timedelta(seconds=30)
_SECOND = 1_000_000


class Watermark:
    """value and greatest: microseconds since 1970, None before there are any. Times of the clock are seconds.

    hold: seconds that it is held for after `now`, the start.
    """

    def __init__(self, disorder: timedelta, hold: float, now: float) -> None:
        self._disorder = disorder // timedelta(microseconds=1)
        self.value: int | None = None
        self.greatest: int | None = None
        self._held_until = now + hold
        self._last_row = now

    def restore(self, value: int | None, greatest: int | None) -> None:
        """Sets it to where the last run left it."""
        self.value, self.greatest = value, greatest

    def stored(self, greatest: int | None, now: float) -> None:
        """Tells it what a run stored: the greatest event time of its rows, None where there are none."""
        if greatest is not None:
            self._last_row = now
            self.greatest = greatest if self.greatest is None else max(self.greatest, greatest)

    def held(self, drained: bool, now: float) -> bool:
        """Whether it may not move yet."""
        return not drained or now < self._held_until

    def advance(self, drained: bool, now: float) -> int | None:
        """Moves it as far as it may go; drained: the subscription is empty, or as near to it as is ever seen."""
        if self.held(drained, now):
            return self.value
        if self.greatest is not None:
            walked = max(0, int((now - self._last_row - IDLE.total_seconds()) * _SECOND))
            reached = self.greatest - self._disorder + walked
            self.value = reached if self.value is None else max(self.value, reached)
        return self.value
