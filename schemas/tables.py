"""The tables that every sink keeps: events, failures, runs; from the first one on, reidentifications. Names, types and
descriptions stand here once.

A column is (name, type, nullable, description); the types are those of schemas.fields plus "bytes". What a contract
adds to `events` comes first, in the contract's order, as it is stored.
"""

from typing import NamedTuple


class Column(NamedTuple):
    """One column of a table: `type` is one of schemas.fields.TYPES or "bytes"."""

    name: str
    type: str
    nullable: bool
    doc: str
    privacy: str = "public"


LINEAGE = (
    Column("origin", "string", False, "Where the row was read: file and byte offset (or row), or subscription and message id."),
    Column("d", "date", False, "Day of the event time in UTC; the partition."),
    Column("score", "float", True, "What the model answered, a probability between 0 and 1; null without a model.", "sensitive"),
    Column("label", "boolean", True, "True where the score is over the model's threshold.", "sensitive"),
    Column("contract_version", "string", False, "Version of the contract that the row was read by."),
    Column("policy_digest", "string", False, "SHA-256 of the inspection and de-identification templates."),
    Column("model_name", "string", True, "Name of the model that scored the row."),
    Column("model_version", "string", True, "Version of that model."),
    Column("model_digest", "string", True, "SHA-256 of the model's bytes."),
    Column("id_hash", "long", False, "Keyed 64-bit digest of the id."),
    Column("content_hash", "long", False, "Keyed 64-bit digest of the row as it was read; with id_hash it tells repeats from conflicts."),
)

FAILURES = (
    Column("run", "string", False, "The run that refused the row."),
    Column("stage", "string", False, "The stage that refused it: read, decode, deduplicate, deidentify, infer, load."),
    Column("reason", "string", False, "Why, from a closed list."),
    Column("field", "string", True, "The field of the contract that it was about, where one can be named."),
    Column("origin", "string", False, "Where the row was read."),
    Column("attempt", "int", False, "1 for the first try, one more for each replay."),
    Column("d", "date", True, "Day of the event time in UTC, where the row could be read that far."),
    Column("sealed", "bytes", True, "The row as it was read, under AES-256-GCM; the data key is wrapped with the public key named in key."),
    Column("key", "string", False, "Name of the public key that seals it."),
)

RUNS = (
    Column("run", "string", False, "Id of the run."),
    Column("job", "string", False, "batch, stream, replay, ..."),
    Column("contract", "string", False, "Name and version of the contract."),
    Column("read", "long", False, "Rows counted at the source."),
    Column("stored", "long", False, "Rows that the run put into events, counted there."),
    Column("repeated", "long", False, "Rows with the id and the content of an earlier row."),
    Column("refused", "long", False, "Rows that the run put into failures, counted there."),
    Column("late", "long", False, "Rows beyond the allowed lateness."),
    Column("reasons", "string", False, "Refused rows by reason, as a JSON object."),
    Column("fingerprint", "string", False, "Order-free digest of the rows that the run stored."),
    Column("started", "timestamp-micros", False, "When the run started."),
    Column("ended", "timestamp-micros", False, "When its tables were committed."),
    Column("balanced", "boolean", False, "read = stored + repeated + refused."),
    Column("partitions", "string", False, "The days that the run replaced, as a JSON list; empty where it added."),
    Column("engine", "string", False, "What de-identified, as JSON: the engine, and the DLP templates that it was asked by name, with their update times."),
)

REIDENTIFICATIONS = (
    Column("run", "string", False, "Id of the run."),
    Column("who", "string", False, "Who asked: --requested_by, else the name of the user in the environment."),
    Column("account", "string", False, "The account of the operating system that ran it."),
    Column("purpose", "string", False, "Why, in the words of --purpose."),
    Column("columns", "string", False, "The columns that were turned back, as a JSON list."),
    Column("contract", "string", False, "Name and version of the contract."),
    Column("engine", "string", False, "local or dlp."),
    Column("query", "string", False, "SHA-256 of the SQL, hex."),
    Column("destination", "string", False, "The folder that the values went to."),
    Column("rows", "long", False, "Rows of the result."),
    Column("turned_back", "long", False, "Tokens that became values."),
    Column("no_token", "long", False, "Values that were no token of these keys; they are null in the result."),
    Column("started", "timestamp-micros", False, "When the run started."),
    Column("ended", "timestamp-micros", False, "When this row was written, before the result became visible."),
)

RESERVED = frozenset(c.name for c in LINEAGE) | {"run", "watermark"}
