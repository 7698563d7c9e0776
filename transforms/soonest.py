"""Which of many keys come first, where each has a number that mostly grows."""

import heapq
from typing import Generic, TypeVar

K = TypeVar("K")
_SPARE = 64  # entries of keys that are gone, before they are taken out


class Soonest(Generic[K]):
    """Keys by their numbers. The heap may hold a smaller number than a key has: it is put right when it comes to the top, so
    that a key whose number grows with every row costs one entry."""

    def __init__(self) -> None:
        self.numbers: dict[K, int] = {}
        self._queued: dict[K, int] = {}
        self._heap: list[tuple[int, int, K]] = []
        self._pushed = 0  # decides ties, so that keys are never compared

    def put(self, key: K, number: int) -> None:
        """Sets the key's number."""
        self.numbers[key] = number
        if number < self._queued.get(key, number + 1):
            self._push(key, number)

    def drop(self, key: K) -> None:
        """Forgets the key."""
        self.numbers.pop(key, None)
        if len(self._heap) > 2 * len(self.numbers) + _SPARE:
            self._heap = [entry for entry in self._heap if entry[2] in self.numbers and self._queued[entry[2]] == entry[0]]
            self._queued = {key: number for number, _, key in self._heap}
            heapq.heapify(self._heap)

    def upto(self, limit: int) -> list[K]:
        """The keys whose number is at most the limit; they stay."""
        found = []
        while self._heap and self._heap[0][0] <= limit:
            key = self._pop()
            if key is not None and self.numbers[key[0]] <= limit:
                found.append(key[0])
            elif key is not None:
                self._push(key[0], self.numbers[key[0]])
        for each in found:
            self._push(each, self.numbers[each])
        return found

    def least(self) -> int | None:
        """The least number, None where there is no key."""
        while self._heap:
            number = self._heap[0][0]
            key = self._pop()
            if key is not None:
                self._push(key[0], self.numbers[key[0]])
                if self.numbers[key[0]] == number:
                    return number
        return None

    def _push(self, key: K, number: int) -> None:
        self._pushed += 1
        self._queued[key] = number
        heapq.heappush(self._heap, (number, self._pushed, key))

    def _pop(self) -> tuple[K] | None:
        """Takes the top off the heap: its key, where that is still the key's entry and there is such a key."""
        number, _, key = heapq.heappop(self._heap)
        if self._queued.get(key) != number:
            return None
        del self._queued[key]
        return (key,) if key in self.numbers else None
