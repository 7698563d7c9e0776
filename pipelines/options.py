"""The options of every job, declared once. Flags, help and the tables of the README follow from these classes."""

from dataclasses import dataclass
from datetime import date, timedelta

from pipelines.flags import Days, option, required
from pipelines.forms import MOMENT, RESOURCE
from schemas.errors import Reason, Stage

MADE_WITH = "Key folder that the tables were made with, or a secret; else PENSTOCK_KEYS, else .penstock/keys."
KEYS = "Folder that stands for Cloud KMS where there is none; else PENSTOCK_KEYS, else .penstock/keys, made on first use; or a secret."
SECRETS = "Host of Secret Manager, else SECRET_MANAGER_EMULATOR_HOST, else Google's; loopback is spoken to without TLS."
CONTRACT = "Name of a shipped contract, or a folder that holds one, here or in a bucket."
CONTRACTS = "NAME|DIR|gs://BUCKET/FOLDER"
BIGQUERY = "URL of BigQuery, else BIGQUERY_EMULATOR_HOST, else Google's; loopback (http://localhost:9050) is spoken to without TLS."
BIGQUERY_STORAGE = "Host of the Storage Write API, else BIGQUERY_STORAGE_EMULATOR_HOST, else Google's; loopback is spoken to without TLS."
KMS = "Host of Cloud KMS; a loopback address (localhost:8087) is spoken to without TLS."
STORAGE = "URL of Cloud Storage, else STORAGE_EMULATOR_HOST, else Google's; loopback (http://localhost:9023) is spoken to without TLS."
MANIFEST = "What the files must be (penstock manifest writes it): held against them before the run, and their rows before its commit."
PUBSUB = "Host of Pub/Sub, else PUBSUB_EMULATOR_HOST, else Google's; loopback is spoken to without TLS."


@dataclass(frozen=True)
class OfContract:
    """What the data is."""

    contract: str = required(CONTRACT, metavar=CONTRACTS)
    storage_endpoint: str = option("", STORAGE, metavar="URL", group="Cloud Storage", local=True)


@dataclass(frozen=True)
class _Keys:
    """The key folder, and whether keys may stand in clear."""

    keys: str = option("", KEYS, metavar="DIR|projects/P/secrets/S/versions/N", group="Keys")
    secrets_endpoint: str = option("", SECRETS, metavar="HOST:PORT", group="Keys", local=True)
    allow_unwrapped_keys: bool = option(False, "Take templates that hold a key in clear: for tests, never for data.", group="Keys", local=True)


@dataclass(frozen=True)
class _Engine(_Keys):
    """What de-identifies, or turns back, and where it runs."""

    engine: str = option("local", "What de-identifies: the templates offline, or Google's DLP service.", choices=("local", "dlp"))
    project: str = option("", "Project that DLP is called and billed in.", metavar="PROJECT", group="DLP")
    location: str = option("global", "Location of DLP: global or a region.", metavar="REGION", group="DLP")
    dlp_endpoint: str = option("", "Host of DLP, such as a region's own; a loopback address (localhost:8085) is spoken to without TLS.",
                              metavar="HOST:PORT", group="DLP")
    requests_per_minute: int = option(0, "The project's DLP quota; 0 for 600, or 100 on a regional (.rep.) host.", metavar="N", minimum=0, group="DLP")
    runner: str = option("DirectRunner", "Beam runner; DirectRunner is FnApiRunner, in one process.", group="Beam", metavar="NAME")


@dataclass(frozen=True)
class _Job(_Engine):
    """What every job that stores events takes."""

    dlp_cache: bool = option(True, "Keep tokens of repeated values in the worker's memory; --dlp_cache=false turns it off.", group="DLP")


