"""Where the threads of this process take their memory from."""

import ctypes

_ARENA_MAX = -8  # M_ARENA_MAX of glibc's malloc.h


def one_heap() -> None:
    """All threads share one heap; to be called while there is one thread. Does nothing where malloc is not glibc's.

    By itself glibc gives threads up to eight heaps a core, and each keeps the most that a thread ever took there. Every run of a stream unpickles its
    parts in a thread of its own, with 8 MB for bz2: the heaps filled with that one by one, for half an hour. Threads of Python seldom wait for a heap.
    """
    option = getattr(ctypes.CDLL(None), "mallopt", None)  # https://man7.org/linux/man-pages/man3/mallopt.3.html
    if option is not None:
        option(_ARENA_MAX, 1)
