"""The tables that every sink keeps: events, failures, runs; from the first one on, replays and reidentifications. Names,
types and descriptions stand here once.

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
    Column("run", "string", True, "The run of a stream or replay that stored it; null in batch, where a rerun gives the same rows. No fingerprint counts it."),
    Column("watermark", "timestamp-micros", True, "The watermark as it stood when that run of a stream began, else null. No fingerprint counts it."),
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

REPLAYS = (
    Column("run", "string", False, "The run that had refused the row; with stage, reason, origin and attempt it names the failure."),
    Column("stage", "string", False, "The stage that had refused it."),
    Column("reason", "string", False, "The reason it had."),
    Column("origin", "string", False, "Where the row was read."),
    Column("attempt", "int", False, "The attempt that had failed."),
    Column("replayed_by", "string", False, "The run that tried again."),
    Column("outcome", "string", False, "stored, repeated, or refused: then it is in failures again, under the run that tried, attempt one higher."),
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
    Column("number", "long", True, "Which run of the stream it was, from 1 on; null in batch."),
    Column("watermark", "timestamp-micros", True, "The watermark after the run: windows that end before it are closed; null in batch."),
    Column("greatest", "timestamp-micros", True, "The greatest event time believed so far, which the watermark follows; null in batch."),
)

REIDENTIFICATIONS = (
    Column("run", "string", False, "Id of the run."),
    Column("who", "string", False, "Who asked: --requested_by, else the name of the user in the environment."),
    Column("account", "string", False, "The account that ran it: of the operating system, on Dataflow the workers' service account."),
    Column("purpose", "string", False, "Why, in the words of --purpose."),
    Column("columns", "string", False, "The columns that were turned back, as a JSON list."),
    Column("contract", "string", False, "Name and version of the contract."),
    Column("engine", "string", False, "local or dlp."),
    Column("query", "string", False, "SHA-256 of the SQL, hex."),
    Column("destination", "string", False, "The folder or the table that the values went to."),
    Column("rows", "long", False, "Rows of the result."),
    Column("turned_back", "long", False, "Tokens that became values."),
    Column("no_token", "long", False, "Values that were no token of these keys; they are null in the result."),
    Column("started", "timestamp-micros", False, "When the run started."),
    Column("ended", "timestamp-micros", False, "When this row was written, before the result became visible."),
)

WINDOWS = (
    Column("key", "string", True, "What the rows have in common: the key's value as text, of several columns a JSON array; null without a key."),
    Column("window_start", "timestamp-micros", False, "Start of the window; of a session, its first row's event time."),
    Column("window_end", "timestamp-micros", False, "End of the window, which it does not hold; a session ends its gap after its last row."),
    Column("pane", "int", False, "0 the first time that the window was written, one more each time that it was written anew."),
    Column("is_late", "boolean", False, "True where it was written again for rows that came after the watermark had passed its end."),
)

WINDOW_LINEAGE = (
    Column("prediction", "float", True, "What the windows' model answered, a probability; null without one, and where it gave no finite score.", "sensitive"),
    Column("label", "boolean", True, "True where the prediction is over the model's threshold.", "sensitive"),
    Column("model_name", "string", True, "Name of the model that scored the window."),
    Column("model_version", "string", True, "Version of that model."),
    Column("model_digest", "string", True, "SHA-256 of the model's bytes."),
    Column("contract_version", "string", False, "Version of the contract that the window was measured by."),
    Column("run", "string", True, "The run that wrote the row."),
    Column("d", "date", False, "Day of the window's start in UTC; the partition."),
)

RESERVED = frozenset(c.name for c in LINEAGE)
WINDOW_RESERVED = frozenset(c.name for c in (*WINDOWS, *WINDOW_LINEAGE))
