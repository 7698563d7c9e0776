"""penstock generate: events of a shipped contract as JSON lines, and the books that must come out of them.

The lines are a pure function of (rows, seed): the same bytes on every machine and version of Python. Those of the census contract
are described in census_lines. Of every other contract there are exactly `rows` lines too: its sample's events in the order of their
time; 3 % repeats, at most NEAR first copies back; 0.1 % conflicts; and 1 % broken lines, made from the contract's own fields.
"""

import itertools
import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from pipelines.progress import Watch
from pipelines.sources import gcs
from pipelines.tools import census_lines
from pipelines.tools.options import GenerateOptions
from pipelines.tools.sequence import Mix, sequence, stream_of, unknown
from pipelines.tools.sequence import day as day_of
from pipelines.tools.truth import STORED, Event, Truth, truth
from schemas import contract as contracts
from schemas.contract import Contract
from schemas.errors import Fault, Misconfigured
from transforms.fates import PROGRESS

ROWS_A_FILE = 250_000
NEAR = 5_000
WRITTEN = "written"


def run(options: GenerateOptions) -> int:
    """Writes the files and prints what must come out of them. Raises Misconfigured."""
    bucket = gcs.client(options.storage_endpoint) if options.output.startswith(gcs.SCHEME) else None
    with tempfile.TemporaryDirectory(prefix="penstock-") as folder, Watch(counted=WRITTEN):
        output = Path(folder) if bucket else Path(options.output)
        for number, day in enumerate(options.partition or [None]):
            place = f"{options.output.rstrip('/')}/{day}" if day else options.output.rstrip("/")
            books = write(options.contract, options.rows, options.seed + number, output / str(day) if day else output, day=day)
            if bucket:
                _put(bucket, output / str(day) if day else output, place)
            print(f"{books.read:,} lines in {place}; truth.json: {books.sentence()}")
    return 0


def _put(bucket: Any, folder: Path, place: str) -> None:
    """Moves the files of a folder to a place in a bucket. Raises Misconfigured."""
    for path in sorted(folder.iterdir()):
        try:
            gcs.put(bucket, f"{place}/{path.name}", path)
        except OSError as error:
            raise Misconfigured([Fault("--output", str(error), "check the bucket, the credentials, the network and --storage_endpoint")]) from None
        path.unlink()


def write(contract: str, rows: int, seed: int, output: Path, rows_a_file: int = ROWS_A_FILE, day: date | None = None) -> Truth:
    """Writes OUTPUT/events-NNNNN-of-NNNNN.ndjson, then OUTPUT/truth.json; earlier files of these names are removed first.

    day: of the times of all events. Raises Misconfigured where the contract is none of the shipped ones, the number of rows is not
    between 1 and 100 million, or the contract's events have the days of a sample and cannot be of that one.
    """
    faults = unknown(contract)
    if day and contract != "census":
        faults.append(Fault("--partition", f"the events of {contract} are of the days of its sample", "leave it out, or generate census"))
    if not 1 <= rows <= 100_000_000:
        faults.append(Fault("--rows", "is not between 1 and 100,000,000", "give the number of lines to write"))
    if faults:
        raise Misconfigured(faults)
    checked = contracts.load(contract)
    output.mkdir(parents=True, exist_ok=True)
    for old in output.iterdir():
        if re.fullmatch(r"events-\d{5}-of-\d{5}\.ndjson|truth\.json", old.name):
            old.unlink()
    stream = events(checked, rows, seed, day)
    fates: Counter[str] = Counter()
    days: Counter[date] = Counter()
    files = -(-rows // rows_a_file)
    written = 0
    for number in range(files):
        with open(output / f"events-{number:05d}-of-{files:05d}.ndjson", "wb", buffering=1 << 20) as file:
            for line, fate, stored_on in itertools.islice(stream, rows_a_file):
                file.write(line + b"\n")
                fates[fate] += 1
                written += 1
                if written % 5_000 == 0:
                    PROGRESS.add(WRITTEN, 5_000)
                if stored_on is not None:
                    days[stored_on] += 1
    books = truth(fates, days, rows, seed, checked)
    (output / "truth.json").write_text(json.dumps(asdict(books), indent=2) + "\n", "utf-8")
    return books


def events(contract: Contract, rows: int, seed: int, day: date | None = None) -> Iterator[Event]:
    """Exactly `rows` lines of a shipped contract, with what must become of each; day: of the times of census."""
    if contract.name == "census":
        start, days = (day, 1) if day else (census_lines.START, census_lines.DAYS)
        return census_lines.events(rows, seed, start, days, contract.max_row_bytes)
    # What is near the end would fall off it: in few rows, copies come sooner.
    mix = Mix(repeats=0.03, conflicts=0.001, broken=0.01, near=max(1, min(NEAR, rows // 20)))
    lines = itertools.islice(sequence(stream_of(contract.name, rows, seed), contract, mix, seed), rows)
    return (Event(line.body, line.fate, day_of(line.sample.time) if line.fate == STORED else None) for line in lines)
