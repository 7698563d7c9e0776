"""Which files a run reads, and in which pieces."""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems

from pipelines.sources.opening import open_file
from schemas.errors import Fault, Misconfigured

RANGE = 32 << 20  # bytes
_BY_NAME = {".ndjson": "ndjson", ".jsonl": "ndjson", ".json": "ndjson", ".csv": "csv", ".avro": "avro", ".parquet": "parquet"}
_GZIP = b"\x1f\x8b"
_WHERE = "--input"


@dataclass(frozen=True)
class InputFile:
    """A file of a run. size in bytes; index: its place in the sorted list; format: ndjson, csv, ndjson.gz, csv.gz, avro or parquet."""

    path: str
    size: int
    index: int
    format: str


@dataclass(frozen=True)
class Range:
    """The rows of a file that start in [start, stop), in bytes; but for plain ndjson that is the whole file."""

    path: str
    format: str
    index: int
    start: int
    stop: int


def listed(patterns: str) -> tuple[InputFile, ...]:
    """The files that these paths and globs (comma-separated, local or gs://) name, sorted, each once.

    Raises Misconfigured where a pattern names none, or a file's format shows neither in its name nor in its first bytes.
    """
    faults: list[Fault] = []
    sizes: dict[str, int] = {}
    for pattern in filter(None, map(str.strip, patterns.split(","))):
        try:
            found = FileSystems.match([pattern])[0].metadata_list
        except (BeamIOError, ValueError):
            faults.append(Fault(_WHERE, f"{pattern} cannot be listed", "check the path, the credentials and that the place exists"))
            continue
        if not found:
            faults.append(Fault(_WHERE, f"{pattern} matches no file", "check the path; a folder is read by FOLDER/*"))
        sizes.update((file.path, file.size_in_bytes) for file in found)
    if not sizes and not faults:
        faults.append(Fault(_WHERE, "names no file", "give paths or globs, separated by commas"))
    files = []
    for index, (path, size) in enumerate(sorted(sizes.items())):
        try:
            kind = _format(path)
        except OSError:
            faults.append(Fault(_WHERE, f"{path} cannot be read", "check that it is a file, not a folder, and its permissions"))
            continue
        if kind is None:
            faults.append(Fault(_WHERE, f"{path} has no known format",
                                "name it .ndjson, .jsonl, .json or .csv (also with .gz), .avro or .parquet"))
            continue
        files.append(InputFile(path, size, index, kind))
    if faults:
        raise Misconfigured(faults)
    return tuple(files)


def ranges(files: Iterable[InputFile], size: int = RANGE) -> list[Range]:
    """The pieces of about `size` bytes that can be read side by side: only plain ndjson can be entered in its middle."""
    pieces = []
    for file in files:
        step = size if file.format == "ndjson" else max(file.size, 1)
        pieces += [Range(file.path, file.format, file.index, start, min(start + step, file.size))
                   for start in range(0, max(file.size, 1), step)]
    return pieces


def _format(path: str) -> str | None:
    """By name, else by the first bytes. Raises OSError."""
    suffixes = PurePosixPath(path.lower()).suffixes
    packed = suffixes[-1:] == [".gz"]
    kind = _BY_NAME.get("".join(suffixes[-2:-1] if packed else suffixes[-1:]))
    with open_file(path) as file:
        begin = file.read(1024)
    if kind is None:
        kind = _by_bytes(begin)
    elif packed:
        kind += ".gz"
    return None if kind in ("avro.gz", "parquet.gz") else kind


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
