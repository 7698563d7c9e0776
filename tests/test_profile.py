"""Profiles: what is taken, and that every fault is told at once."""

from pathlib import Path

import pytest
import yaml

from pipelines.launch import profile
from pipelines.tools.docs import written
from schemas.errors import Misconfigured

PROFILES = Path(__file__).parents[1] / "templates" / "profiles"
WHOLE = {
    "project": "my-project", "region": "europe-west4", "job_name": "census", "template": "gs://bucket/stream.json",
    "image": f"europe-west4-docker.pkg.dev/my-project/r/penstock@sha256:{'a' * 64}", "staging": "gs://bucket/s", "temp": "gs://bucket/t",
    "subnetwork": "regions/europe-west4/subnetworks/penstock", "service_account": "worker@my-project.iam.gserviceaccount.com",
    "kms_key": "projects/p/locations/europe-west4/keyRings/r/cryptoKeys/k",
}


def read(folder: Path, content: object, job: str = "stream") -> profile.Profile:
    path = folder / "p.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return profile.read(path, job)


def faults(folder: Path, content: object) -> list[str]:
    with pytest.raises(Misconfigured) as told:
        read(folder, content)
    return [str(fault).removeprefix(f"{folder}/p.yaml: ") for fault in told.value.faults]


@pytest.mark.parametrize("name", ["dev", "staging", "prod"])
@pytest.mark.parametrize("job", ["stream", "batch"])
def test_the_examples_are_whole(name: str, job: str) -> None:
    found = profile.read(PROFILES / f"{name}.yaml", job)
    assert found.job_name == f"census-{job}" and dict(found.labels) == {"environment": name} and not found.public_ips
    assert found.kms_key.startswith("projects/") and dict(found.parameters)["output"] == f"bq://{found.project}.penstock"
    assert set(yaml.safe_load((PROFILES / f"{name}.yaml").read_text())["jobs"]) == {"batch", "stream", "replay"}


def test_what_is_not_said_is_safe(tmp_path) -> None:
    found = read(tmp_path, WHOLE)
    assert (found.public_ips, found.labels, found.parameters, found.quotas, found.min_workers) == (False, (), (), (), 1)


def test_values_are_written_as_options(tmp_path) -> None:
    """YAML makes days, numbers and switches of its own; a job gets the text that its option reads."""
    text = yaml.safe_dump(WHOLE) + "parameters: {partition: [2026-03-04, 2026-03-05], max_messages: 5, dlp_cache: false, wait: 200ms,"
    text += " since: 2026-03-04T10:00:00Z, until: 2026-03-04 10:00:00.25+01:00}\nquotas: {cpus: 24}\n"
    found = read(tmp_path, text)
    assert dict(found.parameters) == {"partition": "2026-03-04,2026-03-05", "max_messages": "5", "dlp_cache": "false", "wait": "200ms",
                                      "since": "2026-03-04T10:00:00+00:00", "until": "2026-03-04T10:00:00.250000+01:00"}
    assert found.quotas == (("cpus", 24.0),)


def test_a_job_has_its_own(tmp_path) -> None:
    given = WHOLE | {"parameters": {"a": 1, "b": 2}, "jobs": {"stream": {"job_name": "s", "parameters": {"b": 3}}, "batch": {"max_workers": 99}}}
    stream, batch, replay = (read(tmp_path, given, job) for job in ("stream", "batch", "replay"))
    assert (stream.job_name, stream.parameters, stream.max_workers) == ("s", (("a", "1"), ("b", "3")), 10)
    assert (batch.job_name, batch.parameters, batch.max_workers) == ("census", (("a", "1"), ("b", "2")), 99)
    assert replay.job_name == "census"


