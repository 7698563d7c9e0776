"""What every operator is: a function over a list of values.

A value is what a cell of a table may be: str, int, float, bool, date or datetime. The engine calls an operator once per
batch with the distinct values of a column, or with the findings of one infoType in free text.
"""

from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Protocol

Value = str | int | float | bool | date | datetime
KeyOf = Callable[[object, int], bytes]
"""(google.cloud.dlp_v2.types.CryptoKey, size in bytes) -> the key. The engine supplies it."""


class Operator(Protocol):
    """One primitive transformation, ready to run."""

    @property
    def reversible(self) -> bool:
        """Can `reverse` turn tokens back."""
        ...

    @property
    def deterministic(self) -> bool:
        """Same value, same context, same answer: in this process and in the next."""
        ...

    def __call__(
        self, values: Sequence[Value], contexts: Sequence[str | int | None] | None = None, info_type: str = ""
    ) -> list[Value | None]:
        """One answer a value, in order; None where the value cannot be transformed (its row is refused).

        values hold no null; contexts, where the configuration names a context field, has one entry a value.
        """
        ...

    def reverse(
        self, tokens: Sequence[str], contexts: Sequence[str | int | None] | None = None, info_type: str = ""
    ) -> list[str | None]:
        """The values behind these tokens; None where a token is not one of ours. Only where `reversible`."""
        ...
