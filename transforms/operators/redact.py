"""redactConfig: nothing left."""

from collections.abc import Sequence
from dataclasses import dataclass

from transforms.operators.oneway import OneWay
from transforms.operators.operator import Value


@dataclass(frozen=True)
class Redact(OneWay):
    """Answers the empty string for every value: a finding vanishes from its text, a cell is emptied.

    Interchangeable with DLP: the answers are the same; there is no token.
    """

    deterministic = True

    def __call__(
        self, values: Sequence[Value], contexts: Sequence[str | int | None] | None = None, info_type: str = ""
    ) -> list[Value | None]:
        return [""] * len(values)
