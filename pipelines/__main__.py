"""penstock COMMAND --name=value ...

Exit code 0: done and balanced; 1: the run failed or the books do not balance; 2: the request cannot run.
"""

import importlib
import resource
import sys
import warnings
from typing import Any, NamedTuple

from pipelines import options
from pipelines.flags import parse, usage
from pipelines.heap import one_heap
from pipelines.tools import options as tools
from schemas.errors import Misconfigured

DONE, FAILED, CANNOT_RUN = 0, 1, 2


class Command(NamedTuple):
    """A command: its options, the module whose `run(options, beam_arguments) -> exit code` does it, one line of help."""

    options: type[Any]
    module: str
    summary: str
    beam: bool = False


COMMANDS = {
    "batch": Command(options.BatchOptions, "pipelines.batch", "Files to tables: reads, deduplicates, de-identifies, scores and stores.", True),
    "backfill": Command(options.BackfillOptions, "pipelines.backfill", "A batch run for each day of a range, some at once; goes on where it stopped.", True),
    "stream": Command(options.StreamOptions, "pipelines.stream", "Pub/Sub to tables, for as long as it runs: nothing lost, nothing stored twice.", True),
    "replay": Command(options.ReplayOptions, "pipelines.replay", "Tries failures again, opened with the private key: stores what is accepted now.", True),
    "windows": Command(options.WindowsOptions, "pipelines.windows", "Rebuilds the windows table from the stored events, as if no more were to come."),
    "tables": Command(tools.TablesOptions, "pipelines.tools.tables", "Shows BigQuery's tables beside a contract's; makes what is missing."),
    "manifest": Command(tools.ManifestOptions, "pipelines.tools.manifest", "Writes what files are: generation, size, checksum, rows; for batch --manifest."),
    "generate": Command(tools.GenerateOptions, "pipelines.tools.generate", "Writes events of a shipped contract, and the books that must come out."),
    "publish": Command(tools.PublishOptions, "pipelines.tools.publish", "Publishes events of a shipped contract to Pub/Sub: late, out of order, repeated."),
    "query": Command(tools.QueryOptions, "pipelines.tools.query", "Asks the tables in SQL."),
    "describe": Command(tools.DescribeOptions, "pipelines.tools.describe", "Prints a contract's data dictionary or its table schemas."),
    "inspect": Command(tools.InspectOptions, "pipelines.tools.inspect", "Shows what the detectors find in free text, before anything is launched."),
    "reidentify": Command(options.ReidentifyOptions, "pipelines.reidentify", "Turns tokens back into values for named columns of a query, audited.", True),
    "keys": Command(tools.KeysOptions, "pipelines.tools.keys", "Makes a key folder: a master key, and the key pair for failures."),
    "plan": Command(tools.PlanOptions, "pipelines.tools.plan", "Workers, quotas and price of a stream at a rate: needed, given, what to raise first."),
    "check": Command(tools.CheckOptions, "pipelines.tools.check", "Everything that can be known before a launch, all at once; changes nothing."),
    "spec": Command(tools.SpecOptions, "pipelines.tools.spec", "Writes the Flex Template of a job, from its options."),
    "launch": Command(tools.LaunchOptions, "pipelines.tools.launch", "A job on Dataflow: validates, runs, updates, drains or cancels it, tells of it."),
    "open": Command(tools.OpenOptions, "pipelines.tools.open", "Prints sealed failures in clear, with the private key."),
}


def main(argv: list[str] | None = None) -> int:
    """Runs one command; answers its exit code."""
    warnings.filterwarnings("ignore", message="You are using a non-supported Python version", category=FutureWarning)  # Google's, on 3.10
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))  # a core dump would hold rows
    arguments = sys.argv[1:] if argv is None else argv
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        width = max(map(len, COMMANDS))
        print("penstock COMMAND --name=value ...\n")
        print("\n".join(f"  {name:<{width}}  {c.summary}" for name, c in COMMANDS.items()))
        print("\npenstock COMMAND --help tells a command's options. Exit code 0: done and balanced; 1: failed; 2: cannot run.")
        return DONE
    name, *rest = arguments
    command = COMMANDS.get(name)
    if command is None:
        print(f"penstock: no such command; it is one of {', '.join(COMMANDS)}", file=sys.stderr)
        return CANNOT_RUN
    if "--help" in rest or "-h" in rest:
        print(usage(name, command.summary, command.options))
        return DONE
    if name == "stream":
        one_heap()  # before anything is imported that starts threads
    try:
        given, beam_arguments = parse(command.options, rest, command.beam)
        run = importlib.import_module(command.module).run
        code: int = run(given, beam_arguments) if command.beam else run(given)
        return code
    except Misconfigured as error:
        print(f"penstock {name} cannot run:", file=sys.stderr)
        for fault in error.faults:
            print(f"  {fault}", file=sys.stderr)
        return CANNOT_RUN
    except BrokenPipeError:
        sys.stderr.close()  # the reader of a pipe went away; Python would complain of stdout at exit
        return DONE


if __name__ == "__main__":
    sys.exit(main())
