"""`penstock inspect`: what the detectors find in a file's free text, before anything is launched."""

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Literal, TextIO

import pyarrow as pa
from google.cloud.dlp_v2.types import InspectConfig

from pipelines.contracts import load
from pipelines.sources.files import Broken, read
from pipelines.sources.listing import listed, ranges
from pipelines.tools.options import InspectOptions
from schemas.errors import Fault, Misconfigured
from schemas.templates import inspect_template
from transforms.decode import rows_of
from transforms.detectors import tagger as trained
from transforms.detectors.inspector import Finding, Inspector, Tagger
from transforms.detectors.registry import INFO_TYPES

_BLOCK = 2000  # texts looked at together
_MAX_ROW_BYTES = 10_000_000


def run(options: InspectOptions) -> int:
    """Inspects one field of the rows of a file, or lists the infoTypes known. Raises Misconfigured with every fault."""
    if options.list:
        print("\n".join(sorted(INFO_TYPES)))
        return 0
    faults = []
    if bool(options.contract) == bool(options.inspect_template):
        faults.append(Fault("--contract, --inspect_template", "are given both or neither", "give one: it says what to look for"))
    faults += [Fault(f"--{name}", "is missing", f"give --{name}=...") for name in ("input", "field") if not getattr(options, name)]
    if faults:
        raise Misconfigured(faults)
    if options.contract:
        contract = load(options.contract, storage_endpoint=options.storage_endpoint)
        text, where, tagger = contract.inspect, f"{contract.folder}/inspect.json", contract.tagger
    else:
        where, tagger = options.inspect_template, True
        try:
            text = Path(where).read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            raise Misconfigured([Fault("--inspect_template", "cannot be read", "give a file with an InspectTemplate as JSON")]) from None
    form: Literal["table", "json"] = "json" if options.format == "json" else "table"
    config = inspect_template(text, where).inspect_config
    return report(config, _texts(options.input, options.field), form, options.quote, sys.stdout, trained.Tagger() if tagger and options.tagger else None)


def _texts(pattern: str, field: str) -> Iterator[str | None]:
    """The field's text of every row, in the order of the files; None where a row has none, or is no row."""
    for piece in ranges(listed(pattern)):
        for block in read(piece):
            if isinstance(block, Broken):
                yield None
                continue
            for rows, offsets, _, refused in rows_of(block, (), _MAX_ROW_BYTES):
                texts = [(offset, value if isinstance(value := row.get(field), str) else None) for offset, row in zip(offsets, rows)]
                texts += [(offset, None) for _, _, offset, _ in refused]
                yield from (value for _, value in sorted(texts, key=lambda each: each[0]))


def report(
    config: InspectConfig,
    texts: Iterable[str | None],
    form: Literal["table", "json"],
    quote: bool,
    out: TextIO,
    tagger: Tagger | None = None,
) -> int:
    """Writes the findings of every text and, as a table, their sums by infoType and likelihood. Answers the exit code, 0.

    json: one object a text, {"row": 0, "findings": [{"info_type", "likelihood", "start", "end"}]}, rows without findings
    included; offsets in Unicode code points. quote adds what was found, in clear: for a terminal, never for a log.
    Raises Misconfigured with all faults of the config.
    """
    inspector = Inspector.from_config(config, tagger)
    totals: Counter[tuple[str, str]] = Counter()
    rows = found = 0
    if form == "table":
        out.write(f"{'row':>8}  {'infoType':36}  {'likelihood':13}  {'start':>6}  {'end':>6}{'  quote' if quote else ''}\n")
    for row, text, findings in _inspected(inspector, texts):
        rows += 1
        found += bool(findings)
        totals.update((f.info_type, f.likelihood.name) for f in findings)
        if form == "json":
            out.write(json.dumps({"row": row, "findings": [_as_dict(f, text, quote) for f in findings]}, ensure_ascii=False) + "\n")
        else:
            for f in findings:
                shown = f"  {text[f.start : f.end]!r}" if quote else ""
                out.write(f"{row:8}  {f.info_type:36}  {f.likelihood.name:13}  {f.start:6}  {f.end:6}{shown}\n")
    if form == "table":
        out.write(f"\n{rows:,} rows, {found:,} with findings, {sum(totals.values()):,} findings\n")
        for (name, likelihood), count in sorted(totals.items()):
            out.write(f"{count:8,}  {name:36}  {likelihood}\n")
    return 0


def _inspected(inspector: Inspector, texts: Iterable[str | None]) -> Iterator[tuple[int, str, list[Finding]]]:
    remaining, first = iter(texts), 0
    while block := [_storable(text or "") for text in islice(remaining, _BLOCK)]:
        findings = dict(inspector.find_column(pa.array(block, pa.string())))
        for position, text in enumerate(block):
            yield first + position, text, findings.get(position, [])
        first += len(block)


def _storable(text: str) -> str:
    """Lone surrogates, which Arrow cannot hold, as replacement characters: one for one, so that offsets stay."""
    return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text) if not text.isascii() else text


def _as_dict(finding: Finding, text: str, quote: bool) -> dict[str, str | int]:
    shown: dict[str, str | int] = {
        "info_type": finding.info_type,
        "likelihood": finding.likelihood.name,
        "start": finding.start,
        "end": finding.end,
    }
    if quote:
        shown["quote"] = text[finding.start : finding.end]
    return shown
