"""The daily workflows of infra/, run step by step: the rerun against our Dataflow; what looks at the books, its query by DuckDB."""

import json
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from pipelines.launch.metadata import spec
from schemas import views
from schemas.contract import load
from tests.dataflow_server import Dataflow
from tests.workflow_steps import Raised, Run, steps

WORKFLOW, BOOKS = [yaml.safe_load((Path(__file__).parent.parent / f"infra/{name}.workflow.yaml").read_text()) for name in ("rerun", "books")]
NOW = 1_795_000_000.0  # 2026-11-18 in UTC
IMAGE = "europe-west4-docker.pkg.dev/test-project/penstock/penstock@sha256:" + 64 * "a"
ENVIRONMENT = {
    "PROJECT": "test-project", "REGION": "europe-west4", "JOB_NAME": "penstock-rerun", "TEMPLATE": "gs://templates/batch.json", "IMAGE": IMAGE, "CONTRACT": "census",
    "INPUT": "gs://raw/raw/{day}/*.ndjson.gz", "DATASET": "penstock", "STAGING": "gs://staging/batch", "KEYS": "projects/test-project/secrets/keys/versions/1",
    "SUBNETWORK": "regions/europe-west4/subnetworks/workers", "SERVICE_ACCOUNT": "worker@test-project.iam.gserviceaccount.com",
    "KMS_KEY": "projects/test-project/locations/europe-west4/keyRings/r/cryptoKeys/dataflow", "DAYS_BACK": "1", "VOLUME_DRIFT": "0.5", "OWNER": "o", "COST_CENTER": "c",
    "DATA_CLASS": "restricted", "GOOGLE_CLOUD_WORKFLOW_EXECUTION_ID": "5f2c6b0e-1"}


class Rerun:
    """Executions against a Dataflow. ends: states that the launched jobs come to, one after another; balanced, drift: what BigQuery answers;
    lost: launches whose answer is lost on the way, after they were taken."""

    def __init__(self, service: Dataflow, *ends: str, balanced: int = 1, drift: float = 0.0, lost: int = 0):
        self.service, self.ends, self.books, self.lost = service, list(ends), (balanced, drift), lost
        self.logged: list[dict[str, Any]] = []
        self.asked: list[dict[str, Any]] = []
        service.templates["gs://templates/batch.json"] = spec("batch", IMAGE)

    def run(self, **argument: str) -> Any:
        return Run(self.call, ENVIRONMENT, NOW).main(WORKFLOW, argument)

    def call(self, name: str, given: dict[str, Any]) -> Any:
        if name == "sys.log":
            self.logged.append(given["json"])
            return None
        assert given["auth"] == {"type": "OAuth2"}
        if "bigquery.googleapis.com" in given["url"]:
            self.asked.append(given["body"])
            return {"body": {"rows": [{"f": [{"v": str(value)} for value in self.books]}]}}
        return self._dataflow(name, given)

    def _dataflow(self, name: str, given: dict[str, Any]) -> Any:
        url = given["url"].replace("https://dataflow.googleapis.com", self.service.url) + ("?" + urllib.parse.urlencode(given["query"]) if "query" in given else "")
        request = urllib.request.Request(url, json.dumps(given["body"]).encode() if name == "http.post" else None, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request) as answer:
                body = json.load(answer)
        except urllib.error.HTTPError as error:
            raise Raised({"code": error.code, "message": "HTTP"}) from None
        if name == "http.post":
            job = self.service.jobs[body["job"]["id"]]
            job["labels"] = given["body"]["launchParameter"]["environment"]["additionalUserLabels"]
            self.service.state(job["id"], self.ends.pop(0))
            if self.lost:
                self.lost -= 1
                raise Raised({"code": 503, "message": "lost"})
        return {"body": body}


@pytest.fixture
def service():
    with Dataflow() as found:
        yield found


