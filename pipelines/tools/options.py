"""The options of the tools that stand beside the jobs, declared once, like those of the jobs."""

from dataclasses import dataclass
from datetime import timedelta

from pipelines.flags import Days, option, required
from pipelines.forms import IMAGE, RESOURCE
from pipelines.launch.profile import JOBS
from pipelines.options import BIGQUERY, CONTRACT, CONTRACTS, KMS, PUBSUB, STORAGE, OfContract
from schemas.errors import Reason

STAND_IN = "A stand-in for Google's other services on this machine, for tests: http://localhost:PORT."
LOCK = "The lock file that the image must have been built from; else requirements.lock, where it is here."
SHIPPED = "Name of a shipped contract: census, contact_center, gaming, telemetry or weblog."


@dataclass(frozen=True)
class TablesOptions(OfContract):
    """penstock tables"""

    output: str = required("Dataset that holds the tables, or is to; it must exist.", metavar="bq://PROJECT.DATASET")
    apply: bool = option(False, "Make what is missing, add new nullable columns, update descriptions and policy tags; nothing else is ever changed.")
    policy_tag: str = option("", "Policy tag of the columns that tell something about a person; without it they are made without one.",
                             metavar="projects/P/locations/L/taxonomies/T/policyTags/N",
                             pattern=f"projects/{RESOURCE}/locations/{RESOURCE}/taxonomies/{RESOURCE}/policyTags/{RESOURCE}")
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
    output: str = required("Folder for the files and truth.json, made when missing; or a place in a bucket.", metavar="DIR|gs://BUCKET/FOLDER")
    rows: int = option(20000, "Lines to write, faults included.", metavar="N", minimum=1)
    seed: int = option(7, "Same seed, same bytes.", metavar="N", minimum=0)
    partition: Days = option((), "Days (UTC): for each so many lines of that day alone, in a folder of its name below the output. For census.",
                             metavar="DAY,...")
    storage_endpoint: str = option("", STORAGE, metavar="URL", group="Cloud Storage")


