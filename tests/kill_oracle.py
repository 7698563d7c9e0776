"""What must stand in the tables of a stream that was killed again and again, told from what was published."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.sinks.lake import Lake
from pipelines.tools.sequence import Line
from pipelines.tools.truth import REPEATED, STORED
from schemas.contract import Contract
from schemas.errors import Reason
from tests.window_oracle import differences, expected, is_late, micros, told

CONFLICT = str(Reason.CONFLICT)
Row = dict[str, Any]


class Verdict:
    """faults: what is wrong, with how often, empty where nothing is; figures: what was looked at."""

    def __init__(self) -> None:
        self.faults: dict[str, int] = {}
        self.figures: dict[str, int] = {}

    def none_of(self, found: "list[Any] | set[Any]", fault: str) -> None:
        if found:
            self.faults[f"{fault}, such as {sorted(map(str, found))[0]}"] = len(found)

    def same(self, one: Any, other: Any, what: str) -> None:
        if one != other:
            self.faults[f"{what}: {one} and {other}"] = 1


def judge(folder: Path, contract: Contract, published: dict[str, Line]) -> Verdict:
    """The same of a lake."""
    reader = Lake.reader(str(folder))
    try:
        return judged(reader.query, contract, published)
    finally:
        reader.close()


def judged(ask: Callable[[str], Any], contract: Contract, published: dict[str, Line], windowed: str = "windows") -> Verdict:
    """Compares the tables with the messages, by their ids; their windows are closed but for those of the last event.

    ask: answers SQL as DuckDB takes it with an Arrow table; windowed: where the windows stand as they are now.
    """
    events = ask(f'SELECT *, epoch_us("{contract.time}") AS at, epoch_us(watermark) AS held_at FROM events').to_pylist()
    failures = ask("SELECT run, stage, reason, origin FROM failures").to_pylist()
    runs = ask("SELECT * FROM runs ORDER BY number").to_pylist()
    windows = ask(f"SELECT * FROM {windowed}") if contract.windows else None
    for row in (*events, *failures):
        row["message"] = row["origin"].rpartition(":")[2]
    for row in events:
        row["watermark"] = row["held_at"]
    verdict = Verdict()
    late = [f for f in failures if f["stage"] == "window"]
    refused = [f for f in failures if f["stage"] != "window"]
    _rows(verdict, contract, published, events, refused)
    _books(verdict, events, refused, late, runs)
    if contract.windows and runs:
        _windows(verdict, contract, published, events, late, windows, micros(runs[-1]["watermark"]))
    verdict.figures |= {"messages": len(published), "stored": len(events), "refused": len(refused), "repeated": sum(r["repeated"] for r in runs),
                        "late": len(late), "runs": len(runs)}
    return verdict


def _rows(verdict: Verdict, contract: Contract, published: dict[str, Line], events: list[Row], refused: list[Row]) -> None:
    """Each id once in events, each message that is bad once in failures; of two that dispute an id one here, one there."""
    stored, sealed = Counter(row[contract.id] for row in events), Counter((row["message"], row["reason"]) for row in refused)
    ids, copies, broken = {}, defaultdict[str, set[str]](set), set()
    for message, line in published.items():
        if line.fate in (STORED, REPEATED, CONFLICT):
            copies[line.sample.id].add(message)
            ids[line.sample.id] = line.sample.time
        else:
            broken.add((message, line.fate))
    verdict.none_of(ids.keys() - stored.keys(), "lost")
    verdict.none_of([i for i, n in stored.items() if n > 1], "stored twice")
    verdict.none_of(stored.keys() - ids.keys(), "stored, and never published")
    verdict.none_of([row["message"] for row in events if row["message"] not in copies[row[contract.id]]], "stored under the id of another")
    verdict.none_of([row[contract.id] for row in events if row["at"] != ids.get(row[contract.id])], "stored with another time")
    kept = {row["message"] for row in events}
    disputed = {(message, CONFLICT) for message, line in published.items() if line.fate == CONFLICT
                for message in copies[line.sample.id] if message not in kept}
    verdict.none_of((broken | disputed) - sealed.keys(), "not in the failures")
    verdict.none_of([m for m, n in sealed.items() if n > 1], "in the failures twice")
    verdict.none_of(sealed.keys() - broken - disputed, "in the failures without reason")


def _books(verdict: Verdict, events: list[Row], refused: list[Row], late: list[Row], runs: list[Row]) -> None:
    verdict.same([r["number"] for r in runs], list(range(1, len(runs) + 1)), "numbers of the runs")
    verdict.none_of([r["run"] for r in runs if not r["balanced"] or r["read"] != r["stored"] + r["repeated"] + r["refused"]], "not balanced")
    marks = [r["watermark"] for r in runs if r["watermark"]]
    verdict.same(marks, sorted(marks), "watermarks")
    for name, rows in (("stored", events), ("refused", refused), ("late", late)):
        verdict.same({r["run"]: r[name] for r in runs if r[name]}, dict(Counter(row["run"] for row in rows)), f"{name}, in ledger and tables")
    reasons = sum((Counter(json.loads(r["reasons"])) for r in runs), Counter[str]())
    verdict.same(reasons, Counter(row["reason"] for row in refused), "reasons, in ledger and tables")


def _windows(verdict: Verdict, contract: Contract, published: dict[str, Line], events: list[Row], late: list[Row], table: Any, watermark: int) -> None:
    """The windows that are closed, by the watermarks that the rows carry; and as if rows that were published in time carried none."""
    windowing = contract.windows
    assert windowing is not None
    got = {place: window for place, window in told([table]).items() if window[0] <= watermark}
    verdict.none_of([place for place in told([table]) if place not in got], "windows that are not closed")
    found = differences(got, _closed(expected(events, windowing), watermark), windowing)
    verdict.none_of(found, "windows that are not what the stored rows make them")
    verdict.same(Counter(row["origin"] for row in events if is_late(row, windowing)), Counter(row["origin"] for row in late), "late rows")
    held = {line.sample.id for line in published.values() if line.held}
    prompt = [row if row[contract.id] in held else {**row, "watermark": None} for row in events]
    verdict.none_of([row[contract.id] for row in events if row[contract.id] not in held and is_late(row, windowing)], "late, and published in time")
    verdict.none_of(differences(got, _closed(expected(prompt, windowing), watermark), windowing), "windows that lack rows that were published in time")
    if windowing.kind == "fixed":
        counted = next(m.name for m in windowing.measures if m.kind == "count")
        rows_in = sum(values[counted] for _, values in got.values())
        is_open = sum(row["at"] // micros_of(windowing.size) * micros_of(windowing.size) + micros_of(windowing.size) > watermark for row in events)
        verdict.same(rows_in + len(late), len(events) - is_open, "rows in windows and late, and stored")
    verdict.figures |= {"windows": len(got), "held back": len(held)}


def micros_of(length: Any) -> int:
    return int(length.total_seconds() * 1_000_000)


def _closed(windows: dict[Any, Any], watermark: int) -> dict[Any, Any]:
    return {place: window for place, window in windows.items() if window[0] <= watermark}