@pytest.mark.parametrize(("change", "expected"), [
    ({"projct": "x"}, ["projct: is no key of a profile"]),
    ({"image": "europe-west4-docker.pkg.dev/p/r/penstock:latest"}, ["image: has not the form"]),
    ({"max_workers": "10"}, ["max_workers: is not a whole number"]),
    ({"max_workers": True}, ["max_workers: is not a whole number"]),
    ({"max_workers": 0}, ["max_workers: is less than 1"]),
    ({"public_ips": "no"}, ["public_ips: is not true or false"]),
    ({"min_workers": 11}, ["min_workers: is more than max_workers"]),
    ({"subnetwork": "penstock"}, ["subnetwork: has not the form"]),
    ({"subnetwork": "regions/us-central1/subnetworks/n"}, ["subnetwork: lies in us-central1"]),
    ({"subnetwork": "https://www.googleapis.com/compute/v1/projects/host/regions/us-central1/subnetworks/n"}, ["subnetwork: lies in us-central1"]),
    ({"kms_key": "projects/p/locations/global/keyRings/r/cryptoKeys/k"}, ["kms_key: lies in global"]),
    ({"service_account": "12-compute@developer.gserviceaccount.com"}, ["service_account: has not the form"]),
    ({"labels": {"Owner": "x", "ok": "Größe", "fine": "a-1_b"}}, ["labels: holds what Google takes for no label at Owner, ok; write names and texts in small"]),
    ({"labels": {7: "x"}}, ["labels: is not a mapping of names: 7 is no text"]),
    ({"regoin": "x"}, ["regoin: is no key of a profile; did you mean region"]),
    ({"jobs": {"batch": 5, "stream": {"regoin": "x"}}}, ["jobs.batch: is not a mapping", "jobs.stream.regoin: is no key"]),
    ({"labels": ["owner"]}, ["labels: is not a mapping"]),
    ({"parameters": {"a": {"b": 1}, "c": None}}, ["parameters: holds no text, number, day, switch or list of them at a, c"]),
    ({"quotas": {"cpus": "many"}}, ["quotas: holds what is no number"]),
    ({"experiments": "one"}, ["experiments: is not a list"]),
    ({"jobs": ["stream"]}, ["jobs: is not a mapping"]),
    ({"jobs": {"streem": {}}}, ["jobs.streem: is no job"]),
    ({"jobs": {"batch": {"imge": 1}}}, ["jobs.batch.imge: is no key"]),
    ({"image": "tag", "jobs": {"stream": {"region": "x"}}}, ["image: has not", "jobs.stream.region: has not"]),
    ({"rate": 10**18}, ["rate: is of more than 18 digits"]),
    ({"rate": 10**400}, ["rate: is of more than 18 digits"]),
    ({"quotas": {"compute_cpus": float("nan")}}, ["quotas: holds what is no number"]),
    ({"quotas": {"compute_cpus": float("inf")}}, ["quotas: holds what is no number"]),
    ({"quotas": {"compute_cpus": 10**400}}, ["quotas: holds what is no number"]),
    ({"job_name": "a" * 1025}, ["job_name: has not the form"]),
    ({"region": "x", "imge": 1, "workers": {"min": 1}}, ["region: has not the form", "imge: is no key", "workers: is no key"]),
])
def test_faults_are_told_by_key(tmp_path, change, expected) -> None:
    found = faults(tmp_path, WHOLE | change)
    assert len(found) == len(expected) and all(any(f.startswith(e) for f in found) for e in expected), found


def test_every_missing_key_is_told(tmp_path) -> None:
    assert sorted(fault.split(":")[0] for fault in faults(tmp_path, {})) == sorted(WHOLE)


@pytest.mark.parametrize(("text", "expected"), [
    ("project: a\nproject: b\n", "project: stands twice, again at line 2; give it once"), ("- a\n", "is not a YAML mapping"), ("a: [\n", "is not YAML at line 2"),
    ("!!python/object/apply:os.getcwd []", "is not YAML at line 1"), ("a: &a {b: c}\n<<: *a\n", "<<: is no key of a profile"),
])
def test_what_is_no_profile(tmp_path, text, expected) -> None:
    assert any(expected in fault for fault in faults(tmp_path, text))


def test_what_is_not_in_utf_8_is_told(tmp_path) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes("project: größe\n".encode("latin-1"))
    with pytest.raises(Misconfigured, match="is no text in UTF-8; save it as UTF-8"):
        profile.read(path)


def test_an_anchor_says_the_same_twice(tmp_path) -> None:
    text = yaml.safe_dump(WHOLE).replace("staging: gs://bucket/s", "staging: &bucket gs://bucket/s").replace("temp: gs://bucket/t", "temp: *bucket")
    assert (found := read(tmp_path, text)).temp == found.staging == "gs://bucket/s"


def test_a_missing_file_is_told(tmp_path) -> None:
    with pytest.raises(Misconfigured, match="cannot be read"):
        profile.read(tmp_path / "none.yaml")


def test_the_page_tells_every_key() -> None:
    page = Path("docs/launch.md")
    text = (PROFILES.parents[1] / page).read_text()
    assert written(text, str(page)) == text, "run `make docs`"
    assert all(f"`{name}: " in profile.table() for name in (*WHOLE, "labels", "parameters", "quotas", "public_ips", "transform_names"))
