"""Which finding wins where two overlap.

1. Hits of one infoType that overlap become one that covers them all, with the best likelihood and strength of them.
2. Of different infoTypes the stronger wins: a checksum that agrees, then a specific shape, a loose one, a tagger; of equals
   the longer, then the likelier, then the one that starts first, then the name that sorts first.
3. What the loser covers beyond the winner stays a finding of the loser if it holds a letter or a digit: nothing that
   was found is ever left in clear.
"""

from bisect import bisect_left
from collections.abc import Sequence

from transforms.detectors.info_type import Finding, Hit


def resolve(hits: Sequence[Hit], text: str) -> list[Finding]:
    """Findings without overlaps, by their start."""
    if len(hits) < 2:
        return [Finding(h.info_type, h.start, h.end, h.likelihood) for h in hits]
    starts: list[int] = []
    taken: list[Finding] = []
    for hit in sorted(_united(hits), key=lambda h: (-h.strength, h.start - h.end, -h.likelihood, h.start, h.info_type)):
        for start, end in _rest(hit, starts, taken, text):
            at = bisect_left(starts, start)
            starts.insert(at, start)
            taken.insert(at, Finding(hit.info_type, start, end, hit.likelihood))
    return taken


def _united(hits: Sequence[Hit]) -> list[Hit]:
    united: dict[str, list[Hit]] = {}
    for hit in sorted(hits):
        same = united.setdefault(hit.info_type, [])
        if same and hit.start < same[-1].end:
            last = same[-1]
            same[-1] = Hit(
                last.start,
                max(last.end, hit.end),
                hit.info_type,
                max(last.likelihood, hit.likelihood),
                max(last.strength, hit.strength),
            )
        else:
            same.append(hit)
    return [hit for same in united.values() for hit in same]


def _rest(hit: Hit, starts: Sequence[int], taken: Sequence[Finding], text: str) -> list[tuple[int, int]]:
    """What of the hit nobody took, without separators at the cuts."""
    at = max(0, bisect_left(starts, hit.start) - 1)
    free, position, cut = [], hit.start, False
    while at < len(taken) and taken[at].start < hit.end:
        other = taken[at]
        if other.end > hit.start:
            free.append((position, other.start))
            position, cut = other.end, True
        at += 1
    free.append((position, hit.end))
    if not cut:
        return free
    return [piece for start, end in free if (piece := _stripped(start, end, text)) is not None]


def _stripped(start: int, end: int, text: str) -> tuple[int, int] | None:
    while start < end and not text[start].isalnum():
        start += 1
    while start < end and not text[end - 1].isalnum():
        end -= 1
    return (start, end) if start < end else None
