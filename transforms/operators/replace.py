"""replaceConfig: one fixed value."""

from collections.abc import Sequence
from dataclasses import dataclass

from transforms.operators.oneway import OneWay
from transforms.operators.operator import Value


@dataclass(frozen=True)
class Replace(OneWay):
    """Answers `new`, of its own type, for every value.

    Interchangeable with DLP: the answers are the same; there is no token.
    """

    new: Value
    deterministic = True

    def __call__(
        self, values: Sequence[Value], contexts: Sequence[str | int | None] | None = None, info_type: str = ""
    ) -> list[Value | None]:
        return [self.new] * len(values)
