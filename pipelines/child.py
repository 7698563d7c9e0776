"""python -m pipelines.child COMMAND ...: a command as its parent's own: it ends at once when the parent has ended, however that was.

Its stdin is a pipe that nobody writes to and whose other end the parent holds: the system closes that when the parent ends.
"""

import os
import signal
import sys
import threading

from pipelines.__main__ import main


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.exit(main())
