"""`penstock manifest`: reads files as the job would, and writes what each must be when the job reads it."""

import os
import sys
import tempfile
from pathlib import Path

from pipelines.sources.broken import Broken
from pipelines.sources.files import read
from pipelines.sources.gcs import Changed
from pipelines.sources.listing import InputFile, listed, ranges
from pipelines.sources.manifest import Entry, crc32c_of
from pipelines.tools.options import ManifestOptions
from schemas.errors import Fault, Misconfigured


def run(options: ManifestOptions) -> int:
    """Writes the manifest; exit code 1, and no file, where one of the inputs is damaged or changes meanwhile. Raises Misconfigured."""
    output = Path(options.output)
    if not output.parent.is_dir():
        raise Misconfigured([Fault("--output", "is in a folder that is not there", "make the folder first")])
    entries: list[Entry] = []
    problems: list[str] = []
    for file in listed(options.input, options.storage_endpoint):
        try:
            rows = _rows(file, options.storage_endpoint)
            sum_ = crc32c_of(file)
        except Changed as error:
            problems.append(str(error))
            continue
        except OSError:
            problems.append(f"{file.path} cannot be read")
            continue
        if rows is None:
            problems.append(f"{file.path} is damaged: not all of it can be taken apart into rows")
        else:
            entries.append(Entry(file.path, file.generation, file.size, sum_, rows))
    for problem in problems:
        print(f"penstock manifest: {problem}", file=sys.stderr)
    if problems:
        return 1
    _write(output, "".join(f"{entry.to_json()}\n" for entry in entries))
    print(f"{len(entries):,} files, {sum(e.size or 0 for e in entries):,} bytes, {sum(e.rows or 0 for e in entries):,} rows: {output}")
    return 0


def _rows(file: InputFile, endpoint: str) -> int | None:
    """How many rows a file has, None where some of it cannot be read. Raises OSError."""
    rows = 0
    for piece in ranges([file]):
        for part in read(piece, endpoint=endpoint):
            if isinstance(part, Broken):
                return None
            rows += part.rows
    return rows


def _write(output: Path, text: str) -> None:
    """The whole file or none: a job may be waiting for it."""
    descriptor, name = tempfile.mkstemp(dir=output.parent, prefix=f".{output.name}.")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(name, 0o644)
    os.replace(name, output)