@dataclass(frozen=True)
class PublishOptions:
    """penstock publish"""

    contract: str = required(SHIPPED, positional=True, metavar="CONTRACT")
    topic: str = required("Pub/Sub topic to publish to: projects/P/topics/T.", metavar="TOPIC", pattern=f"projects/{RESOURCE}/topics/{RESOURCE}")
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
                               pattern=f"projects/{RESOURCE}/subscriptions/{RESOURCE}", group="Pub/Sub")
    pubsub_endpoint: str = option("", PUBSUB,
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
class DescribeOptions(OfContract):
    """penstock describe"""

    format: str = option("markdown", "The data dictionary as text or JSON, BigQuery's table schemas, or its views as SQL.",
                         choices=("markdown", "json", "bigquery", "views"))
    output: str = option("bq://PROJECT.DATASET", "Dataset that the views are made in, over the tables there; a lake has them already.",
                         metavar="bq://PROJECT.DATASET", pattern=r"bq://[A-Za-z0-9:.-]+\.[A-Za-z0-9_]+")


@dataclass(frozen=True)
class KeysOptions:
    """penstock keys"""

    folder: str = required("Folder to make.", positional=True, metavar="DIR")
    secret: str = option("", "New file for what a secret of Secret Manager must hold: master key and public key; of a folder that is there, too.",
                         metavar="FILE")


@dataclass(frozen=True)
class OpenOptions:
    """penstock open"""

    output: str = required("The tables: the --output of a job.", positional=True, metavar="DIR|bq://PROJECT.DATASET")
    private_key: str = required("What opens the failures: failures.private.pem of the key folder, or a key version of Cloud KMS.",
                                metavar="FILE|projects/.../cryptoKeyVersions/N")
    reason: str = option("", "Only failures with this reason.", metavar="REASON", choices=tuple(map(str, Reason)))
    run: str = option("", "Only failures of this run.", metavar="RUN")
    kms_endpoint: str = option("", KMS, metavar="HOST:PORT", group="Keys", local=True)
    bigquery_endpoint: str = option("", BIGQUERY, metavar="URL", group="BigQuery", local=True)


@dataclass(frozen=True)
class InspectOptions:
    """penstock inspect"""

    contract: str = option("", CONTRACT + " Its inspect.json says what to look for.", metavar=CONTRACTS)
    storage_endpoint: str = option("", STORAGE, metavar="URL", group="Cloud Storage", local=True)
    inspect_template: str = option("", "A DLP InspectTemplate as JSON, in place of a contract's.", metavar="FILE")
    input: str = option("", "Files to look into, as for batch.", metavar="GLOB")
    field: str = option("", "The field that holds the text.", metavar="FIELD")
    format: str = option("table", "A table with sums, or one JSON object a row.", choices=("table", "json"))
    quote: bool = option(False, "Show what was found, in clear: for a terminal, not for a log.")
    tagger: bool = option(True, "Look for names, places, organisations and addresses with the trained tagger too, unless the contract turns it off.")
    list: bool = option(False, "List the infoTypes known, and stop.")


@dataclass(frozen=True)
class PlanOptions(OfContract):
    """penstock plan"""

    rate: int = required("Events a second.", metavar="N", minimum=1)
    profile: str = option("", "Profile of the environment (docs/launch.md): machines, engine, quotas; without it, Google's published quotas.", metavar="FILE")
    bytes: int = option(0, "Bytes of an event as it is published; 0 for those of the contract's sample.", metavar="N", minimum=0)
    cpu: float = option(0.0, "CPU seconds for 1,000 events, in place of the benchmark's.", metavar="SECONDS")
    json: bool = option(False, "Print the plan as JSON.", group="Output")


@dataclass(frozen=True)
class LaunchOptions:
    """penstock launch"""

    action: str = required("validate asks whether it would run; run starts it; update puts today's graph in place of the running one; drain ends a "
                           "stream when what it holds is stored; cancel ends a job at once; status tells.", positional=True,
                           metavar="validate|run|update|drain|cancel|status")
    job: str = required("The job that the template runs.", choices=JOBS)
    profile: str = required("Profile of the environment (docs/launch.md).", metavar="FILE")
    transform_name_mapping: str = option("", "For an update: transforms that were renamed, beside the profile's, as Beam takes them.",
                                         metavar='{"OLD":"NEW",...}')
    force: bool = option(False, "Update though the check says that Dataflow would refuse it, or lose what a step holds, or though the running graph "
                         "cannot be read: Dataflow's own check has the last word.")
    dataflow_endpoint: str = option("", "URL of Dataflow, else Google's; loopback (http://localhost:9070) is spoken to without TLS.", metavar="URL")
    lock: str = option("", LOCK, metavar="FILE")
    endpoint: str = option("", STAND_IN, metavar="URL")
    storage_endpoint: str = option("", STORAGE, metavar="URL", group="Cloud Storage")
    json: bool = option(False, "Print the job as JSON, as the last line.", group="Output")


@dataclass(frozen=True)
class SpecOptions:
    """penstock spec"""

    job: str = required("The job that the template runs.", choices=JOBS)
    image: str = required("Image of launcher and workers, by digest: a tag may be moved.", metavar="HOST/PATH@sha256:...", pattern=IMAGE)
    output: str = option("", "File to write; without it the spec is printed.", metavar="FILE|gs://BUCKET/FILE.json")
    storage_endpoint: str = option("", STORAGE, metavar="URL", group="Cloud Storage")


@dataclass(frozen=True)
class CheckOptions:
    """penstock check"""

    job: str = required("The job that is to be launched.", choices=JOBS)
    profile: str = required("Profile of the environment (docs/launch.md).", metavar="FILE")
    rate: int = option(0, "Events a second that a stream must carry, in place of the profile's; held against the quotas.", metavar="N", minimum=0)
    lock: str = option("", LOCK, metavar="FILE")
    endpoint: str = option("", STAND_IN, metavar="URL")
    json: bool = option(False, "Print what was found as JSON.", group="Output")
