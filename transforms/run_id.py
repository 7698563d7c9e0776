"""Which run rows belong to: its id, or what tells it where one graph is kept for many runs."""

from collections.abc import Callable

RunId = str | Callable[[], str]


def told(run: RunId) -> str:
    """The id of the run that is on."""
    return run if isinstance(run, str) else run()
