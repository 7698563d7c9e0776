"""Tokens turned back offline, by the key folder that they were made with."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from schemas.contract import Contract
from schemas.errors import Fault, Misconfigured
from transforms.engines.cells import Context, Primitive, contexts_of, transform
from transforms.engines.plan import key_of
from transforms.engines.reversal import Reversal, Values, reversals
from transforms.keys import Keys
from transforms.operators.build import build
from transforms.operators.operator import Operator, Value


@dataclass(frozen=True)
class LocalReverser:
    """What starts it on a worker. proven: False where it is known that other keys made the tokens: then FPE, which cannot
    tell, answers nothing."""

    contract: Contract
    columns: tuple[str, ...]
    keys: Keys
    proven: bool = True

    def faults(self) -> list[Fault]:
        """Every column that cannot be turned back, and keys that are missing."""
        found, faults = reversals(self.contract, self.columns)
        for reversal in found:
            try:
                self.operator(reversal)
            except Misconfigured as misconfigured:
                faults += misconfigured.faults
        return faults

    def operator(self, reversal: Reversal) -> Operator:
        """Raises Misconfigured."""
        return build(reversal.primitive, key_of(self.keys), f"{self.contract.folder}/deidentify.json: {reversal.path}")

    def start(self) -> "_Local":
        return _Local(self)


class _Local:
    def __init__(self, config: LocalReverser) -> None:
        self.config = config

    def setup(self) -> None:
        """Reads the keys. Raises Misconfigured."""
        c = self.config
        found, _ = reversals(c.contract, c.columns)
        self._made = [(r, Primitive(_Backwards(c.operator(r)), r.context, None), Values(c.contract, r)) for r in found]

    def reverse(self, batch: pa.RecordBatch) -> dict[str, pa.Array]:
        return {r.field.name: values.of(self._texts(batch, r, primitive)) for r, primitive, values in self._made}

    def _texts(self, batch: pa.RecordBatch, reversal: Reversal, primitive: Primitive) -> pa.Array:
        tokens = batch[reversal.field.name]
        if reversal.is_fpe and not self.config.proven:
            return pa.nulls(len(tokens), pa.string())
        return transform(tokens, contexts_of(batch[reversal.context]) if reversal.context else None, primitive, pa.string())


@dataclass(frozen=True)
class _Backwards:
    """An operator whose way is the way back."""

    operator: Operator
    deterministic: bool = True
    reversible: bool = False

    def __call__(self, values: Sequence[Value], contexts: Sequence[Context] | None = None, info_type: str = "") -> list[Value | None]:
        return [*self.operator.reverse([str(v) for v in values], contexts, info_type)]

    def reverse(self, tokens: Sequence[str], contexts: Sequence[Context] | None = None, info_type: str = "") -> list[str | None]:
        raise NotImplementedError
