"""The end of a command by a signal: it finishes what it has in hand."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C or SIGTERM sets; the second one ends the process as ever. For the main thread alone."""
    stop = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def told(number: int, frame: object) -> None:
        stop.set()
        for each in before:
            signal.signal(each, signal.SIG_DFL)

    for number in before:
        signal.signal(number, told)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def unwinding() -> Iterator[None]:
    """SIGTERM ends what is open in order, as Ctrl-C does (files that wait are removed, days that are held let go), and then the process as ever;
    the second one ends it at once. For the main thread; in any other it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ended = False

    def told(number: int, frame: object) -> None:
        nonlocal ended
        ended = True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, told)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if ended else before)
        if ended:
            os.kill(os.getpid(), signal.SIGTERM)
