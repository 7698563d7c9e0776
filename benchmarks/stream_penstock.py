"""(a) `penstock stream` as the command line runs it: bounded runs of the kept graph on FnApiRunner."""

import contextlib
import io
import sys
import time
from datetime import timedelta
from typing import Any

from benchmarks.stream_job import Clock, arguments
from pipelines import stream
from pipelines.options import StreamOptions
from pipelines.repeated_runs import Stream
from transforms.fates import PROGRESS, READ


def main() -> None:
    """Until all the messages are acknowledged. Reports when each run was committed, too."""
    given = arguments()
    clock, committed, told = Clock(), list[float](), io.StringIO()

    def job(*parts: Any) -> Stream:
        def at(step: str) -> None:
            if step == "settled":
                committed.append(time.time())
            if step == "acknowledged":
                clock.lap()
                if PROGRESS.rows()[READ] >= given.messages:
                    made.stop.set()

        made = Stream(*parts, at=at)
        print("ready", file=sys.stderr, flush=True)
        clock.start()
        return made

    options = StreamOptions(contract="census", subscription=given.subscription, output=str(given.output), keys=given.keys,
                            pubsub_endpoint=given.host, wait=timedelta(seconds=given.wait))
    with contextlib.redirect_stdout(told):
        code = stream.run(options, [], job)
    assert code == 0, told.getvalue()
    clock.report(given.messages, committed=committed)


if __name__ == "__main__":
    main()