def test_yesterday_is_replaced(service) -> None:
    rerun = Rerun(service, "DONE")
    assert rerun.run() == {"day": "2026-11-17", "run": "5f2c6b0e-1", "job": next(iter(service.jobs)), "launches": 1, "drift": 0.0}
    (launch,) = service.launches
    given = launch["launchParameter"]["parameters"]
    assert given["partition"] == "2026-11-17" and given["input"] == "gs://raw/raw/2026-11-17/*.ndjson.gz" and given["output"] == "bq://test-project.penstock"
    assert given["run"] == "5f2c6b0e-1" and rerun.logged == []
    (asked,) = rerun.asked
    assert asked["queryParameters"][0]["parameterValue"] == {"value": "5f2c6b0e-1"} and asked["useLegacySql"] is False


def test_another_day_may_be_named(service) -> None:
    assert Rerun(service, "DONE").run(day="2026-03-04")["day"] == "2026-03-04"


def test_what_failed_is_launched_again_as_the_same_run(service) -> None:
    rerun = Rerun(service, "FAILED", "FAILED", "DONE")
    assert rerun.run()["launches"] == 3
    assert {launch["launchParameter"]["parameters"]["run"] for launch in service.launches} == {"5f2c6b0e-1"} and rerun.logged == []


def test_three_failures_are_enough(service) -> None:
    rerun = Rerun(service, "FAILED", "FAILED", "FAILED", "DONE")
    with pytest.raises(Raised, match="three launches failed for 2026-11-17"):
        rerun.run()
    assert [line["penstock"] for line in rerun.logged] == ["failed"] and len(service.launches) == 3


def test_two_reruns_never_run_at_once(service) -> None:
    service.start("penstock-rerun")
    rerun = Rerun(service, "DONE")
    with pytest.raises(Raised, match="another rerun is running; 2026-11-17 is as it was"):
        rerun.run()
    assert [line["penstock"] for line in rerun.logged] == ["overlap"] and service.launches == []


def test_a_launch_whose_answer_was_lost_is_found(service) -> None:
    rerun = Rerun(service, "RUNNING", lost=1)
    looked = 0

    def call(name: str, given: dict[str, Any]) -> Any:
        nonlocal looked
        if name == "http.get" and "/jobs/" in given["url"]:
            looked += 1
            if looked == 3:
                service.state(next(iter(service.jobs)), "DONE")
        return rerun.call(name, given)

    assert Run(call, ENVIRONMENT, NOW).main(WORKFLOW, {})["launches"] == 1
    assert len(service.launches) == len(service.jobs) == 1 and looked == 3 and rerun.logged == []


@pytest.mark.parametrize(("statuses", "launches"), [([503, 429, 0], 1), ([0, 503, 503], 1)])
def test_faults_that_pass_are_waited_for(service, statuses: list[int], launches: int) -> None:
    service.faults += statuses
    assert Rerun(service, "DONE").run()["launches"] == launches == len(service.jobs)


def test_what_dataflow_refuses_is_told(service) -> None:
    service.faults += [403]
    with pytest.raises(Raised) as refused:
        Rerun(service, "DONE").run()
    assert refused.value.what["code"] == 403


def test_a_cancelled_job_is_left_alone(service) -> None:
    with pytest.raises(Raised, match="was cancelled"):
        Rerun(service, "CANCELLED", "DONE").run()
    assert len(service.launches) == 1


@pytest.mark.parametrize("balanced", [0, 2])
def test_books_that_do_not_balance_or_are_not_there_ring(service, balanced: int) -> None:
    rerun = Rerun(service, "DONE", balanced=balanced)
    with pytest.raises(Raised, match="do not balance or are not there"):
        rerun.run()
    assert [line["penstock"] for line in rerun.logged] == ["unbalanced"]


@pytest.mark.parametrize(("drift", "told"), [(0.4, []), (-0.9, ["drift"]), (3.0, ["drift"])])
def test_a_volume_far_from_the_median_is_told(service, drift: float, told: list[str]) -> None:
    rerun = Rerun(service, "DONE", drift=drift)
    assert rerun.run()["drift"] == drift
    assert [line["penstock"] for line in rerun.logged] == told


