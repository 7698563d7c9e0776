"""The views that come with BigQuery's tables: which are missing, which differ, and what makes them as they are shipped."""

from typing import Any, NamedTuple

from google.api_core import exceptions
from google.cloud.bigquery import Client, Table

from pipelines.sinks.bigquery import Dataset
from pipelines.sinks.bigquery_client import Patience, patiently, reason
from pipelines.sinks.bigquery_tables import present
from schemas.contract import Contract
from schemas.errors import Fault, Misconfigured
from schemas.views import View, bigquery

_ALL = "SELECT * FROM"  # of a view that begins so, BigQuery keeps the columns that there were when it was made


class ViewDifference(NamedTuple):
    """One view: what is shipped, whether something of its name is there and whether that is a view (a table of that name is
    somebody's own and is left), and what differs, in words.
    """

    name: str
    view: View
    there: bool = False
    foreign: bool = False
    differs: tuple[str, ...] = ()

    @property
    def due(self) -> bool:
        return not self.there or bool(self.differs)


def compare_views(client: Client, dataset: Dataset, contract: Contract, columns: list[str], patience: Patience) -> list[ViewDifference]:
    """Each shipped view beside the one that is there; columns: those that events is to have. Raises Misconfigured where BigQuery does not let us look."""
    found = []
    for name, view in bigquery(contract, f"{dataset.project}.{dataset.name}").items():
        table = present(client, dataset, name, patience)
        if table is None:
            found.append(ViewDifference(name, view))
        elif table.table_type != "VIEW":
            found.append(ViewDifference(name, view, there=True, foreign=True))
        else:
            known = [field.name for field in table.schema]
            stale = view.sql.startswith(_ALL) and bool(known) and known != columns
            differences = {"SQL": table.view_query != view.sql, "description": table.description != view.doc, "columns": stale}
            found.append(ViewDifference(name, view, True, False, tuple(what for what, differs in differences.items() if differs)))
    return found


def apply_view(client: Client, dataset: Dataset, found: ViewDifference, patience: Patience) -> None:
    """Makes a view, or makes it anew. Raises Misconfigured where it is not let."""
    name = f"{dataset.project}.{dataset.name}.{found.name}"
    made: Any = Table(name)
    made.view_query, made.description = found.view.sql, found.view.doc  # GoogleSQL, by the client's default
    try:
        if found.there:
            patiently(lambda: client.update_table(made, ["view_query", "description"], retry=None, timeout=patience.answer), patience)
        else:
            patiently(lambda: client.create_table(made, exists_ok=True, retry=None, timeout=patience.answer), patience)
    except exceptions.GoogleAPICallError as error:
        raise Misconfigured([Fault(f"bq://{name}", f"could not be made: {reason(error)}", "look at it again: penstock tables")]) from None
