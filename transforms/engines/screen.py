"""Texts that are stored as they are may not be identifiers as a whole: an e-mail address in place of a case number.

The same check as the local engine's, by the same detectors, so that both engines refuse the same rows. It costs no call.
"""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from google.cloud.dlp_v2 import types

from schemas.contract import Contract
from schemas.rules import Comparison, Rule
from schemas.templates import inspect_template, requested
from transforms.detectors.inspector import Inspector
from transforms.detectors.registry import INFO_TYPES
from transforms.engines.conditions import holds
from transforms.engines.layout import Layout


class Screen:
    """Looks for the infoTypes of inspect.json that our detectors know; DLP's others and custom ones are not looked for here."""

    def __init__(self, contract: Contract, layout: Layout) -> None:
        wanted = requested(inspect_template(contract.inspect, contract.folder))
        known = [types.InfoType(name=name) for name in wanted if name in INFO_TYPES]
        self._inspector = Inspector.from_config(types.InspectConfig(info_types=known)) if known else None
        # Open texts, and the conditions under which their rules hold; none where a rule always holds.
        self._open: Mapping[str, list[tuple[Comparison, ...]]] = {
            f.name: [rule.condition for rule in _of(f.name, layout) if rule.condition is not None] for f in contract.fields
            if f.type == "string" and f.privacy in ("public", "sensitive") and f.values is None
            and all(rule.condition is not None for rule in _of(f.name, layout))}

    def refused(self, batch: pa.RecordBatch) -> dict[int, str]:
        """Rows that hold an identifier in the open, and the first field that does."""
        found: dict[int, str] = {}
        for name, conditions in self._open.items() if self._inspector is not None else ():
            hit = self._inspector.whole(batch[name])  # type: ignore[union-attr]
            for condition in conditions:
                hit = pc.and_not(hit, holds(condition, batch))
            for position in np.flatnonzero(hit.to_numpy(zero_copy_only=False)).tolist():
                found.setdefault(position, name)
        return found


def _of(name: str, layout: Layout) -> list[Rule]:
    return [rule for rule in layout.rules if name in rule.fields]
