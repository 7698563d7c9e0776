"""The views that come with the tables, for dashboards: written once, as SQL that DuckDB and BigQuery both take.

What the two call by other names is filled in: tables, quotes, and seconds since a time. No view looks at a value of a row; what
they count are days, fates and times. BigQuery joins from the left by equality alone, so that no LEFT JOIN has another condition.
"""

import json
from typing import NamedTuple

from schemas.contract import Contract

_DAYS_BEFORE = 14  # days with rows that a day is measured against


class View(NamedTuple):
    """A view: what it shows, and the SELECT."""

    doc: str
    sql: str


class _Dialect(NamedTuple):
    """quote: what stands around a name; since: seconds since {0}."""

    quote: str
    since: str


_DUCKDB = _Dialect('"', "CAST(epoch(CURRENT_TIMESTAMP) - epoch({0}) AS BIGINT)")
_BIGQUERY = _Dialect("`", "TIMESTAMP_DIFF(CURRENT_TIMESTAMP(), {0}, SECOND)")

# What was replayed is counted where it ended: among events, or in `failures` again under the run that tried. A row that was read and refused
# twice (by a replay of what a later run had replaced) is one: it has one origin.
# A run that replaces days takes the place of what earlier runs refused there; `failures` itself only grows. Rows without a day
# (they could not be read that far) give way to a run that replaced the very same days.
_REFUSED_RATES = """
WITH tried AS (
  SELECT DISTINCT run, stage, reason, origin, attempt FROM {replays}),
refusals AS (
  SELECT f.run, f.d, f.stage, f.reason, f.origin FROM {failures} AS f
  LEFT JOIN tried ON tried.run = f.run AND tried.stage = f.stage AND tried.reason = f.reason AND tried.origin = f.origin AND tried.attempt = f.attempt
  WHERE tried.run IS NULL),
own AS (
  SELECT run, MAX(ended) AS ended, MAX(partitions) AS partitions FROM {runs} WHERE balanced GROUP BY run),
named AS (
  SELECT DISTINCT CAST(d AS STRING) AS day_text FROM refusals WHERE d IS NOT NULL),
replaced AS (
  SELECT named.day_text, MAX(own.ended) AS ended FROM named JOIN own ON STRPOS(own.partitions, named.day_text) > 0 GROUP BY named.day_text),
repeated AS (
  SELECT partitions, MAX(ended) AS ended FROM own WHERE partitions <> '[]' GROUP BY partitions),
standing AS (
  SELECT refusals.d, refusals.stage, refusals.reason, refusals.origin FROM refusals
  LEFT JOIN own ON own.run = refusals.run
  LEFT JOIN replaced ON replaced.day_text = CAST(refusals.d AS STRING)
  LEFT JOIN repeated ON repeated.partitions = own.partitions
  WHERE own.ended IS NULL
  OR ((refusals.reason = 'other_partition' OR own.ended >= COALESCE(replaced.ended, own.ended)) AND own.ended >= COALESCE(repeated.ended, own.ended))),
counted AS (
  SELECT d, 'stored' AS fate, '' AS stage, '' AS reason, COUNT(*) AS n FROM {events} GROUP BY d
  UNION ALL
  SELECT d, CASE WHEN stage = 'window' THEN 'late' ELSE 'refused' END, stage, reason, COUNT(DISTINCT origin) FROM standing GROUP BY d, stage, reason),
shares AS (
  SELECT d, fate, stage, reason, n, SUM(CASE WHEN fate = 'late' THEN 0 ELSE n END) OVER (PARTITION BY d) AS seen FROM counted)
SELECT d, fate, stage, reason, CAST(n AS BIGINT) AS n, CAST(seen AS BIGINT) AS seen, n / NULLIF(seen, 0) AS rate FROM shares WHERE fate <> 'stored'"""

_VOLUME_DRIFT = """
WITH days AS (
  SELECT d, COUNT(*) AS stored, ROW_NUMBER() OVER (ORDER BY d) AS number FROM {events} GROUP BY d),
earlier AS (
  SELECT today.d, past.stored, ROW_NUMBER() OVER (PARTITION BY today.d ORDER BY past.stored) AS place, COUNT(*) OVER (PARTITION BY today.d) AS among
  FROM days AS today JOIN days AS past ON past.number BETWEEN today.number - {days_before} AND today.number - 1),
medians AS (
  SELECT d, AVG(stored) AS median_before, MAX(among) AS days_before FROM earlier WHERE 2 * place BETWEEN among AND among + 2 GROUP BY d)
SELECT days.d, days.stored, medians.median_before, COALESCE(medians.days_before, 0) AS days_before,
  days.stored / medians.median_before - 1 AS drift
FROM days LEFT JOIN medians ON medians.d = days.d"""

