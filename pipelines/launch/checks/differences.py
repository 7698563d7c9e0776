"""The contract's tables beside those that are there."""

from pipelines.launch.checks.clients import NotChecked, asked
from pipelines.launch.checks.roles import output_of
from pipelines.launch.checks.setting import Setting
from pipelines.sinks.bigquery import dataset
from pipelines.sinks.bigquery_client import Patience
from pipelines.sinks.bigquery_tables import compare, faults, wanted_tables
from schemas.errors import Fault, Misconfigured, Transient

_PATIENCE = Patience(seconds=1.0, answer=10.0)


def tables(setting: Setting) -> list[Fault]:
    """What `penstock tables` would refuse, and what is missing."""
    contract = setting.whole()
    if setting.job == "reidentify":
        raise NotChecked("this job makes no tables")
    try:
        named = dataset(output_of(setting))
    except Misconfigured:
        raise NotChecked("the output is no dataset of BigQuery") from None
    client = setting.launcher.bigquery
    try:
        # Policy tags differ from one environment to the other, and are compared by penstock tables --policy_tag.
        return faults(named, asked(lambda: compare(client, named, wanted_tables(contract, ""), _PATIENCE)), loading=True)
    except Transient as error:
        raise NotChecked(str(error)) from None
    except Misconfigured as error:
        raise NotChecked(error.faults[0].problem) from None
