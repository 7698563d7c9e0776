"""What a plan measures of a contract: the events of its sample, taken the way that a job takes them.

The sample is FOLDER/sample.ndjson: made-up events as they are published. Nothing leaves this machine: the local engine
de-identifies them, and requests to DLP are packed, weighed and thrown away.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from google.cloud.dlp_v2 import types

from pipelines.plan.model import DlpShare
from schemas.arrow import stored_columns
from schemas.contract import MAX_BYTES, Contract
from schemas.errors import Fault, Misconfigured
from schemas.place import content
from schemas.templates import deidentify_template, inspect_template
from transforms import keys
from transforms.columns import Typing
from transforms.decode import Digest, decode
from transforms.engines.asking import FIRST_RATE
from transforms.engines.combinations import combinations
from transforms.engines.layout import lay_out
from transforms.engines.local import Local, LocalEngine
from transforms.engines.packing import Answers, Limits, Packer
from transforms.engines.wire import text_bytes
from transforms.formats.block import Block, Message
from transforms.keys import Keys

SAMPLE = "sample.ndjson"
MOST = 2_000
"""Lines of the sample that are looked at: what a batch of a stream holds at most."""
LATER = {"score": 8, "label": 1, "contract_version": 6, "policy_digest": 66, "model_name": 20, "model_version": 6, "model_digest": 66,
         "run": 26, "watermark": 8}
"""Bytes that BigQuery counts of the columns which Infer and Load add."""


@dataclass(frozen=True)
class Sample:
    """Means of the sample's events. event_bytes: of the message's data; stored_bytes: of the row of `events`, as BigQuery counts them."""

    rows: int
    event_bytes: float
    stored_bytes: float
    dlp: DlpShare


def lines(contract: Contract) -> list[bytes]:
    """The sample's first events. Raises Misconfigured where the contract has none."""
    path = contract.place / SAMPLE
    try:
        found = [line for line in content(path, MAX_BYTES).splitlines() if line.strip()][:MOST]
    except OSError:
        found = []
    if not found:
        raise Misconfigured([Fault(str(path), "is missing or empty: there is nothing to measure the plan by",
                                   "put some made-up events there, one JSON object a line, as they are published")])
    return found


def measure(contract: Contract) -> Sample:
    """What a plan needs to know of the contract's events. Raises Misconfigured where there is no sample that the contract takes."""
    found = lines(contract)
    with tempfile.TemporaryDirectory() as folder:
        # Made-up events, and nothing is kept: the key protects nothing. The same one each time plans the same each time.
        (Path(folder) / keys.MASTER).write_bytes(bytes(32))
        ring = Keys(folder)
        batch = _decoded(contract, ring, found)
        if not batch.num_rows:
            raise Misconfigured([Fault(str(contract.place / SAMPLE), "holds no event that the contract takes",
                                       "run `penstock batch` over it: its failures say why")])
        stored = _stored_bytes(contract, LocalEngine(contract, ring).start(), batch)
    return Sample(len(found), sum(map(len, found)) / len(found), stored, dlp_share(contract, batch))


def _decoded(contract: Contract, ring: Keys, found: Sequence[bytes]) -> pa.RecordBatch:
    messages = tuple(Message(line, str(number), 1 << 60, {}) for number, line in enumerate(found))
    block = Block("sample", "messages", 0, 0, len(messages), b"", messages=messages)
    return decode(block, contract, Typing(contract), Digest(contract, ring.derive("row digests")))[0]


def _stored_bytes(contract: Contract, engine: Local, batch: pa.RecordBatch) -> float:
    """Mean of a row. https://cloud.google.com/bigquery/pricing#data says what a value counts."""
    engine.setup()
    masked = engine.deidentify(batch)[0]
    total = 0.0
    for column in stored_columns(contract):
        if column.name in masked.schema.names:
            total += logical_bytes(masked[column.name]) / max(1, masked.num_rows)
        elif contract.model is not None or not column.name.startswith(("model_", "score", "label")):
            total += LATER.get(column.name, 8)
    return total


def logical_bytes(column: pa.Array) -> int:
    """What BigQuery counts of a column: 8 for a number, a day or a time, 1 for a truth, a text's UTF-8 and 2, nothing for a null."""
    there = len(column) - column.null_count
    kind = column.type
    if pa.types.is_dictionary(kind):
        return logical_bytes(column.cast(kind.value_type))
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return int(text_bytes(column).sum()) + 2 * int(there)
    return int(there if pa.types.is_boolean(kind) else 8 * there)


def dlp_share(contract: Contract, batch: pa.RecordBatch) -> DlpShare:
    """A batch as the dlp engine would pack it, nothing of it known from before. Values that come again within the batch are sent once,
    as the engine does; a real batch is longer, and repeats more.
    """
    layout = lay_out(contract)
    if not layout.groups:
        return DlpShare(0.0, 0.0, 0.0)
    listed, limits = combinations(batch, layout), Limits()
    room = limits.bytes - _configuration(contract)
    packer = Packer(listed, [np.arange(len(c)) for c in listed], [Answers.none(c) for c in listed], layout, limits.bytes - room, limits)
    table = types.Table.pb(types.Table())
    packer.fill(table, 0, len(packer))
    inspected = packer.inspected_bytes(0, len(packer))
    transformed = sum(int(text_bytes(c.cells[name].cast(pa.string())).sum()) for c in listed for name in c.group.transformed)
    rows = len(table.rows)
    # Of the limits of a request, the one that a full batch comes to first.
    requests = max(table.ByteSize() / room, rows * len(layout.header) / limits.cells, rows / limits.rows, inspected * FIRST_RATE / limits.findings)
    return DlpShare(requests / batch.num_rows, inspected / batch.num_rows, transformed / batch.num_rows)


def _configuration(contract: Contract) -> int:
    """Bytes of a request's templates, and some to spare for its names."""
    said = types.DeidentifyContentRequest(deidentify_config=deidentify_template(contract.deidentify, contract.folder).deidentify_config,
                                          inspect_config=inspect_template(contract.inspect, contract.folder).inspect_config)
    return int(types.DeidentifyContentRequest.pb(said).ByteSize()) + 1_000