# A row of a stream on BigQuery may be there twice: an append whose answer was lost is sent again.
_UNBALANCED_RUNS = """
WITH books AS (
  SELECT run, MIN(job) AS job, MIN(contract) AS contract, SUM(read) AS came, SUM(stored) AS kept, SUM(repeated) AS again, SUM(refused) AS turned_away,
    MIN(started) AS began, MAX(ended) AS finished, COUNT(*) AS parts, MIN(CASE WHEN balanced THEN 1 ELSE 0 END) AS each_balanced
  FROM (SELECT DISTINCT run, job, contract, read, stored, repeated, refused, started, ended, balanced FROM {runs}) AS told GROUP BY run)
SELECT run, job, contract, CAST(came AS BIGINT) AS read, CAST(kept AS BIGINT) AS stored, CAST(again AS BIGINT) AS repeated,
  CAST(turned_away AS BIGINT) AS refused, CAST(came - kept - again - turned_away AS BIGINT) AS missing, began AS started, finished AS ended
FROM books WHERE came <> kept + again + turned_away OR (parts = 1 AND each_balanced = 0)"""

_FRESHNESS = """
SELECT newest.newest_event, {event_age} AS event_age_seconds, newest.newest_day, ledger.last_run, {run_age} AS last_run_age_seconds,
  ledger.last_stored, ledger.watermark
FROM (SELECT MAX({time}) AS newest_event, MAX(d) AS newest_day FROM {events}) AS newest
CROSS JOIN (SELECT MAX(ended) AS last_run, MAX(CASE WHEN stored > 0 THEN ended END) AS last_stored, MAX(watermark) AS watermark FROM {runs}) AS ledger"""

# Same id and same content is what the job calls a repeat. With `d`, which the content decides, a question about some days reads those alone.
_EVENTS_ONCE = """
SELECT * FROM {events} WHERE TRUE
QUALIFY ROW_NUMBER() OVER (PARTITION BY d, id_hash, content_hash ORDER BY watermark NULLS FIRST, run NULLS FIRST, origin) = 1"""

# A row that ends where it starts is the last word on a session that a later one took in.
_WINDOWS_LATEST = """
WITH last_words AS (
  SELECT told.* FROM {windows} AS told WHERE TRUE
  QUALIFY ROW_NUMBER() OVER (PARTITION BY told.d, told.key, told.window_start ORDER BY told.pane DESC, told.run DESC) = 1)
SELECT * FROM last_words WHERE window_end > window_start"""

_VIEWS = {
    "refused_rates": View("Refused and late rows by day, stage and reason: n, and their share (rate) of the rows seen that day "
                          "(stored or refused). "
                          "What a later run replaced, or a replay tried again, does not count. d is null where a row could not be read that far.",
                          _REFUSED_RATES),
    "volume_drift": View(f"Rows stored a day against the median of the {_DAYS_BEFORE} days with rows before it: drift 0 is the median, 1 twice as many.",
                         _VOLUME_DRIFT),
    "unbalanced_runs": View("Runs whose books do not balance: read rows that are missing among stored, repeated and refused. The books of a stream "
                            "on BigQuery are kept by the minute; its rows under way show here until they are stored.", _UNBALANCED_RUNS),
    "freshness": View("One row: the newest event and the end of the last run, and their ages in seconds.", _FRESHNESS),
    "events_once": View("The events, each once, whatever the sink promises: of rows with the same id and content the first. Another content under "
                        "the same id is another row here: the job refuses it where it sees both.", _EVENTS_ONCE),
}
_OF_WINDOWS = {"windows_latest": View("The windows as they stand, each once: of rows with one key and window_start the greatest pane.", _WINDOWS_LATEST)}
NAMES = tuple(_VIEWS)
"""Of those that every contract has."""


def duckdb(contract: Contract) -> dict[str, View]:
    """The views over the tables of a lake, by their plain names."""
    return {name: View(view.doc, _filled(view.sql, contract, _DUCKDB, "{}")) for name, view in _of(contract).items()}


def bigquery(contract: Contract, dataset: str) -> dict[str, View]:
    """The views over the tables of a dataset, "PROJECT.DATASET"."""
    return {name: View(view.doc, _filled(view.sql, contract, _BIGQUERY, f"`{dataset}.{{}}`")) for name, view in _of(contract).items()}


def bigquery_ddl(contract: Contract, dataset: str) -> list[str]:
    """Statements that make the views, or make them anew."""
    return [ddl(dataset, name, view) for name, view in bigquery(contract, dataset).items()]


def ddl(dataset: str, name: str, view: View) -> str:
    """The statement that makes a view, or makes it anew.

    https://cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language#create_view_statement
    """
    return f"CREATE OR REPLACE VIEW `{dataset}.{name}`\nOPTIONS (description = {json.dumps(view.doc)}) AS\n{view.sql}"


def _of(contract: Contract) -> dict[str, View]:
    return _VIEWS | (_OF_WINDOWS if contract.windows is not None else {})


def _filled(sql: str, contract: Contract, dialect: _Dialect, table: str) -> str:
    tables = {name: table.format(name) for name in ("events", "failures", "runs", "replays", "windows")}
    return sql.strip().format(**tables, time=f"{dialect.quote}{contract.time}{dialect.quote}", days_before=_DAYS_BEFORE,
                              event_age=dialect.since.format("newest.newest_event"), run_age=dialect.since.format("ledger.last_run"))