@dataclass(frozen=True)
class BatchOptions(_Job, OfContract):
    """penstock batch"""

    input: str = required("Files to read: paths or globs, local or gs://, commas between; NDJSON or CSV (plain or .gz), Avro, Parquet.", metavar="GLOB")
    manifest: str = option("", MANIFEST, metavar="FILE|gs://...", picker="GCS_READ_FILE")
    output: str = required("Folder of the tables, made when missing; or a dataset of BigQuery, whose days are replaced.", metavar="DIR|bq://PROJECT.DATASET")
    partition: Days = option((), "Days (UTC) that this run replaces; rows of other days are refused. Without it the run adds.", metavar="DAY,...")
    run: str = option("", "Id of this run; a scheduler that tries again gives the same one. Else one is made.", metavar="ID",
                      pattern="[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
    bigquery_endpoint: str = option("", BIGQUERY, metavar="URL", group="BigQuery", local=True)
    staging: str = option("", "Where files wait to be loaded, de-identified or sealed: a folder or gs://; else a temporary one.", metavar="DIR|gs://...",
                          group="BigQuery", picker="GCS_WRITE_FOLDER")
    json: bool = option(False, "Print the ledger row as JSON, as the last line.", group="Output", local=True)


@dataclass(frozen=True)
class BackfillOptions(BatchOptions):
    """penstock backfill: what batch takes, but for the days"""

    input: str = required("Files to read, as for batch, with {partition} where the day (2026-03-04) stands.", metavar="GLOB")
    partition: Days = ()
    run: str = ""
    from_: date = required("First day (UTC) of the range; each day is replaced by a run of its own.", metavar="DAY")
    to: date = required("Last day of the range.", metavar="DAY")
    parallel: int = option(2, "Days at once, each a process of its own.", metavar="N", minimum=1)
    empty: str = option("fail", "A day without files: it fails, it is left as it is, or it is replaced by no rows.", choices=("fail", "skip", "replace"))
    json: bool = option(False, "Print the days' ledger rows as JSON, as the last line.", group="Output")


@dataclass(frozen=True)
class StreamOptions(_Job, OfContract):
    """penstock stream"""

    subscription: str = required("Pub/Sub subscription to read: projects/P/subscriptions/S.", metavar="SUBSCRIPTION",
                                 pattern=f"projects/{RESOURCE}/subscriptions/{RESOURCE}", picker="PUBSUB_SUBSCRIPTION")
    output: str = required("Folder of the tables, made when missing; or a dataset of BigQuery.", metavar="DIR|bq://PROJECT.DATASET")
    for_: timedelta = option(timedelta(0), "End after so long; without it, at a signal.", metavar="SPAN", local=True)
    until_idle: timedelta = option(timedelta(0), "End when nothing has come for so long.", metavar="SPAN", local=True)
    wait: timedelta = option(timedelta(seconds=1), "A run starts when the oldest message is that old; 200ms for low latency, 5s for BigQuery's quotas.",
                             metavar="SPAN")
    max_messages: int = option(20_000, "A run starts at so many messages, and takes no more.", metavar="N", minimum=1, local=True)
    id_attribute: str = option("", "Message attribute that holds the id, in place of the contract's field in the body.", metavar="NAME")
    time_attribute: str = option("", "Message attribute that holds the event time (RFC 3339, or milliseconds since 1970).", metavar="NAME")
    pubsub_endpoint: str = option("", PUBSUB, metavar="HOST:PORT", local=True)
    write: str = option("storage_write", "How rows go into BigQuery: Arrow by the Storage Write API, by insertAll, or once by Beam's Java sink (Dataflow).",
                        choices=("storage_write", "insert_all", "exactly_once"), group="BigQuery")
    bigquery_endpoint: str = option("", BIGQUERY, metavar="URL", group="BigQuery", local=True)
    bigquery_storage_endpoint: str = option("", BIGQUERY_STORAGE, metavar="HOST:PORT", group="BigQuery", local=True)
    expansion_service: str = option("", "For exactly_once: the jar of Beam's Java expansion service for Google Cloud, or where one runs; else the jar that "
                                    "Beam keeps.", metavar="JAR|HOST:PORT", group="BigQuery")
    json: bool = option(False, "Print the sum of the runs' books as JSON, as the last line.", group="Output", local=True)
    shards: int = option(64, "On Dataflow: groups of ids, each worked on by one thread at a time. It may not change while a job lives or is updated.",
                         group="Beam", metavar="N", minimum=1)
    runner: str = option("DirectRunner", "Beam runner; DirectRunner is bounded runs on FnApiRunner, DataflowRunner the streaming graph.",
                         group="Beam", metavar="NAME")


@dataclass(frozen=True)
class ReplayOptions(_Job):
    """penstock replay"""

    failures: str = required("The tables: the --output of a job.", metavar="DIR|bq://PROJECT.DATASET")
    private_key: str = option("", "What opens the failures: failures.private.pem of the key folder, or a key version of Cloud KMS.",
                              metavar="FILE|projects/.../cryptoKeyVersions/N")
    contract: str = option("", CONTRACT + " Without it, the shipped one whose name the tables carry.", metavar=CONTRACTS)
    storage_endpoint: str = option("", STORAGE, metavar="URL", group="Cloud Storage", local=True)
    stage: str = option("", "Only failures of this stage.", metavar="STAGE", choices=tuple(map(str, Stage)))
    reason: str = option("", "Only failures with this reason; late rows are left alone unless asked for by --reason=late.", metavar="REASON",
                         choices=tuple(map(str, Reason)))
    run: str = option("", "Only failures of this run.", metavar="RUN")
    since: str = option("", "Only failures of runs that started then or later: a day (UTC), or a time as in RFC 3339.", metavar="TIME",
                        pattern=MOMENT)
    until: str = option("", "Only failures of runs that started before that time, or on that day at the latest.", metavar="TIME", pattern=MOMENT)
    again: bool = option(False, "Try also what a replay by this version of the contract has refused already.")
    dry_run: bool = option(False, "Tell what would be replayed; open nothing, write nothing.", local=True)
    keys: str = option("", MADE_WITH, metavar="DIR|projects/P/secrets/S/versions/N", group="Keys")
    kms_endpoint: str = option("", KMS, metavar="HOST:PORT", group="Keys", local=True)
    bigquery_endpoint: str = option("", BIGQUERY, metavar="URL", group="BigQuery", local=True)
    staging: str = option("", "On Dataflow: where files wait to be loaded, de-identified or sealed.", metavar="gs://BUCKET/FOLDER", group="BigQuery",
                          picker="GCS_WRITE_FOLDER")
    json: bool = option(False, "Print the sum of the runs' books as JSON, as the last line.", group="Output", local=True)


@dataclass(frozen=True)
class WindowsOptions(OfContract):
    """penstock windows"""

    output: str = required("The tables: the --output of a job.", metavar="DIR|bq://PROJECT.DATASET")
    partition: Days = option((), "Days (UTC) whose windows are rebuilt; without it, all.", metavar="DAY,...")
    allow_unwrapped_keys: bool = option(False, "Take templates that hold a key in clear: for tests, never for data.", group="Keys")
    bigquery_endpoint: str = option("", BIGQUERY, metavar="URL", group="BigQuery", local=True)
    json: bool = option(False, "Print what was done as JSON, as the last line.", group="Output")


@dataclass(frozen=True)
class ReidentifyOptions(_Engine, OfContract):
    """penstock reidentify"""

    output: str = required("The tables: the --output of a job, a folder or bq://PROJECT.DATASET.", positional=True, metavar="OUT")
    sql: str = required("A SELECT over them; its answer holds the columns to turn back, and the fields that their contexts come from.",
                        positional=True, metavar="SQL")
    columns: str = required("Columns of the answer whose tokens become values, commas between.", metavar="COLUMN,...")
    purpose: str = required("Why, in words, for the audit row; it may not be empty.")
    destination: str = required("Where the result goes: a folder outside OUT, or a table of another dataset than OUT; new or empty.",
                                metavar="DIR|bq://PROJECT.DATASET.TABLE")
    requested_by: str = option("", "Who asks, for the audit row; else the name of the user. On Dataflow it must be given.", metavar="NAME")
    engine: str = option("local", "What turns tokens back: the one that made them.", choices=("local", "dlp"))
    keys: str = option("", MADE_WITH, metavar="DIR|projects/P/secrets/S/versions/N", group="Keys")
    bigquery_endpoint: str = option("", BIGQUERY, metavar="URL", group="BigQuery", local=True)
    bigquery_storage_endpoint: str = option("", BIGQUERY_STORAGE, metavar="HOST:PORT", group="BigQuery", local=True)
    json: bool = option(False, "Print the audit row as JSON, as the last line.", group="Output", local=True)
