"""Errors by what happens next.

    Exception
      Misconfigured   stop before running: every fault at once, each with what to do
      Rejected        this row never: it goes to the failures table under a reason
      Transient       try again: raised so that the caller's retry sees it

Whatever is not one of these is a bug and propagates. No message of ours carries the content of a row.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Reason(str, Enum):
    """Why a row was refused. Closed: a new reason is a change of the failures table's contract."""

    MALFORMED = "malformed"  # not a row at all: broken JSON, bad UTF-8, duplicate keys, NaN
    MISSING_FIELD = "missing_field"  # a required field is absent or null
    WRONG_TYPE = "wrong_type"  # a field holds another type than the contract says, or an integer that does not fit
    OUT_OF_RANGE = "out_of_range"  # the type is right, the value is not one that the contract allows
    UNKNOWN_FIELD = "unknown_field"  # a field that the contract does not know
    TOO_LARGE = "too_large"  # over the contract's row limit, or a file that unpacks to too much
    TRUNCATED = "truncated"  # a file that ends before it says it does
    CONFLICT = "conflict"  # same id as an earlier row, other content
    OTHER_PARTITION = "other_partition"  # a day that this run does not replace
    NOT_DEIDENTIFIED = "not_deidentified"  # not provably transformed, so never stored
    UNSCORABLE = "unscorable"  # the model gave no finite score
    REJECTED_BY_SINK = "rejected_by_sink"
    LATE = "late"
    FUTURE = "future"
    CRASHES = "crashes"

    def __str__(self) -> str:
        return self.value


class Stage(str, Enum):
    """Where a row was refused."""

    READ = "read"
    DECODE = "decode"
    DEDUPLICATE = "deduplicate"
    DEIDENTIFY = "deidentify"
    INFER = "infer"
    WINDOW = "window"
    LOAD = "load"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a request or a contract.

    where: the file and the path inside it, or the option; problem: the rule that is broken, without data of any row;
    remedy: what to do about it.
    """

    where: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}; {self.remedy}"


class Misconfigured(Exception):
    """The request cannot run. `faults` holds all that is wrong, not only the first."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        if isinstance(faults, str):
            raise TypeError("faults, not a text")  # Beam's workers try to make an error anew from its text; so they keep its words
        self.faults: tuple[Fault, ...] = tuple(faults)
        super().__init__("\n".join(map(str, self.faults)))

    def __reduce__(self) -> tuple[type["Misconfigured"], tuple[tuple[Fault, ...]]]:
        return Misconfigured, (self.faults,)


class Rejected(Exception):
    """A row that can never pass. `field` is a path of the contract, never a value."""

    def __init__(self, reason: Reason, field: str | None = None) -> None:
        self.reason = reason
        self.field = field
        super().__init__(f"{reason}{f' at {field}' if field else ''}")

    def __reduce__(self) -> tuple[type["Rejected"], tuple[Reason, str | None]]:
        return Rejected, (self.reason, self.field)


class Transient(Exception):
    """Something outside failed in a way that may pass."""
