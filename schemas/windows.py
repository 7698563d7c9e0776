"""Windows of a contract: which kind, over which key, and what is measured in each. Declared in contract.yaml, not coded."""

from dataclasses import dataclass
from datetime import timedelta

from schemas.model import Model


@dataclass(frozen=True)
class Measure:
    """One column of the windows table.

    kind: count, sum, mean, min, max, distinct, quantile, first or last; field: the column of `events` that is measured,
    None for count; at: which quantile, between 0 and 1; type: of the column, one of schemas.fields.TYPES.
    """

    name: str
    kind: str
    field: str | None
    at: float | None
    type: str


@dataclass(frozen=True)
class Windowing:
    """The windows of a contract; plain data.

    kind is fixed, sliding or session. size: length of a fixed or sliding window; period: how far sliding windows are apart
    (size, for fixed ones); gap: the quiet time that ends a session; max_length: no session spans more. lateness: how long
    after the watermark passed its end a window still takes rows. early: how often an open window is told before it closes
    (streaming graph). model: scores a window by its measures.
    """

    kind: str
    size: timedelta
    period: timedelta
    gap: timedelta
    max_length: timedelta
    key: tuple[str, ...]
    lateness: timedelta
    early: timedelta | None
    accumulating: bool
    measures: tuple[Measure, ...]
    model: Model | None