HOURS = [  # of a stream's runs: hours before now that one ended, rows stored, missing
    (24, 100, 0), *((24 * day, 100, 0) for day in range(2, 16))]


@pytest.mark.parametrize(("runs", "unbalanced", "drift"), [
    ([], 0, 0.0),
    (HOURS, 0, 0.0),
    ([*HOURS, *HOURS], 0, 0.0),  # an append that was sent twice
    ([(24, 30, 0), *HOURS[1:]], 0, -0.7),
    (HOURS[1:], 0, -1.0),  # the source stopped
    ([(24, 250, 0), *HOURS[1:]], 0, 1.5),
    ([*HOURS, (0.5, 7, 3)], 0, 0.0),  # may still be under way
    ([*HOURS, (2, 7, 3), (11, 7, 3)], 2, 0.0),
    ([*HOURS, (40, 0, 3)], 0, 0.0),
])
def test_the_books_of_streams_are_looked_at(runs: list[tuple[float, int, int]], unbalanced: int, drift: float) -> None:
    logged: list[dict[str, Any]] = []

    def call(name: str, given: dict[str, Any]) -> Any:
        if name == "sys.log":
            logged.append(given["json"])
            return None
        assert given["auth"] == {"type": "OAuth2"} and given["body"]["useLegacySql"] is False
        return {"body": {"rows": [{"f": [{"v": str(value)} for value in answered(given["body"]["query"], runs)]}]}}

    found = Run(call, ENVIRONMENT, NOW).main(BOOKS, {})
    assert found["unbalanced"] == unbalanced and found["drift"] == pytest.approx(drift)
    assert [line["penstock"] for line in logged] == (["drift"] if abs(drift) > 0.5 else []) + (["unbalanced"] if unbalanced else [])


def answered(sql: str, runs: list[tuple[float, int, int]]) -> tuple[Any, ...]:
    """The one row of the books' query, over a ledger and its view, as if it were noon (UTC)."""
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE runs (run VARCHAR, job VARCHAR, contract VARCHAR, read BIGINT, stored BIGINT, repeated BIGINT, refused BIGINT, started TIMESTAMP, "
                           "ended TIMESTAMP, balanced BOOLEAN)")
        for hours, stored, missing in runs:
            connection.execute("INSERT INTO runs SELECT ?, 'stream', 'c 1', ?, ?, 0, 0, ended, ended, ? FROM (SELECT TIMESTAMP '2026-11-18 12:00' - ? * INTERVAL 1 MINUTE AS ended)",
                               [f"at {hours}", stored + missing, stored, not missing, round(hours * 60)])
        view = views.duckdb(load("census"))["unbalanced_runs"]
        connection.execute(f"CREATE VIEW unbalanced_runs AS {view.sql}")
        found = connection.execute(sql.replace("APPROX_QUANTILES(stored, 2)[OFFSET(1)]", "MEDIAN(stored)").replace("CURRENT_TIMESTAMP", "TIMESTAMP '2026-11-18 12:00'")
                                   .replace("CURRENT_DATE", "DATE '2026-11-18'")).fetchone()
        assert found
        return found


@pytest.mark.parametrize(("workflow", "least"), [(WORKFLOW, 20), (BOOKS, 6)])
def test_every_step_has_a_name_of_its_own_and_jumps_stay_in_their_list(workflow: dict[str, Any], least: int) -> None:
    names = [name for name, _ in steps(workflow["main"]["steps"])]
    assert len(names) == len(set(names)) > least
    outer = {next(iter(entry)) for entry in workflow["main"]["steps"]}
    jumps = {target for _, body in steps(workflow["main"]["steps"]) for target in [body.get("next"), *(case.get("next") for case in body.get("switch", []))] if target}
    assert jumps - {"break"} <= outer
