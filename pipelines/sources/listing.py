"""Which files a run reads, and in which pieces."""

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems

from pipelines.sources import gcs
from pipelines.sources.opening import open_file
from schemas.errors import Fault, Misconfigured

RANGE = 32 << 20  # bytes
_BY_NAME = {".ndjson": "ndjson", ".jsonl": "ndjson", ".json": "ndjson", ".csv": "csv", ".avro": "avro", ".parquet": "parquet"}
_GZIP = b"\x1f\x8b"
_WHERE = "--input"


@dataclass(frozen=True)
class InputFile:
    """A file of a run. size in bytes; index: its place in the sorted list; format: ndjson, csv, ndjson.gz, csv.gz, avro or parquet.

    generation and crc32c (base64) are those of an object on GCS; a local file has neither.
    """

    path: str
    size: int
    index: int
    format: str
    generation: int | None = None
    crc32c: str = ""


@dataclass(frozen=True)
class Range:
    """The rows of a file that start in [start, stop), in bytes; but for plain ndjson that is the whole file.

    size and generation: those of an object on GCS, whose other generations are not read.
    """

    path: str
    format: str
    index: int
    start: int
    stop: int
    size: int = 0
    generation: int | None = None


def listed(patterns: str, endpoint: str = "") -> tuple[InputFile, ...]:
    """The files that these paths and globs (comma-separated, local or gs://) name, sorted, each once.

    endpoint: of GCS, where it is not the usual one. Raises Misconfigured where a pattern names none, or a file's format
    shows neither in its name nor in its first bytes.
    """
    faults: list[Fault] = []
    found: dict[str, gcs.Object | int] = {}
    for pattern in filter(None, map(str.strip, patterns.split(","))):
        try:
            matches = _matching(pattern, endpoint)
        except Misconfigured as error:
            faults += error.faults
            continue
        if not matches:
            faults.append(Fault(_WHERE, f"{pattern} matches no file", "check the path; a folder is read by FOLDER/*"))
        found |= matches
    if not found and not faults:
        faults.append(Fault(_WHERE, "names no file", "give paths or globs, separated by commas"))
    files = []
    for index, (path, listing) in enumerate(sorted(found.items())):
        remote = listing if isinstance(listing, gcs.Object) else None
        size = remote.size if remote else int(listing)  # type: ignore[arg-type]
        try:
            kind = _format(path, remote, endpoint)
        except OSError:
            faults.append(Fault(_WHERE, f"{path} cannot be read", "check that it is a file, not a folder, and its permissions"))
            continue
        if kind is None:
            faults.append(Fault(_WHERE, f"{path} has no known format",
                                "name it .ndjson, .jsonl, .json or .csv (also with .gz), .avro or .parquet"))
            continue
        files.append(InputFile(path, size, index, kind, remote.generation if remote else None, remote.crc32c if remote else ""))
    if faults:
        raise Misconfigured(dict.fromkeys(faults))
    return tuple(files)


def _matching(pattern: str, endpoint: str) -> dict[str, "gcs.Object | int"]:
    """What a path or glob names: objects of GCS, or the sizes of other files. Raises Misconfigured."""
    if pattern.startswith(gcs.SCHEME):
        return {found.path: found for found in gcs.matching(gcs.client(endpoint), pattern)}
    try:
        return {file.path: file.size_in_bytes for file in FileSystems.match([pattern])[0].metadata_list}
    except (BeamIOError, ValueError):
        raise Misconfigured([Fault(_WHERE, f"{pattern} cannot be listed", "check the path, the credentials and that the place exists")]) from None


def ranges(files: Iterable[InputFile], size: int = RANGE) -> list[Range]:
    """The pieces of about `size` bytes that can be read side by side: only plain ndjson can be entered in its middle."""
    pieces = []
    for file in files:
        step = size if file.format == "ndjson" else max(file.size, 1)
        pieces += [Range(file.path, file.format, file.index, start, min(start + step, file.size), file.size, file.generation)
                   for start in range(0, max(file.size, 1), step)]
    return pieces


def groups(pieces: Iterable[Range], size: int = RANGE) -> Iterator[tuple[Range, ...]]:
    """The pieces as they are read by one task: those of local files alone; small ones of objects, which answer after a while, together."""
    group: list[Range] = []
    for piece in pieces:
        if group and (piece.generation is None or sum(p.stop - p.start for p in group) >= size):
            yield tuple(group)
            group = []
        if piece.generation is None:
            yield (piece,)
        else:
            group.append(piece)
    if group:
        yield tuple(group)


def _format(path: str, remote: gcs.Object | None, endpoint: str) -> str | None:
    """By name, else by the first bytes. Raises OSError."""
    suffixes = PurePosixPath(path.lower()).suffixes
    packed = suffixes[-1:] == [".gz"]
    kind = _BY_NAME.get("".join(suffixes[-2:-1] if packed else suffixes[-1:]))
    begin = b"" if remote and kind else _first_bytes(path, remote, endpoint)  # a request for each of many objects takes its time
    if kind is None:
        kind = _by_bytes(begin)
    elif packed or (remote and remote.packed):
        kind += ".gz"
    return None if kind in ("avro.gz", "parquet.gz") else kind


def _first_bytes(path: str, remote: gcs.Object | None, endpoint: str) -> bytes:
    with open_file(path, remote.size, remote.generation, 0, 1024, endpoint) if remote else open_file(path) as file:
        return file.read(1024)


def _by_bytes(begin: bytes) -> str | None:
    if begin.startswith(b"Obj\x01"):
        return "avro"
    if begin.startswith(b"PAR1"):
        return "parquet"
    if begin.startswith(_GZIP):
        try:
            inner = zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(begin, 64)
        except zlib.error:
            return None
        return "ndjson.gz" if inner.lstrip().startswith(b"{") else None
    return "ndjson" if begin.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{") else None
