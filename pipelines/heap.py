"""Where the threads of this process take their memory from."""

import ctypes

_ARENA_MAX = -8  # M_ARENA_MAX of glibc's malloc.h


def one_heap() -> None:
    """All threads share one heap; to be called while there is one thread. Does nothing where malloc is not glibc's.

    By itself glibc gives threads up to eight heaps a core, and each keeps the most that a thread took there. Beam unpickles the parts of every run of a
    stream in a thread of the run's own, with 8 MB for bz2: five heaps kept that after half a minute, twelve of 32 after ten. Beam 2.77 makes the
    thread wherever its parts are made, and to have bz2 give its memory back each time costs more. Threads that take turns seldom wait for a heap.
    """
    option = getattr(ctypes.CDLL(None), "mallopt", None)  # https://man7.org/linux/man-pages/man3/mallopt.3.html
    if option is not None:
        option(_ARENA_MAX, 1)
