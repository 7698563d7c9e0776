"""penstock backfill: a batch run for each day of a range, some at once, each in a process of its own.

A day is done when its run has committed and that is written down; a call that was killed is gone on with by the same call.
What is written down lies in OUT/running (for BigQuery in .penstock), as backfill-REQUEST.done, until all days are done.
"""

import hashlib
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

from pipelines.backfill_days import PLACE, Days, Outcome, arguments
from pipelines.bar import Bar
from pipelines.children import Children
from pipelines.contracts import load
from pipelines.done import Done
from pipelines.keyfolder import keys_of_tables
from pipelines.options import BackfillOptions
from pipelines.sinks import lake_runs
from pipelines.sinks.lake_catalog import CATALOG, RUNNING, locked, make
from pipelines.stopping import stopping
from schemas.contract import Contract
from schemas.errors import Fault, Misconfigured

_MOMENT = 5.0  # seconds that the children of a call that was killed may take to end
_FATES = ("read", "stored", "repeated", "refused")


def run(options: BackfillOptions, beam_arguments: list[str]) -> int:
    """Runs what is left of the range; exit code 0 where all days are done, 1 where some are not.

    Raises Misconfigured where it cannot run, also where another run is writing one of the days.
    """
    contract, days = _checked(options)
    keys = keys_of_tables(options.keys, _there(options, contract), options.secrets_endpoint)  # before the days begin: two of them would both make it
    assert keys is not None
    about = {"contract": f"{contract.name} {contract.version}", "policy": contract.policy_digest, "model": contract.model.sha256 if contract.model else None,
             "keys": str(Path(keys.folder).resolve()), "from": str(days[0]), "to": str(days[-1]), "arguments": arguments(options, None, beam_arguments)}
    name = f"backfill-{hashlib.sha256(json.dumps(about).encode()).hexdigest()[:12]}"
    place = _place(options.output)
    written = place / RUNNING / f"{name}.done"
    _refuse_held(options, name, days)
    with _alone(place, name, days, _MOMENT if written.exists() else 0.0), tempfile.TemporaryDirectory(prefix="penstock-") as empty:
        done = Done(written, about)
        if done.known:
            print(f"penstock backfill: goes on, {len(done.known)} of {len(days)} days are done (remove {done.path} to begin anew)", file=sys.stderr)
        nothing = Path(empty) / "empty.ndjson"
        nothing.touch()
        with stopping() as stop, ThreadPoolExecutor(options.parallel) as threads, Children() as children:
            day = Days(options, beam_arguments, children.run, busy=lambda day: _busy(place, name, [day]).get(day),
                       name=lambda day, again: f"{day:%Y%m%d}-{name}-{done.id}-{done.failures[str(day)] + 1}{again}", nothing=str(nothing))
            bar, waiting = Bar(len(days), len(done.known)), iter([d for d in days if str(d) not in done.known])
            running: set[Future[Outcome]] = set()
            outcomes: list[Outcome] = []
            while True:
                while len(running) < options.parallel and not stop.is_set() and (following := next(waiting, None)):
                    running.add(threads.submit(day.run, following))
                if not running:
                    break
                bar.draw(len(running))
                ended, running = wait(running, 0.25, FIRST_COMPLETED)
                if stop.is_set():
                    children.end()
                for outcome in (future.result() for future in ended):
                    outcomes.append(outcome)
                    if outcome.row is not None:
                        done.add(str(outcome.day), outcome.row)
                    elif outcome.reason:
                        done.fail(str(outcome.day))
                    row = outcome.row or {"read": 0, "refused": 0}
                    bar.day(str(outcome.day), outcome.words(), outcome.row is not None, bool(outcome.reason), row["read"], row["refused"])
            bar.clear()
        done.close(remove=len(done.known) == len(days))
    return _told(options, days, done, {o.day: o.reason for o in outcomes if o.reason})


def _checked(options: BackfillOptions) -> tuple[Contract, list[date]]:
    """What can be said before any day begins. Raises Misconfigured with every fault."""
    faults: list[Fault] = []
    contract = None
    try:
        contract = load(options.contract, options.allow_unwrapped_keys, options.storage_endpoint)
    except Misconfigured as error:
        faults += error.faults
    if PLACE not in options.input:
        faults.append(Fault("--input", f"does not hold {PLACE}", f"write {PLACE} where the day stands: 'raw/{PLACE}/*.gz'"))
    if options.to < options.from_:
        faults.append(Fault("--to", "is before --from", "give the first day as --from and the last one as --to"))
    if faults or contract is None:
        raise Misconfigured(faults)
    return contract, [options.from_ + timedelta(days=n) for n in range((options.to - options.from_).days + 1)]


