"""penstock launch refuses by the checks of penstock check, before Dataflow hears of it; what could not be looked at is told, and is no fault."""

import json
from collections.abc import Iterator

import pytest
import yaml

from pipelines.__main__ import main
from pipelines.launch.checks import every
from pipelines.launch.metadata import spec
from pipelines.launch.update_check import Difference, sentences
from schemas.contract import SHIPPED, load
from tests.dataflow_server import Dataflow
from tests.google_server import served
from tests.launches import Launch

NAME = "census-stream"


class Sent(Launch):
    """A launch, and the Dataflow that it is sent to."""

    service: Dataflow

    def run(self, action: str, *more: str) -> int:
        self.path.write_text(yaml.safe_dump(self.profile))
        with served(self.world) as url:
            return main(["launch", action, "--job=stream", f"--profile={self.path}", f"--dataflow_endpoint={self.service.url}", f"--endpoint={url}",
                         f"--lock={self.lock}", *more])


@pytest.fixture
def sent(tmp_path) -> Iterator[Sent]:
    found = Sent(tmp_path, load("census"))
    with Dataflow() as service:
        service.templates[found.profile["jobs"]["stream"]["template"]] = spec("stream", found.profile["image"])
        found.service = service
        yield found


@pytest.mark.parametrize("action", ["validate", "run", "update"])
def test_a_fault_of_a_check_stops_every_launch(sent, capsys, action) -> None:
    sent.service.start(NAME)
    sent.world.withheld["subscriptions/census"] = {"pubsub.subscriptions.consume"}
    sent.world.private_access = False
    assert sent.run(action) == 2
    told = capsys.readouterr().err
    assert "lacks pubsub.subscriptions.consume; grant roles/pubsub.subscriber" in told and "--enable-private-ip-google-access" in told
    assert not sent.service.calls


@pytest.mark.parametrize(("change", "words"), [
    ({"rate": 500_000, "quotas": {"compute_cpus": 4}}, "quota compute_cpus: 500,000 events/s need"),
    ({"quotas": {"cpus": 4}}, "quotas.cpus: is no quota"), ({"image": f"europe-west4-docker.pkg.dev/p/r/penstock@sha256:{'0' * 64}"}, "digest of zeros"),
    ({"labels": {f"l{number}": "x" for number in range(60)}}, "labels: are more than 64"),
])
def test_what_only_the_checks_know_stops_it_too(sent, capsys, change, words) -> None:
    sent.profile |= change
    assert sent.run("run") == 2
    assert words in capsys.readouterr().err and not sent.service.calls


def test_validate_tells_what_check_tells(sent, capsys) -> None:
    assert sent.run("validate") == 0
    told = capsys.readouterr().out.splitlines()
    _, results = sent.checked()
    assert told[:len(results)] == list(every.told(list(results.values()))) and told[-1].startswith(f"valid: {NAME} would run")


def test_what_could_not_be_looked_at_is_no_fault(sent, capsys) -> None:
    sent.world.status["/"] = 503
    assert sent.run("run", "--json") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "0 faults" in lines[0] and {"subnetwork", "template", "worker: subscription"} <= set(json.loads(lines[-1])["not_checked"])
    assert len(sent.service.launches) == 1


def test_beside_a_dataflow_of_this_machine_nobody_else_is_asked(sent, capsys) -> None:
    """And an example may stay as it is, placeholders and all."""
    sent.profile["image"] = f"europe-west4-docker.pkg.dev/p/r/penstock@sha256:{'0' * 64}"
    sent.service.templates[sent.profile["jobs"]["stream"]["template"]] = spec("stream", sent.profile["image"])
    sent.path.write_text(yaml.safe_dump(sent.profile))
    assert main(["launch", "validate", "--job=stream", f"--profile={sent.path}", f"--dataflow_endpoint={sent.service.url}"]) == 0
    told = capsys.readouterr().out
    assert told.count("Google is not asked; --endpoint names a stand-in") == 17 and "4 ok, 0 faults, 19 not checked" in told


def test_a_stand_in_says_nothing_of_a_launch_at_google(sent, capsys) -> None:
    sent.path.write_text(yaml.safe_dump(sent.profile))
    with served(sent.world) as url:
        assert main(["launch", "run", "--job=stream", f"--profile={sent.path}", f"--endpoint={url}"]) == 2
    assert "--endpoint: is a stand-in, and Dataflow is Google's own" in capsys.readouterr().err


