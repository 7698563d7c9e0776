"""What is kept of each time that tokens were turned back: the row, and what keeps it."""

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Protocol

from schemas.tables import REIDENTIFICATIONS

NAMES = tuple(column.name for column in REIDENTIFICATIONS)


@dataclass(frozen=True)
class Reidentification:
    """One row; see schemas.tables.REIDENTIFICATIONS. Times are UTC."""

    run: str
    who: str
    account: str
    purpose: str
    columns: tuple[str, ...]
    contract: str
    engine: str
    query: str
    destination: str
    started: datetime
    ended: datetime
    rows: int = 0
    turned_back: int = 0
    no_token: int = 0

    @staticmethod
    def of(values: dict[str, Any]) -> "Reidentification":
        """The row of a table's values."""
        return Reidentification(**(values | {"columns": tuple(json.loads(values["columns"]))}))

    def values(self) -> dict[str, Any]:
        """The row as a table holds it."""
        return asdict(self) | {"columns": json.dumps(self.columns)}

    def sentence(self) -> str:
        """What was turned back in one line, as a person reads it."""
        return f"{self.rows:,} rows   {self.turned_back:,} values turned back   {self.no_token:,} were no token of these keys"

    def to_json(self) -> str:
        """The row as one JSON object; times as RFC 3339."""
        row = asdict(self) | {"started": self.started.isoformat(), "ended": self.ended.isoformat()}
        return json.dumps({name: row[name] for name in NAMES})


class Audit(Protocol):
    """The table `reidentifications` beside the tables that are asked. Frozen, picklable: workers call it."""

    def prepare(self) -> None:
        """Makes the table where it is missing. Raises Misconfigured where it could not be written to."""
        ...

    def append(self, row: Reidentification) -> None:
        """Commits the row; once, however often it is called for a run."""
        ...

    def find(self, run: str) -> Reidentification | None:
        """The row of a run; None where it has none."""
        ...
