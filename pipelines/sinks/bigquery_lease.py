"""A run's hold on days of a dataset, kept by BigQuery itself, so that two machines never replace one day at once.

    penstock_writing_20261119    a table without rows; its description says the run, its expirationTime when the hold ends by itself

A table that is there is not made again (409), so of two runs one is refused. The hold is renewed while its run lives and removed at
its end. That of a run which was killed ends by itself: BigQuery removes the table; the same run, tried again, takes it over at once.
A hold changes hands by a change under the table's etag (If-Match), so that of two who would take it one does.
A stream holds the tables whole (penstock_writing_stream): each side takes its own hold, then looks for the other's, so of the two one is refused.
https://cloud.google.com/bigquery/docs/reference/rest/v2/tables
"""

import json
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from google.api_core import exceptions
from google.cloud.bigquery import Table

from pipelines.sinks.bigquery import Dataset
from pipelines.sinks.bigquery_client import patiently, reason
from pipelines.sinks.bigquery_jobs import Place
from pipelines.sinks.lake_commit import utc_now
from schemas.errors import Fault, Misconfigured, Transient

PREFIX = "penstock_writing_"
SPAN = timedelta(minutes=5)  # a hold that is not renewed ends then; the clocks of two machines may differ by less
_SHARE = 5  # renewals in that time
_ROUNDS = 6  # of losing a hold to somebody between two requests
STREAM = "stream"  # held in the place of a day: all days, by a stream
What = date | str


class Hold(NamedTuple):
    """Who holds a day: the run, and the process of it; until: when that ends if it is not renewed, None for never."""

    run: str
    holder: str
    until: datetime | None


class _Own(NamedTuple):
    """A hold of ours: the table as BigQuery last showed it, and when it ends, as we asked for."""

    table: Table
    until: datetime


class Lease:
    """Days held for a run: take(), then `with renewed():`. holder: which process of the run it is, "" for a new one; over: whether a hold of the
    same run by another process is taken over (a retry does that).
    """

    def __init__(self, place: Place, dataset: Dataset, run: str, days: Iterable[What], holder: str = "", over: bool = True,
                 clock: Callable[[], datetime] = utc_now, span: timedelta = SPAN) -> None:
        self.holder = holder or secrets.token_hex(8)
        self._place, self._dataset, self._run, self._over, self._clock, self._span = place, dataset, run, over, clock, span
        self._days, self._held = sorted(set(days), key=str), dict[What, _Own]()

    def take(self) -> None:
        """Holds all the days or none. Raises Misconfigured, with every day that another run holds."""
        found: list[Fault] = []
        for day in self._days:
            try:
                other = self._living(day) if found else self._take(day)  # whoever was refused stands in nobody's way
            except Transient as error:
                found.append(Fault(_told(day), str(error), "try again, or check --bigquery_endpoint"))
                break
            except exceptions.GoogleAPICallError as error:
                found.append(Fault(_told(day), f"cannot be held for this run: {reason(error)}",
                                   "let the account make, change and delete tables in the dataset: roles/bigquery.dataEditor"))
                break
            if other:
                ends = f"{other.until:%Y-%m-%d %H:%M:%S} UTC" if other.until else "never"
                over = f"--run={other.run} takes the day over, and else " if _is_run(other.run) else ""
                advice = f"wait for its end, or end it; if it was killed, {over}its hold ends at {ends}"
                found.append(Fault(_told(day), f"is being written by {'run ' if _is_run(other.run) else ''}{other.run}", advice if other.run != self._run else
                                   "another process tries the same run: leave it to that one"))
        found = found or self._beside()
        if found:
            self.release()
            raise Misconfigured(found)

    def renew(self) -> None:
        """Puts off the end of each hold that is still ours. What BigQuery does not answer now is left to the next time."""
        for day, mine in list(self._held.items()):
            try:
                self._change(day, mine.table)
            except (exceptions.NotFound, exceptions.PreconditionFailed):
                try:
                    there = self._there(day)
                except (exceptions.GoogleAPICallError, Transient):
                    continue
                if there is not None and _hold(there).holder == self.holder:
                    self._held[day] = mine._replace(table=there)
                else:
                    del self._held[day]  # it had ended, and is somebody else's
            except (exceptions.GoogleAPICallError, Transient):
                continue

    def release(self) -> None:
        """Removes the holds that are ours; what cannot be removed ends by itself."""
        for day, mine in self._held.items():
            if mine.until <= self._clock():
                continue  # it may be somebody else's by now
            try:
                patiently(lambda day=day: self._place.client.delete_table(self._name(day), retry=None, not_found_ok=True,  # type: ignore[misc]
                                                                          timeout=self._place.patience.answer), self._place.patience)
            except (exceptions.GoogleAPICallError, Transient):
                continue
        self._held.clear()

    @contextmanager
    def renewed(self) -> Iterator[None]:
        """Renews what was taken for as long as it lasts, then releases it."""
        end = threading.Event()
        renewing = threading.Thread(target=self._renew_until, args=(end,), name="lease", daemon=True)
        renewing.start()
        try:
            yield
        finally:
            end.set()
            renewing.join()
            self.release()

    def _renew_until(self, end: threading.Event) -> None:
        while not end.wait(self._span.total_seconds() / _SHARE):
            self.renew()

    def _beside(self) -> list[Fault]:
        """Why the tables are another's in the other way: a stream's beside our days, or days beside our stream."""
        try:
            for other in self._others():
                hold = self._living(other)
                if hold:
                    ends = f"; if it was killed, its hold ends at {hold.until:%Y-%m-%d %H:%M:%S} UTC" if hold.until else ""
                    return [Fault(_told(other), f"is being written by {'run ' if _is_run(hold.run) else ''}{hold.run}",
                                  f"wait for its end, or end it{'; messages wait in Pub/Sub meanwhile' if other == STREAM else ''}{ends}")]
        except (exceptions.GoogleAPICallError, Transient) as error:
            return [Fault("--output", f"BigQuery does not show who writes the tables: {reason(error)}", "try again")]
        return []

    def _living(self, day: What) -> Hold | None:
        """The other run that holds this day."""
        there = self._there(day)
        hold = _hold(there) if there is not None else None
        return hold if hold and (hold.until is None or hold.until > self._clock()) and not (self._over and hold.run == self._run) else None

    def _others(self) -> list[What]:
        if STREAM not in self._days:
            return [STREAM]
        listed = patiently(lambda: [str(table.table_id) for table in self._place.client.list_tables(
            f"{self._dataset.project}.{self._dataset.name}", retry=None, timeout=self._place.patience.answer)], self._place.patience)
        return [name.removeprefix(PREFIX) for name in listed if name.startswith(PREFIX) and name != PREFIX + STREAM]

    def _take(self, day: What) -> Hold | None:
        """The other run that holds this day; None where it is ours now."""
        other = None
        for _ in range(_ROUNDS):
            until = self._clock() + self._span
            try:
                made = patiently(lambda until=until: self._place.client.create_table(self._table(day, until), retry=None,  # type: ignore[misc]
                                                                                     timeout=self._place.patience.answer), self._place.patience)
                self._held[day] = _Own(made, until)
                return None
            except exceptions.Conflict:
                there = self._there(day)
            if there is None:
                continue
            other = _hold(there)
            if other.holder == self.holder:  # made by a request whose answer was lost
                self._held[day] = _Own(there, until)
                return None
            if (other.until is None or other.until > self._clock()) and not (self._over and other.run == self._run):
                return other
            try:
                self._change(day, there)
                return None
            except (exceptions.NotFound, exceptions.PreconditionFailed):
                continue
        return other

    def _change(self, day: What, table: Table) -> None:
        """Makes the hold ours until a span from now, where nobody has changed it meanwhile (NotFound, PreconditionFailed)."""
        until = self._clock() + self._span
        mine = Table.from_api_repr({**table.to_api_repr(), **self._words(until)})  # with its etag
        made = patiently(lambda: self._place.client.update_table(mine, ["description", "expires"], retry=None, timeout=self._place.patience.answer),
                         self._place.patience)
        self._held[day] = _Own(made, until)

    def _there(self, day: What) -> Table | None:
        return _shown(self._place, self._name(day))

    def _table(self, day: What, until: datetime) -> Table:
        reference = {"projectId": self._dataset.project, "datasetId": self._dataset.name, "tableId": _table(day)}
        fields = [{"name": "run", "type": "STRING", "description": "Without rows: the description of the table says who writes this day."}]
        return Table.from_api_repr({"tableReference": reference, "schema": {"fields": fields}, **self._words(until)})

    def _words(self, until: datetime) -> dict[str, Any]:
        return {"description": json.dumps({"run": self._run, "holder": self.holder}), "expirationTime": str(int(until.timestamp() * 1000))}

    def _name(self, day: What) -> str:
        return f"{self._dataset.project}.{self._dataset.name}.{_table(day)}"


