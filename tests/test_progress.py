"""Progress: rows a second and the fates so far; what is told of an error is its place alone."""

import errno
import io
import itertools
import time

import pytest

from pipelines.progress import Watch
from transforms.fates import Progress
from transforms.unquoted import frames


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_line() -> None:
    seconds = itertools.chain([100.0], itertools.repeat(102.0))
    watch = Watch(progress := Progress(), io.StringIO(), lambda: next(seconds))
    with watch:
        progress.add("read", 5_000)
        progress.add("stored", 4_000)
        progress.add("refused", 10)
        assert watch.line() == "5,000 read   2,500 rows/s   stored 4,000   refused 10"


def test_a_terminal_is_left_clean() -> None:
    out = Terminal()
    with Watch(Progress(), out):
        pass
    assert out.getvalue().endswith("\r\x1b[K")


def test_a_file_is_not_written_to_in_a_short_run() -> None:
    out, began = io.StringIO(), time.monotonic()
    with Watch(Progress(), out):
        pass
    assert out.getvalue() == "" or time.monotonic() - began >= 10, "a machine may make it a long one"


def test_frames_tell_types_and_places_and_no_text() -> None:
    with pytest.raises(RuntimeError) as error:
        try:
            int("secret-123")
        except ValueError:
            raise RuntimeError("secret-456") from None
    told = frames(error.value)
    assert told.startswith("RuntimeError from ValueError at") and "test_progress.py" in told and "secret" not in told


def test_frames_tell_a_full_disk() -> None:
    assert frames(OSError(errno.ENOSPC, "secret-123")).startswith("OSError (the disk is full) at") and "disk" not in frames(OSError(errno.EIO, "secret-123"))
