"""What a launch makes of answers that are not what it knows: something else's, ones that name no job, states that are new, graphs that are strange."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from apache_beam.portability.api import beam_runner_api_pb2
from google.protobuf.wrappers_pb2 import BytesValue

from pipelines.__main__ import main
from pipelines.launch.metadata import spec
from pipelines.launch.update_check import running_graph
from schemas.errors import Misconfigured
from tests.dataflow_server import Dataflow
from tests.gcs_server import Storage
from tests.graphs import streaming
from tests.test_launch import IMAGE, NAME, PROFILE, TEMPLATE


@pytest.fixture
def service() -> Iterator[Dataflow]:
    with Dataflow() as service:
        service.templates[TEMPLATE] = spec("stream", IMAGE)
        yield service


def launch(action: str, service: Dataflow, folder: Path, *more: str) -> int:
    path = folder / "prod.yaml"
    path.write_text(yaml.safe_dump(PROFILE))
    return main(["launch", action, "--job=stream", f"--profile={path}", f"--dataflow_endpoint={service.url}", *more])


STRANGE = [b"<html>Log in to use this network</html>", b"", b"null", b'{"jobs": [{"id": "1", "na', b'{"jobs": "none"}']


@pytest.mark.parametrize("answer", STRANGE)
def test_what_is_no_answer_of_dataflows_is_told_as_such(service, tmp_path, capsys, answer: bytes) -> None:
    service.faults = [answer]
    assert launch("status", service, tmp_path) == 1
    told = capsys.readouterr().err
    assert "jobs.list is none of Dataflow's" in told and "ask again" in told and "network</html>" not in told


@pytest.mark.parametrize("answer", [*STRANGE[:3], b"{}", b'{"job": {}}'])
def test_a_launch_whose_answer_was_lost_is_looked_for_and_not_sent_again(service, tmp_path, capsys, answer: bytes) -> None:
    service.faults = [0, answer]
    assert launch("run", service, tmp_path) == 1
    assert "flexTemplates:launch" in (told := capsys.readouterr().err) and "look with `penstock launch status`" in told
    assert len(service.launches) == len(service.jobs) == 1


@pytest.mark.parametrize("state", [99, 0, "JOB_STATE_NEW_TO_US", "JOB_STATE_STOPPED", "JOB_STATE_PAUSED"])
def test_a_job_runs_until_its_state_is_known_to_be_an_end(service, tmp_path, capsys, state: int | str) -> None:
    job = service.start(NAME)
    service.jobs[job]["currentState"] = state
    assert launch("run", service, tmp_path) == 2 and "runs already" in capsys.readouterr().err and not service.launches
    assert launch("update", service, tmp_path) == 2 and "not yet or no more to be updated" in capsys.readouterr().err
    assert launch("status", service, tmp_path) == 0 and f"job {job} is " in capsys.readouterr().out
    assert launch("cancel", service, tmp_path) == 0 and "is CANCELLING" in capsys.readouterr().out


@pytest.mark.parametrize("state", ["DONE", "FAILED", "CANCELLED", "UPDATED", "DRAINED"])
def test_what_has_ended_is_in_nobodys_way(service, tmp_path, state: str) -> None:
    service.start(NAME, state)
    assert launch("cancel", service, tmp_path) == 2 and launch("run", service, tmp_path) == 0 and len(service.launches) == 1


# Graphs: what a bucket holds where the running job's should be

Proto = beam_runner_api_pb2.Pipeline


def without_windows(graph: Proto) -> None:
    graph.components.windowing_strategies.clear()


def without_collections(graph: Proto) -> None:
    graph.components.pcollections.clear()


def coders_in_a_ring(graph: Proto) -> None:
    for key, coder in graph.components.coders.items():
        coder.component_coder_ids.append(key)


def coders_of_strange_names(graph: Proto) -> None:
    for coder in graph.components.coders.values():
        if "pickled_python" in coder.spec.urn:
            coder.spec.payload = BytesValue(value=b"\xff\xfe$").SerializeToString()


def of_ours_without_a_value(graph: Proto) -> None:
    for transform in graph.components.transforms.values():
        for data in transform.display_data:
            data.payload = beam_runner_api_pb2.LabelledPayload(namespace="ours", key="shards").SerializeToString()


def emptied(graph: Proto) -> None:
    graph.Clear()


@pytest.mark.parametrize("change", [without_windows, without_collections, coders_in_a_ring, coders_of_strange_names, of_ours_without_a_value, emptied])
def test_a_graph_that_nobody_can_compare_is_a_fault(change: Callable[[Proto], None], tmp_path, key_folder) -> None:
    graph = streaming("census", key_folder).to_runner_api()
    with Storage(tmp_path / "gcs", "bucket") as storage:
        storage.put("bucket", "pipeline.pb", graph.SerializeToString())
        assert running_graph({"pipelineUrl": "gs://bucket/pipeline.pb"}, storage.url)["transforms"]
        change(graph)
        storage.put("bucket", "pipeline.pb", graph.SerializeToString())
        with pytest.raises(Misconfigured, match=r"the running job's graph: (is no graph that this Beam can read|holds nothing): gs://bucket/pipeline.pb"):
            running_graph({"pipelineUrl": "gs://bucket/pipeline.pb"}, storage.url)
