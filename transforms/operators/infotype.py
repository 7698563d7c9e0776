"""replaceWithInfoTypeConfig: what it was in place of what it said."""

from collections.abc import Sequence
from dataclasses import dataclass

from transforms.operators.oneway import OneWay
from transforms.operators.operator import Value


@dataclass(frozen=True)
class InfoTypeName(OneWay):
    """Answers the finding's infoType in brackets, such as [EMAIL_ADDRESS].

    None where there is no infoType: DLP accepts this transformation for findings alone, never for a whole field.

    Interchangeable with DLP: the answers are the same; there is no token.
    """

    deterministic = True

    def __call__(
        self, values: Sequence[Value], contexts: Sequence[str | int | None] | None = None, info_type: str = ""
    ) -> list[Value | None]:
        return [f"[{info_type}]" if info_type else None] * len(values)
