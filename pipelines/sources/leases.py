"""Which deliveries are leased, and until when."""

from collections.abc import Iterable

Seconds = float


class Leases:
    """Deliveries by their ack ids, in the order in which their deadlines end. One caller at a time."""

    def __init__(self) -> None:
        self._ends: dict[str, Seconds] = {}

    def add(self, ack_ids: Iterable[str], ends: Seconds) -> None:
        """ends: not before those that are there."""
        self._ends.update(dict.fromkeys(ack_ids, ends))

    def extend(self, ack_ids: Iterable[str], ends: Seconds) -> None:
        """Those that are leased still; ends: as in add."""
        for ack_id in ack_ids:
            if self._ends.pop(ack_id, None) is not None:
                self._ends[ack_id] = ends

    def due(self, limit: Seconds) -> list[str]:
        """Those that end by then."""
        due: list[str] = []
        for ack_id, ends in self._ends.items():
            if ends > limit:
                break
            due.append(ack_id)
        return due

    def drop(self, ack_ids: Iterable[str]) -> None:
        for ack_id in ack_ids:
            self._ends.pop(ack_id, None)

    def clear(self) -> list[str]:
        """All that were leased; now none is."""
        ack_ids = list(self._ends)
        self._ends.clear()
        return ack_ids
