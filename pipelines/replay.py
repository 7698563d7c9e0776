"""The replay job on one machine (on Dataflow: pipelines.replay_graph): failures are opened and go through the same graph once more; what is
accepted now is stored.

Rows in clear are in the memory of this process alone, at most some 64 MB of them at a time. Each such part is a run of its
own: events, failures that are refused again, the ledger row, and the marks of what was replayed are one transaction (on
BigQuery, which has none over load jobs, steps that the next replay finishes). So a kill leaves each part done or not begun, and
a second replay finds nothing to do.
"""

import logging
from collections.abc import Callable
from dataclasses import replace

from pipelines import replay_graph
from pipelines.canary import fatal
from pipelines.launch.submitting import RUNNER
from pipelines.options import ReplayOptions
from pipelines.private_key import opener
from pipelines.replay_choice import choice, contract_for, groups_of, told
from pipelines.replay_job import Canary, Job
from pipelines.replay_rows import BYTES
from pipelines.replay_tables import Tables, tables_of
from pipelines.sinks.lake_commit import ignore
from pipelines.starting import Faults, beam_options, means_for


def run(options: ReplayOptions, beam_arguments: list[str], at: Callable[[str], None] = ignore, most_bytes: int = BYTES, canary: Canary = fatal,
        reach: Callable[[str, str], Tables] = tables_of) -> int:
    """Runs the job on this machine, or hands its graph to Dataflow; exit code 0 where it is done and balanced, 1 where it failed or
    the key opens nothing.

    at: told each step, for tests that kill it there; canary: tries rows that may kill (pipelines.canary.fatal); reach: the tables
    that --failures and --bigquery_endpoint name. Raises Misconfigured, with every fault, where it cannot run.
    """
    if options.runner == RUNNER:
        return replay_graph.run(options, beam_arguments)
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)  # its errors quote elements
    chosen = choice(options)
    tables = reach(options.failures, options.bigquery_endpoint)
    try:
        faults = Faults()
        contract = faults.of(lambda: contract_for(options, tables.owner()))
        if contract and not options.again:
            chosen = replace(chosen, settled=f"{contract.name} {contract.version}")
        pending = tables.pending(chosen)
        if options.dry_run:
            faults.stop()
            print(told(groups_of(pending), options.json))
            return 0
        if contract:
            kept = contract
            faults.of(lambda: tables.check(kept))
        held = faults.of(lambda: tables.ids(kept)) if contract and not faults.found else None
        given = faults.of(lambda: beam_options(options.runner, beam_arguments))
        unwrap = faults.of(lambda: opener(options.private_key, options.kms_endpoint))
        means = means_for(options, contract, faults, held, there=True)
        faults.stop()
        assert given and contract and unwrap and means
        return Job(options, contract, means, given, tables, at, canary).go(pending, unwrap, most_bytes)
    finally:
        tables.close()
