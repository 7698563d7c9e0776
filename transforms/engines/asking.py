"""One request to DLP until it is settled: asked again, halved down to what is at fault, or refused."""

import threading
from enum import Enum
from typing import Any

import grpc
from google.api_core.exceptions import GoogleAPICallError
from google.cloud.dlp_v2 import DlpServiceClient, types

from schemas.errors import Fault, Misconfigured, Transient
from transforms.engines.layout import Layout
from transforms.engines.packing import Packer, Unproven
from transforms.engines.proof import Proof, Reported, findings
from transforms.engines.quota import Again, Caller, Seconds, Spent

Code = grpc.StatusCode
_AGAIN = (Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE, Code.INTERNAL, Code.DEADLINE_EXCEEDED)
_FORBIDDEN = (Code.PERMISSION_DENIED, Code.UNAUTHENTICATED)
_NEVER = (Code.NOT_FOUND, Code.FAILED_PRECONDITION)
FIRST_RATE = 1 / 60  # findings a byte, before any are counted; a request with too many costs two more calls


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
        self.hopeless = False  # a search found nothing that passes: until something does, nothing is searched

    def settle(self, packer: Packer, proof: Proof, start: int, end: int) -> Spent:
        """Asks for the items from start to end; afterwards each has an answer or is refused.

        Raises Transient where the service fails for too long, Misconfigured where it may not be asked.
        """
        search = _Search(self, packer, proof)
        search.carry_on(start, end, search.attempt(start, end))
        return search.spent

    def ask(self, request: types.DeidentifyContentRequest, packer: Packer, spent: Spent) -> Any:
        """The raw answer. Raises GoogleAPICallError for what asking again does not change, Transient for the rest."""
        def attempt(timeout: Seconds) -> types.DeidentifyContentResponse:
            if packer.abandoned:
                raise Transient("another request of the batch failed")
            try:
                return self.client.deidentify_content(request=request, retry=None, timeout=timeout)
            except GoogleAPICallError as error:
                if error.grpc_status_code in _AGAIN:
                    raise Again(error.grpc_status_code.name) from None
                raise
        return types.DeidentifyContentResponse.pb(self.caller.call(attempt, spent))


class _Search:
    """One stretch on its way to being settled."""

    def __init__(self, asker: Asker, packer: Packer, proof: Proof) -> None:
        self.asker, self.packer, self.proof, self.spent = asker, packer, proof, Spent()
        self.passed = False

    def carry_on(self, start: int, end: int, outcome: _Outcome) -> bool:
        """Halves what is at fault until every part is stored or refused; whether all of it was stored."""
        if outcome is _Outcome.STORED:
            self.passed, self.asker.hopeless = True, False
            return True
        if self.spent.calls >= self.asker.most_calls and not self.passed:
            self.asker.hopeless = True
        if outcome is _Outcome.REFUSED or end - start == 1 or self.asker.hopeless or self.spent.calls >= self.asker.most_calls:
            self.packer.refuse(start, end)
            return False
        middle = (start + end) // 2
        left = self.carry_on(start, middle, self.attempt(start, middle))
        # The left half passed: the fault lies in the right one, which need not be asked to know that.
        known = left and outcome is _Outcome.FAULTY and end - middle > 1
        self.carry_on(middle, end, outcome if known else self.attempt(middle, end))
        return False

    def attempt(self, start: int, end: int) -> _Outcome:
        """Asks for a stretch; twice, if the first answer proves nothing: that may have been an accident."""
        if self.asker.hopeless and self.spent.calls:
            return _Outcome.REFUSED
        request = type(self.asker.prototype)()
        request.CopyFrom(self.asker.prototype)
        self.packer.fill(request.item.table, start, end)
        size, asked = request.ByteSize(), types.DeidentifyContentRequest.wrap(request)
        for _ in range(2):
            before = self.spent.calls
            try:
                answer = self.asker.ask(asked, self.packer, self.spent)
            except GoogleAPICallError as error:
                return _outcome(error)
            finally:
                self.spent.bytes += size * (self.spent.calls - before)
            try:
                found = findings(answer.overview)
                self.packer.take(answer.item.table, start, end, Reported(self.proof, self.asker.layout, found))
            except Unproven as unproven:
                self.spent.again[unproven.what] = self.spent.again.get(unproven.what, 0) + 1
                if unproven.smaller:
                    break
                continue
            self.asker.rate.learn(sum(found.values()), self.packer.inspected_bytes(start, end))
            return _Outcome.STORED
        return _Outcome.HALVE


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
