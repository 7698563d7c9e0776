"""A manifest: what the files of a run must be, one JSON object a line:

    {"object": "gs://raw/2026-11-19/a.ndjson.gz", "generation": 1795241007726780, "size": 41873, "crc32c": "RI3CAg==", "rows": 500}

crc32c is base64 of the big-endian bytes, as GCS has it (https://cloud.google.com/storage/docs/data-validation). A local file
has no generation. Checked twice: before anything is read (which files, generation, size, crc32c), and after all was read
and before anything is committed (rows), since a file that is cut between two rows looks whole to whoever reads it.
"""

import json
import os
from base64 import b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import google_crc32c

from pipelines.sources import gcs
from pipelines.sources.listing import InputFile
from pipelines.sources.opening import open_file
from schemas.errors import Fault, Misconfigured

_WHERE = "--manifest"
_LARGEST = 256 << 20  # bytes: over a million files
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Entry:
    """What one file must be. size in bytes; None: not said. object: a path or gs:// name."""

    object: str
    generation: int | None = None
    size: int | None = None
    crc32c: str | None = None
    rows: int | None = None

    def to_json(self) -> str:
        return json.dumps({f.name: getattr(self, f.name) for f in fields(self)})


def crc32c_of(file: InputFile) -> str:
    """The checksum that GCS has of the object, or that of the local file, read for it. Raises OSError."""
    if file.crc32c:
        return file.crc32c
    sum_: Any = google_crc32c.Checksum()  # type: ignore[no-untyped-call]
    with open_file(file.path) as content:
        while chunk := content.read(_CHUNK):
            sum_.update(chunk)
    return b64encode(sum_.digest()).decode()


def read_manifest(path: str, endpoint: str = "") -> dict[str, Entry]:
    """The entries of a manifest (a local file or gs://: JSON lines, or one JSON list), by file. Raises Misconfigured, with every fault."""
    text = _text(path, endpoint)
    faults: list[Fault] = []
    entries: dict[str, Entry] = {}
    for number, value in _values(text, faults):
        entry = _entry(number, value, faults)
        if entry is not None and _key(entry.object) in entries:
            faults.append(Fault(f"{_WHERE}, entry {number}", "names a file that stands in it already", "name each file once"))
        elif entry is not None:
            entries[_key(entry.object)] = entry
    if not entries and not faults:
        faults.append(Fault(_WHERE, "names no file", "write one with penstock manifest"))
    if faults:
        raise Misconfigured(faults)
    return entries


def check(files: Iterable[InputFile], entries: dict[str, Entry]) -> dict[int, tuple[str, int]]:
    """Holds the files, as listed, against the manifest; answers the (path, rows) that must be found, by the file's index.

    Raises Misconfigured with every difference: a file that is missing, or not in the manifest, another generation, size or crc32c.
    """
    faults: list[Fault] = []
    expected: dict[int, tuple[str, int]] = {}
    left = dict(entries)
    for file in files:
        entry = left.pop(_key(file.path), None)
        if entry is None:
            faults.append(Fault(file.path, "is not in the manifest", "take it out of --input, or write the manifest anew"))
            continue
        faults += _differences(file, entry)
        if entry.rows is not None:
            expected[file.index] = file.path, entry.rows
    faults += [Fault(entry.object, "is in the manifest, and --input names no such file", "wait until it is there, or write the manifest anew")
               for entry in left.values()]
    if faults:
        raise Misconfigured(faults)
    return expected


def _differences(file: InputFile, entry: Entry) -> Iterator[Fault]:
    remedy = "deliver the file again, or write the manifest anew"
    if entry.generation is not None and entry.generation != file.generation:
        yield Fault(file.path, "is another generation than the manifest says: it was replaced", remedy)
    if entry.size is not None and entry.size != file.size:
        yield Fault(file.path, f"has {file.size:,} bytes, the manifest says {entry.size:,}", remedy)
    elif entry.crc32c is not None:
        try:
            if crc32c_of(file) != entry.crc32c:
                yield Fault(file.path, "has another crc32c than the manifest says: its content differs", remedy)
        except OSError:
            yield Fault(file.path, "cannot be read", "check its permissions")


def _key(path: str) -> str:
    return path if "://" in path else os.path.abspath(path)


def _text(path: str, endpoint: str) -> str:
    try:
        if path.startswith(gcs.SCHEME):
            found = gcs.matching(gcs.client(endpoint), path, _WHERE)
            if len(found) != 1:
                raise Misconfigured([Fault(_WHERE, f"{path} names no object", "check the name")])
            with open_file(path, found[0].size, found[0].generation, endpoint=endpoint) as file:
                return file.read(_LARGEST).decode()
        with open_file(path) as file:
            return file.read(_LARGEST).decode()
    except (OSError, UnicodeDecodeError):
        raise Misconfigured([Fault(_WHERE, f"{path} cannot be read", "give a file in UTF-8, as penstock manifest writes it")]) from None


def _values(text: str, faults: list[Fault]) -> Iterator[tuple[int, Any]]:
    """(number, value) of each entry."""
    if text.lstrip().startswith("["):
        try:
            yield from enumerate(json.loads(text), 1)
        except ValueError:
            faults.append(Fault(_WHERE, "is not JSON", "give JSON lines, or one list"))
        return
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except ValueError:
                faults.append(Fault(f"{_WHERE}, line {number}", "is not JSON", "give one JSON object a line"))


def _entry(number: int, value: Any, faults: list[Fault]) -> Entry | None:
    where = f"{_WHERE}, entry {number}"
    names = [f.name for f in fields(Entry)]
    if not isinstance(value, dict) or not isinstance(value.get("object"), str) or not set(value) <= set(names):
        faults.append(Fault(where, "is no entry", f"give an object with {', '.join(names)}; all but the first may be null"))
        return None
    if isinstance(value.get("generation"), str) and value["generation"].isdecimal():
        value["generation"] = int(value["generation"])  # as GCS's JSON API writes it
    wrong = [name for name in ("generation", "size", "rows") if not _whole(value.get(name))]
    wrong += [] if isinstance(value.get("crc32c"), str | None) else ["crc32c"]
    if wrong:
        faults.append(Fault(where, f"has no fit value for {', '.join(wrong)}", "give whole numbers, and crc32c as base64 text"))
        return None
    return Entry(**value)


def _whole(value: Any) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0)
