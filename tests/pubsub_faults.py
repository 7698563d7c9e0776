"""Faults that the Pub/Sub broker of the tests commits on purpose: the same ones for the same seed, whoever calls when."""

import hashlib
import threading
from collections import Counter
from dataclasses import dataclass

import grpc

Code = grpc.StatusCode
STATUSES = {"unavailable": (Code.UNAVAILABLE, "The service was unable to fulfill your request. Please try again."),
            "internal": (Code.INTERNAL, "Internal error encountered."),
            "exhausted": (Code.RESOURCE_EXHAUSTED, "Quota exceeded."),
            "cancelled": (Code.CANCELLED, "The operation was cancelled."),
            "permission": (Code.PERMISSION_DENIED, "User not authorized to perform this action."),
            "unauthenticated": (Code.UNAUTHENTICATED, "Request had invalid authentication credentials.")}
ACTS = ("lost", "late", "hang", "deleted")


@dataclass(frozen=True)
class Fault:
    """Calls that go wrong.

    kind: a key of STATUSES: nothing is done;
        "lost": the call is done, its answer is UNAVAILABLE;
        "late": the leases of the request's ack ids end before it is done, so that an acknowledgement changes nothing;
        "hang": nothing is done, and no answer comes before the client gives up;
        "deleted": the subscription is deleted first.
    method: "Publish", "Pull", "Acknowledge", "ModifyAckDeadline", "StreamingPull" (each answer of a stream is a call) ...; "" for all.
    share: of the calls; after: so many go well first; calls: only so many go wrong.
    """

    kind: str
    method: str = ""
    share: float = 1.0
    after: int = 0
    calls: int | None = None


class Faults:
    """Which calls and messages go wrong. `committed` counts them by kind, and by "twice" and "held".

    twice: share of the messages that are delivered a second time, in this or one of the next two pulls, acknowledged or not;
    held: share of the messages that are held back for `pulls` pulls.
    """

    def __init__(self, *calls: Fault, twice: float = 0.0, held: float = 0.0, pulls: int = 3, seed: int = 1) -> None:
        if wrong := [f.kind for f in calls if f.kind not in STATUSES and f.kind not in ACTS]:
            raise ValueError(f"no such fault: {wrong}")
        self.calls, self.twice, self.held, self.pulls, self.seed = calls, twice, held, pulls, seed
        self.committed, self._met, self._done, self._lock = Counter[str](), Counter[int](), Counter[int](), threading.Lock()

    def of(self, method: str) -> str:
        """The fault of this call, "" for none."""
        if not self.calls:
            return ""
        with self._lock:
            for i, fault in enumerate(self.calls):
                if fault.method not in ("", method):
                    continue
                self._met[i] += 1
                if self._met[i] <= fault.after or (fault.calls is not None and self._done[i] >= fault.calls):
                    continue
                if self._draw(f"{fault.kind} {fault.method}", self._met[i]) < fault.share:
                    self._done[i] += 1
                    self.committed[fault.kind] += 1
                    return fault.kind
            return ""

    def pulls_held(self, message: int) -> int:
        """For how many pulls a message is held back."""
        if not self.held or self._draw("held", message) >= self.held:
            return 0
        self._count("held")
        return self.pulls

    def second(self, message: int) -> int | None:
        """After how many pulls a message that is now delivered comes again, None for not at all."""
        if not self.twice or self._draw("twice", message) >= self.twice:
            return None
        self._count("twice")
        return int(self._draw("when", message) * 3)

    def _count(self, kind: str) -> None:
        with self._lock:
            self.committed[kind] += 1

    def _draw(self, what: str, number: int) -> float:
        """In [0, 1): of the seed, the question and the number alone, so that threads cannot change it."""
        return int.from_bytes(hashlib.blake2b(f"{self.seed} {what} {number}".encode(), digest_size=6).digest(), "big") / 2**48
