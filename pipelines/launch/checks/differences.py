"""The contract's tables beside those that are there."""

from pipelines.launch.checks.clients import NotChecked, asked
from pipelines.launch.checks.roles import output_of
from pipelines.launch.checks.setting import Setting
from pipelines.sinks.bigquery import dataset
from pipelines.sinks.bigquery_client import Patience
from pipelines.sinks.bigquery_tables import Resource, compare, faults, wanted_tables
from schemas import bigquery
from schemas.errors import Fault, Misconfigured, Transient

_PATIENCE = Patience(seconds=1.0, answer=10.0)


def tables(setting: Setting) -> list[Fault]:
    """What `penstock tables` would refuse, and what is missing."""
    contract = setting.whole()
    try:
        named = dataset(output_of(setting))
    except Misconfigured:
        raise NotChecked("the output is no dataset of BigQuery") from None
    client = setting.launcher.bigquery
    # Policy tags differ from one environment to the other, and are compared by penstock tables --policy_tag.
    wanted, made = wanted_tables(contract, ""), dict[str, Resource]()
    if setting.job == "reidentify":  # it reads events, and makes its audit table
        wanted, made = {"events": wanted["events"]}, bigquery.audit()
    try:
        return [*faults(named, asked(lambda: compare(client, named, wanted, _PATIENCE)), loading=True),
                *faults(named, asked(lambda: compare(client, named, made, _PATIENCE)), loading=False)]
    except Transient as error:
        raise NotChecked(str(error)) from None
    except Misconfigured as error:
        raise NotChecked(error.faults[0].problem) from None
