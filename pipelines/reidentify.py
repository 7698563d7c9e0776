"""The reidentify job: tokens of a query's answer back to values, to a restricted place, audited.

    Ask the tables -> Reidentify -> Write, hidden -> audit row, committed -> the result is shown

A run whose audit row cannot be committed shows nothing. Where the last step fails, the audit row stands.
"""

import getpass
import logging
import os
import pwd
import sys

import apache_beam as beam
import duckdb

from pipelines import reidentify_graph
from pipelines.launch.submitting import RUNNER
from pipelines.options import ReidentifyOptions
from pipelines.reidentify_checks import Checked, check
from pipelines.reidentify_parts import Parts, build, tell
from pipelines.sinks.audit import Audit
from pipelines.sinks.bigquery_jobs import Failed
from pipelines.sources.verdict import VERDICT
from pipelines.starting import Faults, beam_options
from schemas.errors import Fault, Misconfigured, Transient
from transforms.unquoted import frames


def run(options: ReidentifyOptions, beam_arguments: list[str]) -> int:
    """Runs the job, here or on Dataflow; exit code 0 where it is done, 1 where it failed or not one token opened.

    Raises Misconfigured, with every fault, where it cannot run.
    """
    if options.runner == RUNNER:
        return reidentify_graph.run(options, beam_arguments)
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)  # its errors quote elements
    faults, account = Faults(), _account()
    given = faults.of(lambda: beam_options(options.runner, beam_arguments))
    checked = check(options, faults, options.requested_by.strip() or _user(account), account)
    assert given
    audit, destination, row = checked.tables.audit, checked.destination, checked.row
    try:
        audit.prepare()
        destination.prepare(checked.result)
    except (Failed, Transient) as error:
        raise Misconfigured([Fault("OUT", str(error), "try again")]) from None
    pipeline = beam.Pipeline("FnApiRunner", options=given)
    build(pipeline, Parts(checked.tables.read(checked.answer), checked.reverser, destination, checked.result, audit, row))
    VERDICT.forget()
    try:
        pipeline.run().wait_until_finish()
    except Exception as error:  # whatever it is, its text may hold a value: say where, not what
        print(f"penstock reidentify failed; {_left(audit, checked)}: {VERDICT.told() or frames(error)}", file=sys.stderr)
        return 1
    finally:
        destination.discard()
        checked.tables.close()
    try:
        done = audit.find(row.run)
    except (Failed, Transient) as error:
        print(f"penstock reidentify: the result is in {destination.told()}; its audit row stands, and cannot be read now: {error}", file=sys.stderr)
        return 1
    assert done is not None  # the pipeline ended well, so it was committed
    return tell(done, destination.told(), options.json)


def _left(audit: Audit, checked: Checked) -> str:
    """What a run that failed left behind, in words."""
    where = checked.destination.name
    try:
        stands = audit.find(checked.row.run) is not None
    except (Failed, Misconfigured, Transient, OSError, duckdb.Error):
        return f"whether its audit row stands cannot be asked; {where} holds all of the result or nothing"
    return f"the audit row stands, {checked.destination.left()}" if stands else f"nothing is in {where}"


def _account() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def _user(account: str) -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # neither the environment nor the system names one
        return account