def held(place: Place, dataset: Dataset, days: Iterable[date], clock: Callable[[], datetime] = utc_now) -> dict[date, str]:
    """Those of these days that a run holds, with its id. Raises Misconfigured where BigQuery does not let us look."""
    where = f"{dataset.project}.{dataset.name}"
    try:
        listed = patiently(lambda: {str(table.table_id) for table in place.client.list_tables(where, retry=None, timeout=place.patience.answer)},
                           place.patience)
        tables = {day: _shown(place, f"{where}.{_table(day)}") for day in days if _table(day) in listed}
    except (exceptions.GoogleAPICallError, Transient) as error:
        raise Misconfigured([Fault("--output", f"BigQuery does not show who writes the tables: {reason(error)}",
                                   "check the dataset, and that the account may read it")]) from None
    holds = {day: _hold(table) for day, table in tables.items() if table is not None}
    return {day: hold.run for day, hold in holds.items() if hold.until is None or hold.until > clock()}


def _shown(place: Place, name: str) -> Table | None:
    try:
        return patiently(lambda: place.client.get_table(name, retry=None, timeout=place.patience.answer), place.patience)
    except exceptions.NotFound:
        return None


def _table(what: What) -> str:
    return PREFIX + (what if isinstance(what, str) else f"{what:%Y%m%d}")


def _is_run(name: str) -> bool:
    """Whether it is the id of a run; streams and replays hold under words."""
    return " " not in name


def _told(what: What) -> str:
    return "the tables" if what == STREAM else f"day {what}"


def _hold(table: Table) -> Hold:
    """What a table says of its holder; of a table that nobody of ours made, that."""
    try:
        told = json.loads(table.description or "")
        return Hold(str(told["run"]), str(told["holder"]), table.expires)
    except (ValueError, KeyError, TypeError):
        return Hold("unknown", "", table.expires)
