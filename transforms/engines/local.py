"""The local engine: the contract's own DLP templates, carried out here, without a service.

A row is refused (not_deidentified) where a transformation has no answer for a value, where a value that it must change
comes out as it was, where a text that is stored as it is turns out to be an identifier as a whole, and where a record
suppression holds for it. DLP leaves such a row out of its answer; here every row that is read ends in the books, so it
is refused, without a field.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.contract import Contract
from schemas.errors import Fault, Misconfigured, Reason
from schemas.templates import inspect_template
from transforms.batch import Refusal, with_column
from transforms.detectors import inspector
from transforms.detectors.tagger import Tagger
from transforms.engines import plan
from transforms.engines.conditions import holds
from transforms.engines.free_text import Finding, Inspector
from transforms.keys import Keys


@dataclass(frozen=True)
class LocalEngine:
    """What starts the local engine on a worker. inspector: in place of the one that inspect.json describes."""

    contract: Contract
    keys: Keys
    inspector: Inspector | None = None

    def faults(self) -> list[Fault]:
        """Everything in the templates that this engine cannot do, and keys that are missing."""
        found: list[Fault] = []
        for attempt in (self._inspector, lambda: plan.make(self.contract, self.keys, _Blind())):
            try:
                attempt()
            except Misconfigured as misconfigured:
                found += misconfigured.faults
        return found

    def start(self) -> "Local":
        return Local(self)

    def _inspector(self) -> Inspector:
        if self.inspector is not None:
            return self.inspector
        template = inspect_template(self.contract.inspect, f"{self.contract.folder}/inspect.json")
        return inspector.Inspector.from_config(template.inspect_config, Tagger() if self.contract.tagger else None)


class Local:
    """The engine at work. It keeps nothing from one batch to the next, so threads may share it."""

    def __init__(self, config: LocalEngine) -> None:
        self.config = config

    def setup(self) -> None:
        """Reads keys, builds operators and detectors. Raises Misconfigured."""
        self.inspector = self.config._inspector()
        self.plan = plan.make(self.config.contract, self.config.keys, self.inspector)

    def deidentify(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, list[Refusal]]:
        """The rows as stored, and those refused, each under the first field that failed in the contract's order."""
        stored = batch
        refused: list[tuple[str | None, pa.BooleanArray]] = [(None, holds(c, batch)) for c in self.plan.suppressed]
        for column in self.plan.columns:
            if column.steps:
                cells, failed, left = column.transformed(batch)
                stored = with_column(stored, column.name, cells)
                refused.append((column.name, failed))
                if column.screened:
                    refused.append((column.name, pc.and_(left, self._identifiers(batch[column.name]))))
            elif column.screened:
                refused.append((column.name, self._identifiers(batch[column.name])))
        reasons: dict[int, str | None] = {}
        for name, rows in refused:
            for position in np.flatnonzero(rows.to_numpy(zero_copy_only=False)).tolist():
                reasons.setdefault(position, name)
        if not reasons:
            return stored, []
        kept = np.ones(batch.num_rows, bool)
        kept[list(reasons)] = False
        return (stored.filter(pa.array(kept)),
                [Refusal(position, Reason.NOT_DEIDENTIFIED, reasons[position]) for position in sorted(reasons)])

    def _identifiers(self, column: pa.Array) -> pa.BooleanArray:
        return pc.fill_null(self.inspector.whole(column), False)


class _Blind:
    """Finds nothing: stands in while a plan is only checked, so that no detector is loaded twice."""

    def find_column(self, texts: pa.StringArray) -> list[tuple[int, list[Finding]]]:
        return []

    def whole(self, texts: pa.StringArray) -> pa.BooleanArray:
        return pa.array([False] * len(texts))
