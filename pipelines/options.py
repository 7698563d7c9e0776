"""The options of every command, declared once. Flags, help and the tables of the README follow from these classes."""

from dataclasses import dataclass

from pipelines.flags import Days, option, required

KEYS = "Folder that stands for Cloud KMS where there is none; else PENSTOCK_KEYS, else .penstock/keys, made on first use."
CONTRACT = "Name of a shipped contract, or a folder that holds one."


@dataclass(frozen=True)
class BatchOptions:
    """penstock batch"""

    contract: str = required(CONTRACT, metavar="NAME|DIR")
    input: str = required("Files to read: paths or globs, commas between; NDJSON or CSV (plain or .gz), Avro, Parquet.", metavar="GLOB")
    output: str = required("Folder of the tables; made when missing.", metavar="DIR")
    partition: Days = option((), "Days (UTC) that this run replaces; rows of other days are refused. Without it the run adds.", metavar="DAY,...")
    engine: str = option("local", "What de-identifies: the templates offline, or Google's DLP service.", choices=("local", "dlp"))
    keys: str = option("", KEYS, metavar="DIR", group="Keys")
    allow_unwrapped_keys: bool = option(False, "Take templates that hold a key in clear: for tests, never for data.", group="Keys")
    project: str = option("", "Project that DLP is called and billed in.", metavar="PROJECT", group="DLP")
    location: str = option("global", "Location of DLP: global or a region.", metavar="REGION", group="DLP")
    dlp_endpoint: str = option("", "Host of DLP; a loopback address (localhost:8085) is spoken to without TLS.", metavar="HOST:PORT", group="DLP")
    requests_per_minute: int = option(0, "The project's DLP quota; 0 for 600, or 100 on a regional (.rep.) host.", metavar="N", minimum=0, group="DLP")
    dlp_cache: bool = option(True, "Keep tokens of repeated values in the worker's memory; --dlp_cache=false turns it off.", group="DLP")
    json: bool = option(False, "Print the ledger row as JSON, as the last line.", group="Output")
    runner: str = option("DirectRunner", "Beam runner; DirectRunner is FnApiRunner, in one process.", group="Beam", metavar="NAME")


@dataclass(frozen=True)
class GenerateOptions:
    """penstock generate"""

    contract: str = required("Contract to make events for: census.", positional=True, metavar="CONTRACT")
    output: str = required("Folder for the files and truth.json.", metavar="DIR")
    rows: int = option(20000, "Lines to write, faults included.", metavar="N", minimum=1)
    seed: int = option(7, "Same seed, same bytes.", metavar="N", minimum=0)


@dataclass(frozen=True)
class QueryOptions:
    """penstock query"""

    output: str = required("The tables: the --output of a job.", positional=True, metavar="OUT")
    sql: str = required("A SELECT over events, failures and runs.", positional=True, metavar="SQL")
    format: str = option("table", "How the answer is printed.", choices=("table", "csv", "json"))


@dataclass(frozen=True)
class DescribeOptions:
    """penstock describe"""

    contract: str = required(CONTRACT, metavar="NAME|DIR")
    format: str = option("markdown", "The data dictionary as text or JSON, or the BigQuery table schemas.", choices=("markdown", "json", "bigquery"))


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