def test_nothing_is_asked_twice(sent) -> None:
    assert sent.run("run") == 0
    assert sent.world.asked.count("GET /storage/v1/b/my-staging/iam/testPermissions") == 1  # staging and temp are one bucket
    assert sum("/o/stream.json" in call for call in sent.world.asked) == 1


def test_faults_of_form_and_of_reach_come_together(sent, capsys) -> None:
    sent.profile["parameters"] |= {"wait": "soon", "keys": "keys", "output": "/tables", "runner": "x", "dlp_endpoint": "localhost:8085", "contract": "sensus"}
    assert sent.run("run") == 2
    told = capsys.readouterr().err.splitlines()[1:]
    assert len(told) == 6 and all(any(name in line for line in told) for name in ("--wait", "--keys", "--output", "parameters.runner", "--dlp_endpoint", "--contract"))


def test_a_label_that_google_takes_for_none(sent, capsys) -> None:
    for file in (SHIPPED / "census").iterdir():
        sent.world.objects[f"my-contracts/own/{file.name}"] = file.read_bytes().replace(b"labels:\n", b"labels:\n  7th: x\n")
    sent.profile["parameters"]["contract"] = "gs://my-contracts/own"
    assert sent.run("run") == 2
    assert "gs://my-contracts/own/contract.yaml: labels: 7th begins with no letter" in capsys.readouterr().err


def test_a_contract_without_a_sample_is_launched_unplanned(sent) -> None:
    for file in (SHIPPED / "census").iterdir():
        if file.name != "sample.ndjson":
            sent.world.objects[f"my-contracts/own/{file.name}"] = file.read_bytes()
    sent.profile["parameters"]["contract"] = "gs://my-contracts/own"
    code, results = sent.checked(rate=100)
    assert code == 0 and "it cannot be planned: gs://my-contracts/own/sample.ndjson: is missing" in results["quotas"].reason
    assert sent.run("run") == 0


def test_a_bucket_out_of_reach_is_not_checked_and_not_launched(sent, capsys) -> None:
    """One that is not there is a fault."""
    sent.profile["parameters"]["contract"] = "gs://my-contracts/own"
    sent.path.write_text(yaml.safe_dump(sent.profile))
    sent.world.status["/b/my-contracts/o"] = 404
    assert "is not there" in str(sent.checked()[1]["contract"].faults)
    sent.world.status["/b/my-contracts/o"] = 503
    code, results = sent.checked()
    assert code == 0 and "gs://my-contracts/own cannot be listed" in results["contract"].reason and "could not be read" in results["tables"].reason
    assert results["worker: subscription"].state == "ok"


@pytest.mark.parametrize(("was", "told"), [
    ("", ["changes: nothing in the graph"]), ("new", ["changes: nothing in the graph"]),
    ("old", ["changes: nothing in the graph", "changes: the image, from old to new"]),
])
def test_another_image_is_a_change(was, told) -> None:
    assert list(sentences(Difference([], []), {"sdk_container_image": was}, "new", load("census"))) == told


def test_two_jobs_of_a_name_are_told_apart_by_hand(sent, capsys) -> None:
    old, new = sent.service.start(NAME), sent.service.start(NAME, "PENDING")
    for action in ("update", "drain", "cancel"):
        assert sent.run(action) == 2
        told = capsys.readouterr().err
        assert f"{new} is PENDING, {old} is RUNNING" in told and "gcloud dataflow jobs cancel ID --region=europe-west4" in told
    assert not [call for call in sent.service.calls if call.startswith(("PUT", "POST"))]


def test_a_job_that_has_not_begun_is_waited_for(sent, capsys) -> None:
    sent.service.start(NAME, "QUEUED")
    assert sent.run("update") == 2 and "wait until `penstock launch status` tells that it is RUNNING" in capsys.readouterr().err


def test_beside_a_dataflow_of_this_machine_an_update_is_not_compared(sent, capsys) -> None:
    sent.service.start(NAME)
    sent.path.write_text(yaml.safe_dump(sent.profile))
    assert main(["launch", "update", "--job=stream", f"--profile={sent.path}", f"--dataflow_endpoint={sent.service.url}"]) == 0
    assert "not checked: what the update changes" in capsys.readouterr().err
    assert sent.run("update") == 2  # there is a stand-in now, and the job tells no graph that lies there
