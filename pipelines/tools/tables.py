"""penstock tables: BigQuery's tables and views beside a contract's. Shows what it would do; --apply does it."""

from pipelines.contracts import load
from pipelines.sinks.bigquery import Dataset, dataset
from pipelines.sinks.bigquery_client import Patience, connect
from pipelines.sinks.bigquery_tables import PLACEHOLDER, Comparison, apply, compare, ddl, faults, location, wanted_tables
from pipelines.sinks.bigquery_views import ViewDifference, apply_view, compare_views
from pipelines.tools.options import TablesOptions
from schemas import bigquery
from schemas.errors import Fault, Misconfigured, Transient
from schemas.views import ddl as ddl_of_view

_PATIENCE = Patience(seconds=30.0)
_KEPT = {"expirationTime": "the table's expiration", "labels": "labels", "encryptionConfiguration": "the key", "tableConstraints": "constraints"}


def run(options: TablesOptions) -> int:
    """Prints DDL and differences; with --apply makes what is missing.

    Raises Misconfigured, with every difference that is refused; then nothing is changed.
    """
    contract, named = load(options.contract, storage_endpoint=options.storage_endpoint), dataset(options.output)
    wanted = wanted_tables(contract, options.policy_tag)
    if not options.policy_tag:
        tagged = [f"{name}.{f['name']}" for name, table in bigquery.tables(contract).items() for f in table["schema"]["fields"] if "policyTags" in f]
        if tagged:
            print(f"-- {PLACEHOLDER} is left out: give --policy_tag to tag {', '.join(tagged)}")
    try:
        client = connect(named.project, options.bigquery_endpoint)
        where = location(client, named, _PATIENCE)
        print(f"-- dataset {named.project}.{named.name}{f' in {where}' if where else ''}\n")
        compared = compare(client, named, wanted, _PATIENCE)
        for table in compared:
            print("\n".join(_told(named, table)), end="\n\n")
        found = faults(named, compared, loading=False)
        if found:
            raise Misconfigured(found)
        due = [table for table in compared if table.present is None or table.added or table.updated]
        views = compare_views(client, named, contract, _columns(compared), _PATIENCE)
        print("\n".join(line for view in views for line in _view_told(named, view)), end="\n\n")
        due_views = [view for view in views if view.due]
        if options.apply:
            for table in due:
                apply(client, named, table, _PATIENCE)
                print(f"-- {table.name}: {'made' if table.present is None else 'changed'}")
            for view in due_views:  # last: they name the tables
                apply_view(client, named, view, _PATIENCE)
                print(f"-- {view.name}: {'changed' if view.there else 'made'}")
    except Transient as error:
        raise Misconfigured([Fault("--output", str(error), "try again, or check --bigquery_endpoint")]) from None
    if not due and not due_views:
        print("-- the tables and views are as the contract declares them")
    elif not options.apply:
        print("-- nothing was changed: --apply does it")
    return 0


def _columns(compared: list[Comparison]) -> list[str]:
    """The columns that events has when its differences are made good, in order."""
    (events,) = (table for table in compared if table.name == "events")
    there = (events.present or events.wanted)["schema"]["fields"]
    return [*(f["name"] for f in there), *events.added]


def _view_told(named: Dataset, view: ViewDifference) -> list[str]:
    """A view as DDL where it is missing or its SQL differs, else one line, and one a difference."""
    if view.foreign:
        return [f"-- {view.name}: = a table of that name is left as it is, and the view is not made"]
    statement = f"{ddl_of_view(f'{named.project}.{named.name}', view.name, view.view)};\n"
    if not view.there:
        return [statement]
    return [f"-- {view.name}: {'differs' if view.differs else 'is as shipped'}", *(f"-- ~ {what} of the view" for what in view.differs),
            *([statement] if "SQL" in view.differs else [])]


def _told(named: Dataset, table: Comparison) -> list[str]:
    """A table as DDL, or its differences, one a line: + is added, ~ updated, ! refused, = left as it is."""
    if table.present is None:
        return [ddl(named, table.name, table.wanted)]
    differences = [f"-- + column {name}" for name in table.added] + [f"-- ~ {what}" for what in table.updated] + [f"-- ! {what}" for what in table.refused]
    left = [f"-- = {words}" for key, words in _KEPT.items() if table.present.get(key)]
    if (table.present.get("timePartitioning") or {}).get("expirationMs") and not table.wanted.get("timePartitioning", {}).get("expirationMs"):
        left.append("-- = the partitions' expiration")
    return [f"-- {table.name}: {'differs' if differences else 'is as declared'}", *differences, *left]
