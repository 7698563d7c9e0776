"""One request to DLP until it is settled: asked again, halved down to what is at fault, or refused."""

import threading
from collections.abc import Callable
from enum import Enum
from typing import Any

import grpc
from google.api_core.exceptions import GoogleAPICallError
from google.cloud.dlp_v2 import DlpServiceClient, types

from schemas.errors import Fault, Misconfigured, Transient
from transforms.engines import proof
from transforms.engines.layout import Layout
from transforms.engines.packing import Packer, Unproven
from transforms.engines.quota import Again, Caller, Seconds, Spent

Code = grpc.StatusCode
_AGAIN = (Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE, Code.INTERNAL, Code.DEADLINE_EXCEEDED)
_FORBIDDEN = (Code.PERMISSION_DENIED, Code.UNAUTHENTICATED)
_NEVER = (Code.NOT_FOUND, Code.FAILED_PRECONDITION)
FIRST_RATE = 1 / 40  # findings a byte, before any are counted: more than a text that is all phone numbers


class Rate:
    """Findings a byte of inspected text: a moving average that rises at once and falls slowly."""

    def __init__(self) -> None:
        self._rate, self._lock = FIRST_RATE, threading.Lock()

    def __call__(self) -> float:
        return self._rate

    def learn(self, findings: int, inspected: int) -> None:
        if inspected:
            with self._lock:
                seen = findings / inspected
                self._rate = max(seen, 0.7 * self._rate + 0.3 * seen)


class _Outcome(Enum):
    STORED = "stored"
    HALVE = "halve"  # something in it is at fault, perhaps only its size
    FAULTY = "faulty"  # something in it is at fault, whatever its size
    REFUSED = "refused"


class Asker:
    """Asks for stretches of a Packer. Threads may share it.

    prototype: raw request without a table; most_calls: what one stretch may take while its faults are looked for.
    """

    def __init__(self, client: DlpServiceClient, prototype: Any, caller: Caller, layout: Layout, rate: Rate, most_calls: int) -> None:
        self.client, self.prototype, self.caller, self.layout, self.rate = client, prototype, caller, layout, rate
        self.most_calls = most_calls
        self._visible = proof.visible(layout)
        self._hopeless = False  # a search found nothing that passes: until something does, nothing is searched

    def settle(self, packer: Packer, start: int, end: int) -> Spent:
        """Asks for the items from start to end; afterwards each has an answer or is refused.

        Raises Transient where the service fails for too long, Misconfigured where it may not be asked.
        """
        spent = Spent()
        self._halve(packer, start, end, spent, self._attempt(packer, start, end, spent))
        if spent.calls >= self.most_calls:
            self._hopeless = True
        return spent

    def _halve(self, packer: Packer, start: int, end: int, spent: Spent, outcome: _Outcome) -> bool:
        """Carries on after `outcome` for the whole; whether all of it was stored."""
        if outcome is _Outcome.STORED:
            return True
        if outcome is _Outcome.REFUSED or end - start == 1 or self._hopeless or spent.calls >= self.most_calls:
            packer.refuse(start, end)
            return False
        middle = (start + end) // 2
        left = self._halve(packer, start, middle, spent, self._attempt(packer, start, middle, spent))
        # The left half passed: the fault lies in the right one, which need not be asked to know that.
        known = left and outcome is _Outcome.FAULTY and end - middle > 1
        self._halve(packer, middle, end, spent, outcome if known else self._attempt(packer, middle, end, spent))
        return False

    def _attempt(self, packer: Packer, start: int, end: int, spent: Spent) -> _Outcome:
        request = type(self.prototype)()
        request.CopyFrom(self.prototype)
        packer.fill(request.item.table, start, end)
        size, asked = request.ByteSize(), types.DeidentifyContentRequest.wrap(request)
        for _ in range(2):  # an answer that proves nothing may have been an accident
            before = spent.calls
            try:
                answer = self.caller.call(self._call(asked), spent)
            except GoogleAPICallError as error:
                return _outcome(error)
            finally:
                spent.bytes += size * (spent.calls - before)
            try:
                self._take(packer, start, end, types.DeidentifyContentResponse.pb(answer))
            except Unproven as unproven:
                spent.again[unproven.what] = spent.again.get(unproven.what, 0) + 1
                if unproven.smaller:
                    return _Outcome.HALVE
                continue
            self._hopeless = False
            return _Outcome.STORED
        return _Outcome.HALVE

    def _take(self, packer: Packer, start: int, end: int, answer: Any) -> None:
        found = proof.findings(answer.overview)
        packer.take(answer.item.table, start, end, lambda changed: proof.agree(found, changed, self._visible))
        self.rate.learn(sum(found.values()), packer.inspected_bytes(start, end))

    def _call(self, request: types.DeidentifyContentRequest) -> Callable[[Seconds], types.DeidentifyContentResponse]:
        def attempt(timeout: Seconds) -> types.DeidentifyContentResponse:
            try:
                return self.client.deidentify_content(request=request, retry=None, timeout=timeout)
            except GoogleAPICallError as error:
                if error.grpc_status_code in _AGAIN:
                    raise Again(error.grpc_status_code.name) from None
                raise
        return attempt


def _outcome(error: GoogleAPICallError) -> _Outcome:
    """What to do about an answer that asking again does not change. The message may hold what was sent: it is not kept."""
    code = error.grpc_status_code
    if code in (Code.INVALID_ARGUMENT, Code.OUT_OF_RANGE):
        return _Outcome.HALVE if "smaller request" in error.message.lower() else _Outcome.FAULTY
    if code in _NEVER:
        return _Outcome.REFUSED
    if code in _FORBIDDEN:
        raise Misconfigured([Fault("DLP", f"answers {code.name}", "give the worker's service account roles/dlp.user, and the use of "
                                   "the KMS key to the service agent of DLP")]) from None
    raise Transient(f"DLP answered {code.name if code else 'without a status'}") from None
