"""What the transformations that cannot be turned back have in common."""

from collections.abc import Sequence


class OneWay:
    """A transformation whose answers hold too little to find the value again."""

    reversible = False

    def reverse(
        self, tokens: Sequence[str], contexts: Sequence[str | int | None] | None = None, info_type: str = ""
    ) -> list[str | None]:
        """Raises TypeError: who turns tokens back asks `reversible` first."""
        raise TypeError(f"{type(self).__name__} cannot be turned back")