def _place(output: str) -> Path:
    """The folder beside which living runs say which days they replace: the lake itself; for BigQuery one on this machine."""
    if not output.startswith("bq://"):
        make(Path(output).resolve())
        return Path(output).resolve()
    from pipelines.sinks.bigquery import dataset  # it imports Beam

    place = (Path(".penstock") / "{0.project}.{0.name}".format(dataset(output))).resolve()
    (place / RUNNING).mkdir(parents=True, exist_ok=True)
    return place


def _there(options: BackfillOptions, contract: Contract) -> bool:
    """Whether there are tables that keys have made rows of already. Raises Misconfigured where BigQuery's would take no day."""
    if not options.output.startswith("bq://"):
        return (Path(options.output) / CATALOG).exists()
    from pipelines.sinks.bigquery import dataset  # they import Beam
    from pipelines.sinks.bigquery_client import connect
    from pipelines.sinks.bigquery_tables import ids, looked

    there = dataset(options.output)
    client = connect(there.project, options.bigquery_endpoint)
    _, wrong = looked(client, there, contract)
    if wrong:
        raise Misconfigured(wrong)
    return bool(ids(client, there, contract))


def _refuse_held(options: BackfillOptions, name: str, days: list[date]) -> None:
    """Raises Misconfigured where a run that is none of ours holds one of the days in BigQuery, on whatever machine it is."""
    if not options.output.startswith("bq://"):
        return
    from pipelines.sinks.bigquery import dataset  # they import Beam
    from pipelines.sinks.bigquery_client import Patience, connect
    from pipelines.sinks.bigquery_jobs import Place
    from pipelines.sinks.bigquery_lease import held

    there = dataset(options.output)
    taken = held(Place(connect(there.project, options.bigquery_endpoint), "", Patience(seconds=15.0)), there, days)
    _refuse({day: run for day, run in taken.items() if f"-{name}-" not in run})


def _refuse(taken: dict[date, str]) -> None:
    if taken:
        raise Misconfigured([Fault(f"day {day}", f"is being written by run {by}", "wait for its end and call again, or end it")
                             for day, by in sorted(taken.items())])


@contextmanager
def _alone(place: Path, name: str, days: list[date], moment: float) -> Iterator[None]:
    """Says that these days are being written, for as long as it lasts. Raises Misconfigured where another run says so of one of them, and
    still does when so many seconds are over."""
    until = time.monotonic() + moment
    while (taken := _busy(place, name, days)) and time.monotonic() < until:
        time.sleep(0.1)
    _refuse(taken)
    try:
        with locked(place):
            lock = lake_runs.enlist(place, name, days)
    except Misconfigured:
        raise Misconfigured([Fault("this range", f"is being written by the same request already ({name})", "wait for its end, or end it")]) from None
    try:
        yield
    finally:
        with locked(place):
            lake_runs.discharge(place, name, lock)
            lake_runs.replacing(place)  # on its way it removes what days that were told to end have left there


def _busy(place: Path, own: str, days: Iterable[date]) -> dict[date, str]:
    """Those of these days that a living run replaces, with its id."""
    with locked(place):
        living = lake_runs.replacing(place)
    return {day: run for run, theirs in living.items() if run != own for day in days if day in theirs}


def _told(options: BackfillOptions, days: list[date], done: Done, failed: dict[date, str]) -> int:
    sums: Counter[str] = Counter()
    for row in done.known.values():
        sums.update({fate: row.get(fate, 0) for fate in _FATES})
    print(f"{len(done.known)} of {len(days)} days are done: {sums['read']:,} read = {sums['stored']:,} stored + {sums['repeated']:,} repeated "
          f"+ {sums['refused']:,} refused")
    print(f"tables: {options.output}")
    whole = len(done.known) == len(days)
    if not whole:
        print("penstock backfill: not all days are done; the same command goes on with the others", file=sys.stderr)
    for day, reason in sorted(failed.items()):
        print(f"  {day}: {reason}", file=sys.stderr)
    if options.json:
        print(json.dumps({"job": "backfill", "days": dict(sorted(done.known.items())), "failed": {str(d): reason for d, reason in sorted(failed.items())}}))
    return 0 if whole else 1
