"""A child in place of pipelines.canary's: a message says itself what is to happen. python -m tests.fatal_canary FOLDER

FOLDER gets a file for each start, named by the process.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

from pipelines.canary import Reached, Trial, main
from schemas.errors import Stage
from transforms.formats.block import Message

ROW, DAY = '{"as":"decoded ü"}', date(2026, 3, 4)


def prepare(trial: Trial) -> Callable[[str, Message], Iterator[Reached]]:
    def attempt(subscription: str, message: Message) -> Iterator[Reached]:
        first, _, act = message.data.partition(b":")
        if first:
            yield Stage(first.decode()), ROW.encode(), DAY
        if act == b"exit":
            os._exit(0)
        elif act == b"signal":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif act == b"hang":
            while True:
                time.sleep(10)
        elif act == b"raise":
            print("SECRET")
            print("SECRET", file=sys.stderr)
            raise ValueError("SECRET")
        elif act == b"order":
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)
        elif act == b"afterwards":
            threading.Timer(0.05, os._exit, [1]).start()
        elif act == b"wait":
            time.sleep(0.5)

    return attempt


if __name__ == "__main__":
    Path(sys.argv[1], str(os.getpid())).touch()
    main(prepare)
