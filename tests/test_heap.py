"""Threads that come and go leave one heap: glibc's own account of a process of Python's."""

import ctypes
import subprocess
import sys

import pytest

COUNTED = """
import ctypes, threading
from pipelines.__main__ import CANNOT_RUN, main
assert main(["{}"]) == CANNOT_RUN  # for want of its options
malloc = ctypes.CDLL(None)
together = threading.Barrier(6)
def thread():
    together.wait()  # all six are alive, each with the heap that glibc gave it
    bytearray(100_000)
    together.wait()
threads = [threading.Thread(target=thread) for _ in range(5)]
for each in threads: each.start()
together.wait()
together.wait()
for each in threads: each.join()
malloc.fdopen.restype = ctypes.c_void_p
out = ctypes.c_void_p(malloc.fdopen(1, b"w"))
malloc.malloc_info(0, out)
malloc.fflush(out)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="malloc is not glibc's: nothing is set")
def test_all_threads_of_a_stream_share_one_heap() -> None:
    stream, batch = (subprocess.run([sys.executable, "-c", COUNTED.format(command)], capture_output=True, check=True).stdout.count(b"<heap nr=")
                     for command in ("stream", "batch"))
    assert stream == 1 < batch, "of a batch glibc decides: where that is one heap too, this test tells nothing"
