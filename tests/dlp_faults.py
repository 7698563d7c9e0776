"""Faults that the DLP server of the tests commits on purpose."""

import random
import threading
from collections.abc import Callable
from typing import Any

import grpc

Code = grpc.StatusCode
STATUSES = {"400": (Code.INVALID_ARGUMENT, "A value cannot be transformed."),
            "429": (Code.RESOURCE_EXHAUSTED, "Quota exceeded for quota metric 'Requests' and limit 'Requests per minute'."),
            "503": (Code.UNAVAILABLE, "The service is currently unavailable."),
            "500": (Code.INTERNAL, "Internal error encountered."),
            "504": (Code.DEADLINE_EXCEEDED, "Deadline expired before operation could complete."),
            "404": (Code.NOT_FOUND, "Requested entity was not found."),
            "403": (Code.PERMISSION_DENIED, "Permission denied."),
            "501": (Code.UNIMPLEMENTED, "Not implemented.")}


class FaultPlan:
    """Which calls go wrong, and how.

    kind: a key of STATUSES, "slow" or "hang" (for `seconds`), or a key of ANSWERS; "" for none. share: of the calls, from
    a seed; calls: only so many go wrong.
    """

    def __init__(self, kind: str = "", share: float = 1.0, calls: int | None = None, seconds: float = 0.0, seed: int = 1) -> None:
        self.kind, self.share, self.left, self.seconds = kind, share, calls, seconds
        self._draw, self._lock = random.Random(seed), threading.Lock()
        self.committed = 0

    def next(self) -> str:
        """The fault of this call, "" for none."""
        with self._lock:
            if not self.kind or self.left == 0 or self._draw.random() >= self.share:
                return ""
            if self.left is not None:
                self.left -= 1
            self.committed += 1
            return self.kind


def _failed_summary(response: Any, sent: Any) -> None:
    for summary in response.overview.transformation_summaries[:1]:
        summary.results.add(count=1, code=2, details="injected")


def _truncated(response: Any, sent: Any) -> None:
    """Findings at the limit, and the last rows as they were sent."""
    response.overview.transformation_summaries.add(info_type={"name": "EMAIL_ADDRESS"}).results.add(count=3000, code=1)
    for row, original in list(zip(response.item.table.rows, sent.rows, strict=False))[len(sent.rows) // 2:]:
        row.CopyFrom(original)


def _drop(response: Any, sent: Any) -> None:
    del response.item.table.rows[len(response.item.table.rows) // 2]


def _twice(response: Any, sent: Any) -> None:
    response.item.table.rows.add().CopyFrom(response.item.table.rows[0])


def _reorder(response: Any, sent: Any) -> None:
    rows = [type(row).FromString(row.SerializeToString()) for row in response.item.table.rows]
    del response.item.table.rows[:]
    response.item.table.rows.extend(reversed(rows))


def _wrong_header(response: Any, sent: Any) -> None:
    headers = response.item.table.headers
    headers[-1].name, headers[-2].name = headers[-2].name, headers[-1].name


def _short_row(response: Any, sent: Any) -> None:
    del response.item.table.rows[0].values[-1]


def _unchanged(response: Any, sent: Any) -> None:
    """All rows as they were sent, with a summary that says that all went well."""
    for row, original in zip(response.item.table.rows, sent.rows, strict=False):
        row.CopyFrom(original)


def _unchanged_cells(response: Any, sent: Any) -> None:
    """Every third row as it was sent."""
    for row, original in list(zip(response.item.table.rows, sent.rows, strict=False))[::3]:
        row.CopyFrom(original)


def _no_values(response: Any, sent: Any) -> None:
    for row in response.item.table.rows:
        for cell in row.values[1:]:
            cell.Clear()


def _no_table(response: Any, sent: Any) -> None:
    response.item.Clear()


ANSWERS: dict[str, Callable[[Any, Any], None]] = {
    "failed_summary": _failed_summary, "truncated": _truncated, "drop": _drop, "twice": _twice, "reorder": _reorder,
    "wrong_header": _wrong_header, "short_row": _short_row, "unchanged": _unchanged, "unchanged_cells": _unchanged_cells,
    "no_values": _no_values, "no_table": _no_table}
"""By name, what is done to a raw response; the second argument is the table that was sent."""
