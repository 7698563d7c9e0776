"""Rows of a batch as JSON, the form in which a refused row is sealed."""

from collections.abc import Sequence

import orjson
import pyarrow as pa


def as_json(batch: pa.RecordBatch, names: Sequence[str], positions: Sequence[int]) -> list[bytes]:
    """The columns `names` of the rows at these positions, one JSON object a row; times are RFC 3339 with an offset."""
    rows = batch.select(list(names)).take(pa.array(positions, pa.int64())).to_pylist()
    return [orjson.dumps(row, option=orjson.OPT_NAIVE_UTC) for row in rows]
