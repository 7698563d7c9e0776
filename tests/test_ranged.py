"""A file of Cloud Storage, read by ranges: as a local one, little ahead, nothing kept."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.sources.gcs import Changed
from pipelines.sources.ranged import AHEAD, FIRST, KEPT, STEP, RangedFile


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 3 * STEP), st.integers(0, 3 * STEP), st.lists(st.tuples(st.integers(0, 3 * STEP), st.integers(0, 2 * STEP)), max_size=8), st.one_of(st.none(), st.integers(0, 3 * STEP)))
def test_reads_as_a_local_file_does(size: int, start: int, reads: list[tuple[int, int]], until: int | None) -> None:
    data = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    with io.BufferedReader(RangedFile(lambda first, stop: data[first:stop], size, min(start, size), until), 1 << 16) as file:
        for at, length in reads:
            file.seek(at)
            assert file.read(length) == data[at:at + length]
        assert file.seek(0, io.SEEK_END) == size and file.read(1) == b""


def test_what_is_read_on_is_fetched_once_ahead_and_not_kept() -> None:
    fetched: list[tuple[int, int]] = []

    def fetch(start: int, stop: int) -> bytes:
        fetched.append((start, stop))
        return bytes(stop - start)

    size = 3 * KEPT
    file = RangedFile(fetch, size, until=2 * KEPT)
    while file.tell() < 2 * KEPT:
        assert len(file.read(1 << 20)) > 0
        assert sum(s.stop - s.start for s in file._segments) <= KEPT
        assert max(stop for _, stop in fetched) <= file.tell() + (AHEAD + 1) * STEP
    edges = [0, FIRST, 3 * FIRST, 7 * FIRST, *range(15 * FIRST, 2 * KEPT, STEP), 2 * KEPT]
    assert sorted(fetched) == list(zip(edges, edges[1:]))
    file.read(10)
    assert 0 < fetched[-1][1] - 2 * KEPT < FIRST, "beyond, little is fetched"
    file.seek(0)
    file.read(10)
    assert fetched[-1] == (0, FIRST)
    file.close()


@pytest.mark.parametrize(("until", "least"), [(4 * STEP, AHEAD * STEP), (None, FIRST)])
def test_who_reads_in_order_waits_once_and_who_jumps_fetches_little(until: int | None, least: int) -> None:
    asked: list[int] = []

    def fetch(start: int, stop: int) -> bytes:
        asked.append(stop)
        return bytes(stop - start)

    with RangedFile(fetch, 4 * STEP, until=until) as file:
        file.read(1)
        file._threads.shutdown()  # what was asked for has come
    assert least <= max(asked) < least + STEP


def test_an_error_of_a_fetch_is_the_reader_s() -> None:
    def fetch(start: int, stop: int) -> bytes:
        raise Changed("it was replaced")

    with io.BufferedReader(RangedFile(fetch, 100)) as file, pytest.raises(Changed):
        file.read(1)
