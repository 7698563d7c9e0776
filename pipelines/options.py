"""The options of every command, declared once. Flags, help and the tables of the README follow from these classes."""

from dataclasses import dataclass
from datetime import date, timedelta

from pipelines.flags import Days, option, required

KEYS = "Folder that stands for Cloud KMS where there is none; else PENSTOCK_KEYS, else .penstock/keys, made on first use."
CONTRACT = "Name of a shipped contract, or a folder that holds one."
BIGQUERY = "URL of BigQuery, else BIGQUERY_EMULATOR_HOST, else Google's; loopback (http://localhost:9050) is spoken to without TLS."
STORAGE = "URL of Cloud Storage, else STORAGE_EMULATOR_HOST, else Google's; loopback (http://localhost:9023) is spoken to without TLS."
MANIFEST = "What the files must be (penstock manifest writes it): held against them before the run, and their rows before its commit."
SHIPPED = "Name of a shipped contract: census, contact_center, gaming, telemetry or weblog."


@dataclass(frozen=True)
class BatchOptions:
    """penstock batch"""

    contract: str = required(CONTRACT, metavar="NAME|DIR")
    input: str = required("Files to read: paths or globs, local or gs://, commas between; NDJSON or CSV (plain or .gz), Avro, Parquet.", metavar="GLOB")
    manifest: str = option("", MANIFEST, metavar="FILE|gs://...")
    output: str = required("Folder of the tables, made when missing; or a dataset of BigQuery, whose days are replaced.", metavar="DIR|bq://PROJECT.DATASET")
    partition: Days = option((), "Days (UTC) that this run replaces; rows of other days are refused. Without it the run adds.", metavar="DAY,...")
    run: str = option("", "Id of this run; a scheduler that tries again gives the same one. Else one is made.", metavar="ID",
                      pattern="[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
    engine: str = option("local", "What de-identifies: the templates offline, or Google's DLP service.", choices=("local", "dlp"))
    keys: str = option("", KEYS, metavar="DIR", group="Keys")
    allow_unwrapped_keys: bool = option(False, "Take templates that hold a key in clear: for tests, never for data.", group="Keys")
    project: str = option("", "Project that DLP is called and billed in.", metavar="PROJECT", group="DLP")
    location: str = option("global", "Location of DLP: global or a region.", metavar="REGION", group="DLP")
    dlp_endpoint: str = option("", "Host of DLP; a loopback address (localhost:8085) is spoken to without TLS.", metavar="HOST:PORT", group="DLP")
    requests_per_minute: int = option(0, "The project's DLP quota; 0 for 600, or 100 on a regional (.rep.) host.", metavar="N", minimum=0, group="DLP")
    dlp_cache: bool = option(True, "Keep tokens of repeated values in the worker's memory; --dlp_cache=false turns it off.", group="DLP")
    bigquery_endpoint: str = option("", BIGQUERY, metavar="URL", group="BigQuery")
    staging: str = option("", "Where files wait to be loaded, de-identified or sealed: a folder or gs://; else a temporary one.", metavar="DIR|gs://...",
                          group="BigQuery")
    storage_endpoint: str = option("", STORAGE, metavar="URL", group="Cloud Storage")
    json: bool = option(False, "Print the ledger row as JSON, as the last line.", group="Output")
    runner: str = option("DirectRunner", "Beam runner; DirectRunner is FnApiRunner, in one process.", group="Beam", metavar="NAME")


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
class StreamOptions:
    """penstock stream"""

    contract: str = required(CONTRACT, metavar="NAME|DIR")
    subscription: str = required("Pub/Sub subscription to read: projects/P/subscriptions/S.", metavar="SUBSCRIPTION",
                                 pattern="projects/[^/]+/subscriptions/[^/]+")
    output: str = required("Folder of the tables; made when missing.", metavar="DIR")
    for_: timedelta = option(timedelta(0), "End after so long; without it, at a signal.", metavar="SPAN")
    until_idle: timedelta = option(timedelta(0), "End when nothing has come for so long.", metavar="SPAN")
    wait: timedelta = option(timedelta(seconds=1), "A run starts when the oldest message is that old; 200ms for low latency.", metavar="SPAN")
    max_messages: int = option(20_000, "A run starts at so many messages, and takes no more.", metavar="N", minimum=1)
    id_attribute: str = option("", "Message attribute that holds the id, in place of the contract's field in the body.", metavar="NAME")
    time_attribute: str = option("", "Message attribute that holds the event time (RFC 3339, or milliseconds since 1970).", metavar="NAME")
    pubsub_endpoint: str = option("", "Host of Pub/Sub, else PUBSUB_EMULATOR_HOST, else Google's; loopback is spoken to without TLS.", metavar="HOST:PORT")
    engine: str = option("local", "What de-identifies: the templates offline, or Google's DLP service.", choices=("local", "dlp"))
    keys: str = option("", KEYS, metavar="DIR", group="Keys")
    allow_unwrapped_keys: bool = option(False, "Take templates that hold a key in clear: for tests, never for data.", group="Keys")
    project: str = option("", "Project that DLP is called and billed in.", metavar="PROJECT", group="DLP")
    location: str = option("global", "Location of DLP: global or a region.", metavar="REGION", group="DLP")
    dlp_endpoint: str = option("", "Host of DLP; a loopback address (localhost:8085) is spoken to without TLS.", metavar="HOST:PORT", group="DLP")
    requests_per_minute: int = option(0, "The project's DLP quota; 0 for 600, or 100 on a regional (.rep.) host.", metavar="N", minimum=0, group="DLP")
    dlp_cache: bool = option(True, "Keep tokens of repeated values in the worker's memory; --dlp_cache=false turns it off.", group="DLP")
    json: bool = option(False, "Print the sum of the runs' books as JSON, as the last line.", group="Output")
    runner: str = option("DirectRunner", "Beam runner; DirectRunner is bounded runs on FnApiRunner, DataflowRunner the streaming graph.",
                         group="Beam", metavar="NAME")


@dataclass(frozen=True)
class ReplayOptions:
    """penstock replay"""

    failures: str = required("The tables: the --output of a job.", metavar="OUT")
    private_key: str = option("", "What opens the failures: failures.private.pem of the key folder, or a key version of Cloud KMS.",
                              metavar="FILE|projects/.../cryptoKeyVersions/N")
    contract: str = option("", CONTRACT + " Without it, the shipped one whose name the tables carry.", metavar="NAME|DIR")
    stage: str = option("", "Only failures of this stage.", metavar="STAGE")
    reason: str = option("", "Only failures with this reason; late rows are left alone unless asked for by --reason=late.", metavar="REASON")
    run: str = option("", "Only failures of this run.", metavar="RUN")
    since: str = option("", "Only failures of runs that started then or later: a day (UTC), or a time as in RFC 3339.", metavar="TIME")
    until: str = option("", "Only failures of runs that started before that time, or on that day at the latest.", metavar="TIME")
    again: bool = option(False, "Try also what a replay by this version of the contract has refused already.")
    dry_run: bool = option(False, "Tell what would be replayed; open nothing, write nothing.")
    engine: str = option("local", "What de-identifies: the templates offline, or Google's DLP service.", choices=("local", "dlp"))
    keys: str = option("", "Key folder that the tables were made with; else PENSTOCK_KEYS, else .penstock/keys.", metavar="DIR", group="Keys")
    allow_unwrapped_keys: bool = option(False, "Take templates that hold a key in clear: for tests, never for data.", group="Keys")
    kms_endpoint: str = option("", "Host of Cloud KMS; a loopback address (localhost:8087) is spoken to without TLS.", metavar="HOST:PORT", group="Keys")
    project: str = option("", "Project that DLP is called and billed in.", metavar="PROJECT", group="DLP")
    location: str = option("global", "Location of DLP: global or a region.", metavar="REGION", group="DLP")
    dlp_endpoint: str = option("", "Host of DLP; a loopback address (localhost:8085) is spoken to without TLS.", metavar="HOST:PORT", group="DLP")
    requests_per_minute: int = option(0, "The project's DLP quota; 0 for 600, or 100 on a regional (.rep.) host.", metavar="N", minimum=0, group="DLP")
    dlp_cache: bool = option(True, "Keep tokens of repeated values in the worker's memory; --dlp_cache=false turns it off.", group="DLP")
    json: bool = option(False, "Print the sum of the runs' books as JSON, as the last line.", group="Output")
    runner: str = option("DirectRunner", "Beam runner; DirectRunner is FnApiRunner, in one process.", group="Beam", metavar="NAME")


@dataclass(frozen=True)
class WindowsOptions:
    """penstock windows"""

    contract: str = required(CONTRACT, metavar="NAME|DIR")
    output: str = required("The tables: the --output of a job.", metavar="DIR")
    partition: Days = option((), "Days (UTC) whose windows are rebuilt; without it, all.", metavar="DAY,...")
    allow_unwrapped_keys: bool = option(False, "Take templates that hold a key in clear: for tests, never for data.", group="Keys")
    json: bool = option(False, "Print what was done as JSON, as the last line.", group="Output")


@dataclass(frozen=True)
class TablesOptions:
    """penstock tables"""

    contract: str = required(CONTRACT, metavar="NAME|DIR")
    output: str = required("Dataset that holds the tables, or is to; it must exist.", metavar="bq://PROJECT.DATASET")
    apply: bool = option(False, "Make what is missing, add new nullable columns, update descriptions and policy tags; nothing else is ever changed.")
    policy_tag: str = option("", "Policy tag of the columns that tell something about a person; without it they are made without one.",
                             metavar="projects/P/locations/L/taxonomies/T/policyTags/N",
                             pattern="projects/[^/]+/locations/[^/]+/taxonomies/[^/]+/policyTags/[^/]+")
    bigquery_endpoint: str = option("", BIGQUERY, metavar="URL")


@dataclass(frozen=True)
class ManifestOptions:
    """penstock manifest"""

    input: str = required("Files to read and count, as for batch.", metavar="GLOB")
    output: str = required("File to write: one JSON object a file.", metavar="FILE")
    storage_endpoint: str = option("", STORAGE, metavar="URL", group="Cloud Storage")


@dataclass(frozen=True)
class GenerateOptions:
    """penstock generate"""

    contract: str = required(SHIPPED, positional=True, metavar="CONTRACT")
    output: str = required("Folder for the files and truth.json.", metavar="DIR")
    rows: int = option(20000, "Lines to write, faults included.", metavar="N", minimum=1)
    seed: int = option(7, "Same seed, same bytes.", metavar="N", minimum=0)


@dataclass(frozen=True)
class PublishOptions:
    """penstock publish"""

    contract: str = required(SHIPPED, positional=True, metavar="CONTRACT")
    topic: str = required("Pub/Sub topic to publish to: projects/P/topics/T.", metavar="TOPIC", pattern="projects/[^/]+/topics/[^/]+")
    rows: int = option(20000, "Events to publish; repeats, conflicts and broken messages come on top.", metavar="N", minimum=1)
    rate: int = option(0, "Messages a second; 0: as fast as it goes.", metavar="N", minimum=0)
    seed: int = option(7, "Same seed, same messages in the same order.", metavar="N", minimum=0)
    repeats: float = option(0.0, "Share of the events that are published again a little later, as a new message.", metavar="SHARE", maximum=1.0)
    conflicts: float = option(0.0, "Share of the events that other content under the same id follows: it must be refused.", metavar="SHARE", maximum=1.0)
    malformed: float = option(0.0, "Share of the events that a broken copy follows: malformed, of wrong type, with a missing or an unknown field.",
                              metavar="SHARE", maximum=1.0)
    disorder: timedelta = option(timedelta(0), "No event comes after one whose time is more than this later.", metavar="SPAN")
    late: float = option(0.0, "Share of the events that are held back until their windows are closed.", metavar="SHARE", maximum=1.0)
    now: bool = option(False, "Event times as if the events happened as they are published: takes a --rate.")
    truth: str = option("truth.json", "File for the books that must come out.", metavar="FILE", group="Output")
    json: bool = option(False, "Print the books as JSON, as the last line.", group="Output")
    create: bool = option(False, "Make the topic, and the subscription, where they are missing.", group="Pub/Sub")
    subscription: str = option("", "With --create: a subscription to the topic, projects/P/subscriptions/S.", metavar="SUBSCRIPTION",
                               pattern="projects/[^/]+/subscriptions/[^/]+", group="Pub/Sub")
    pubsub_endpoint: str = option("", "Host of Pub/Sub, else PUBSUB_EMULATOR_HOST, else Google's; loopback is spoken to without TLS.",
                                  metavar="HOST:PORT", group="Pub/Sub")


@dataclass(frozen=True)
class QueryOptions:
    """penstock query"""

    output: str = required("The tables: the --output of a job.", positional=True, metavar="OUT")
    sql: str = required("A SELECT over events, failures and runs.", positional=True, metavar="SQL")
    format: str = option("table", "How the answer is printed.", choices=("table", "csv", "json"))
    bigquery_endpoint: str = option("", BIGQUERY, metavar="URL", group="BigQuery")
    maximum_bytes_billed: int = option(1 << 30, "A query that would read more is refused, unbilled.", metavar="BYTES", minimum=1, group="BigQuery")


@dataclass(frozen=True)
class DescribeOptions:
    """penstock describe"""

    contract: str = required(CONTRACT, metavar="NAME|DIR")
    format: str = option("markdown", "The data dictionary as text or JSON, BigQuery's table schemas, or its views as SQL.",
                         choices=("markdown", "json", "bigquery", "views"))
    output: str = option("bq://PROJECT.DATASET", "Dataset that the views are made in, over the tables there; a lake has them already.",
                         metavar="bq://PROJECT.DATASET", pattern=r"bq://[A-Za-z0-9:.-]+\.[A-Za-z0-9_]+")


@dataclass(frozen=True)
class KeysOptions:
    """penstock keys"""

    folder: str = required("Folder to make.", positional=True, metavar="DIR")


@dataclass(frozen=True)
class OpenOptions:
    """penstock open"""

    output: str = required("The tables: the --output of a job.", positional=True, metavar="OUT")
    private_key: str = required("Private key that opens the failures (failures.private.pem of the key folder).", metavar="FILE")
    reason: str = option("", "Only failures with this reason.", metavar="REASON")
    run: str = option("", "Only failures of this run.", metavar="RUN")


@dataclass(frozen=True)
class InspectOptions:
    """penstock inspect"""

    contract: str = option("", CONTRACT + " Its inspect.json says what to look for.", metavar="NAME|DIR")
    inspect_template: str = option("", "A DLP InspectTemplate as JSON, in place of a contract's.", metavar="FILE")
    input: str = option("", "Files to look into, as for batch.", metavar="GLOB")
    field: str = option("", "The field that holds the text.", metavar="FIELD")
    format: str = option("table", "A table with sums, or one JSON object a row.", choices=("table", "json"))
    quote: bool = option(False, "Show what was found, in clear: for a terminal, not for a log.")
    tagger: bool = option(True, "Look for names, places, organisations and addresses with the trained tagger too, unless the contract turns it off.")
    list: bool = option(False, "List the infoTypes known, and stop.")


@dataclass(frozen=True)
class ReidentifyOptions:
    """penstock reidentify"""

    output: str = required("The tables: the --output of a job.", positional=True, metavar="OUT")
    sql: str = required("A SELECT over them; its answer holds the columns to turn back, and the fields that their contexts come from.",
                        positional=True, metavar="SQL")
    contract: str = required(CONTRACT, metavar="NAME|DIR")
    columns: str = required("Columns of the answer whose tokens become values, commas between.", metavar="COLUMN,...")
    purpose: str = option("", "Why, in words, for the audit row; it may not be empty.")
    destination: str = required("Folder for the result, new or empty, outside OUT; only its owner may read it.", metavar="DIR")
    requested_by: str = option("", "Who asks, for the audit row; else the name of the user.", metavar="NAME")
    engine: str = option("local", "What turns tokens back: the one that made them.", choices=("local", "dlp"))
    keys: str = option("", "Key folder that the tables were made with; else PENSTOCK_KEYS, else .penstock/keys.", metavar="DIR", group="Keys")
    allow_unwrapped_keys: bool = option(False, "Take templates that hold a key in clear: for tests, never for data.", group="Keys")
    project: str = option("", "Project that DLP is called and billed in.", metavar="PROJECT", group="DLP")
    location: str = option("global", "Location of DLP: global or a region.", metavar="REGION", group="DLP")
    dlp_endpoint: str = option("", "Host of DLP; a loopback address (localhost:8085) is spoken to without TLS.", metavar="HOST:PORT", group="DLP")
    requests_per_minute: int = option(0, "The project's DLP quota; 0 for 600, or 100 on a regional (.rep.) host.", metavar="N", minimum=0, group="DLP")
    json: bool = option(False, "Print the audit row as JSON, as the last line.", group="Output")
    runner: str = option("DirectRunner", "Beam runner; DirectRunner is FnApiRunner, in one process.", group="Beam", metavar="NAME")
