"""What a run that adds must know of the rows stored before it: two digests and the event time, 24 bytes a row."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from pipelines.sinks.lake_catalog import write_connection
from transforms.marks import Marks


@dataclass(frozen=True)
class Stored:
    """Answers the marks of stored rows, sorted by id. Plain data, so it can be pickled to a worker on this machine.

    time: the column of the event time. 0.25 s and 60 MB at its highest for a million rows.
    """

    folder: str
    time: str

    def __call__(self, first_day: date | None = None, last_day: date | None = None) -> Marks:
        """The rows whose day lies between these two, both included; None leaves that side open."""
        days = " AND ".join(f"d {sign} DATE '{day.isoformat()}'" for sign, day in ((">=", first_day), ("<=", last_day)) if day)
        connection = write_connection(Path(self.folder))
        try:
            found = connection.execute(f'SELECT id_hash, content_hash, epoch_us("{self.time}") AS time FROM lake.events'
                                       + (f" WHERE {days}" if days else "")).to_arrow_table()
        finally:
            connection.close()
        return Marks(*(column.to_numpy() for column in found.columns)).by_id()
