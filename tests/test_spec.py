"""`penstock spec`: what the API takes, images by digest alone, files and objects written whole."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import google_crc32c
import pytest
from google.cloud import dataflow_v1beta3 as api

from pipelines.__main__ import COMMANDS, main
from pipelines.launch.metadata import label, spec
from pipelines.launch.profile import JOBS
from tests.discovery import SCHEMA, derived, faults

ROOT = Path(__file__).parents[1]
IMAGE = f"europe-west4-docker.pkg.dev/p/r/penstock@sha256:{'0f' * 32}"


# What the API takes

@pytest.mark.parametrize("job", JOBS)
def test_a_spec_is_of_the_apis_schema(job: str) -> None:
    found = spec(job, IMAGE)
    assert faults(found, "ContainerSpec") == []
    assert found["image"] == found["defaultEnvironment"]["sdkContainerImage"] == IMAGE
    assert found["sdkInfo"] == {"language": "PYTHON", "version": "2.77.0"} and found["defaultEnvironment"]["ipConfiguration"] == "WORKER_IP_PRIVATE"
    names = [p["name"] for p in found["metadata"]["parameters"]]
    assert len(set(names)) == len(names) > 8 and not {"runner", "project", "region", "job_name", "template_location", "json"} & set(names)
    assert {name for name in names if name.endswith("_endpoint")} == {"dlp_endpoint"}, "a server on this machine has no place in a template; DLP has regional hosts"
    assert found["metadata"]["description"] == COMMANDS[job].summary


@pytest.mark.parametrize("job", JOBS)
def test_googles_own_client_reads_all_of_it(job: str) -> None:
    said = spec(job, IMAGE)
    read = json.loads(api.ContainerSpec.to_json(api.ContainerSpec.from_json(json.dumps(said)), use_integers_for_enums=False, including_default_value_fields=False))
    read["metadata"]["parameters"] = [{"isOptional": False} | parameter for parameter in read["metadata"]["parameters"]]
    assert read == {**said, "metadata": {name: value for name, value in said["metadata"].items() if value is not False}}


@pytest.mark.parametrize(("change", "fault"), [
    (lambda p: p.update(paramType="PUBSUB"), "ContainerSpec.metadata.parameters[1].paramType: is none of its values"),
    (lambda p: p.update(regexs=["a"]), "ContainerSpec.metadata.parameters[1].regexs: is not known"),
    (lambda p: p.update(isOptional="false"), "ContainerSpec.metadata.parameters[1].isOptional: is no boolean"),
    (lambda p: p.update(defaultValue=7), "ContainerSpec.metadata.parameters[1].defaultValue: is no string"),
    (lambda p: p.update(enumOptions=[{"label": "a"}]), "ContainerSpec.metadata.parameters[1].enumOptions[0].value: is missing"),
    (lambda p: p.update(customMetadata={"a": 1}), "ContainerSpec.metadata.parameters[1].customMetadata.a: is no string"),
    (lambda p: p.update(regexes="a"), "ContainerSpec.metadata.parameters[1].regexes: is no array"),
    (lambda p: p.pop("helpText"), "ContainerSpec.metadata.parameters[1].helpText: is missing"),
    (lambda p: p.pop("label"), "ContainerSpec.metadata.parameters[1].label: is missing"),
    (lambda p: p.pop("name"), "ContainerSpec.metadata.parameters[1].name: is missing")])
def test_the_schema_finds_what_gcloud_lets_pass(change, fault: str) -> None:
    found = deepcopy(spec("stream", IMAGE))
    change(found["metadata"]["parameters"][1])
    assert faults(found, "ContainerSpec") == [fault]


def test_the_schema_finds_faults_around_the_parameters() -> None:
    found = spec("stream", IMAGE)
    assert faults({**found, "sdkInfo": {"language": "PYTHON3"}}, "ContainerSpec") == ["ContainerSpec.sdkInfo.language: is none of its values"]
    assert faults({**found, "metadata": {"parameters": []}}, "ContainerSpec") == ["ContainerSpec.metadata.name: is missing"]
    assert faults({k: v for k, v in found.items() if k != "sdkInfo"}, "ContainerSpec") == ["ContainerSpec.sdkInfo: is missing"]
    assert faults({**found, "defaultEnvironment": {"ipConfiguration": "PRIVATE"}}, "ContainerSpec") == [
        "ContainerSpec.defaultEnvironment.ipConfiguration: is none of its values"]


def test_the_schema_is_derived_as_it_says() -> None:
    text = {"type": "string", "description": "Required. A text."}
    document = {"id": "a:v1", "revision": "20260101", "schemas": {
        "ContainerSpec": {"type": "object", "properties": {"a": text, "b": {"$ref": "B"}}},
        "LaunchFlexTemplateRequest": {"type": "object", "properties": {"many": {"type": "array", "items": {"$ref": "B"}}}},
        "B": {"type": "object", "additionalProperties": {"type": "string", "enum": ["X"]}}, "C": {"type": "object", "properties": {}}}}
    assert derived(document)["$defs"] == {
        "B": {"type": "object", "additionalProperties": {"type": "string", "enum": ["X"]}},
        "ContainerSpec": {"type": "object", "properties": {"a": {"type": "string"}, "b": {"$ref": "#/$defs/B"}}, "required": ["a"], "additionalProperties": False},
        "LaunchFlexTemplateRequest": {"type": "object", "properties": {"many": {"type": "array", "items": {"$ref": "#/$defs/B"}}}, "required": [],
                                      "additionalProperties": False}}
    kept = json.loads(SCHEMA.read_text())
    assert kept["$comment"] == "dataflow:v1b3, revision 20261018" and len(kept["$defs"]["ParameterMetadata"]["properties"]["paramType"]["enum"]) == 23


@pytest.mark.parametrize("job", JOBS)
def test_streams_stream_exactly_once(job: str) -> None:
    said = spec(job, IMAGE)["metadata"]
    modes = {name: said.get(name) for name in ("streaming", "supportsAtLeastOnce", "supportsExactlyOnce", "defaultStreamingMode")}
    assert modes == ({"streaming": True, "supportsAtLeastOnce": False, "supportsExactlyOnce": True, "defaultStreamingMode": None} if job == "stream" else
                     {"streaming": False, "supportsAtLeastOnce": None, "supportsExactlyOnce": None, "defaultStreamingMode": None})
    assert ("streamingMode" in spec(job, IMAGE)["defaultEnvironment"]) is (job == "stream")


def test_types_of_parameters() -> None:
    by_name = {p["name"]: p for job in JOBS for p in spec(job, IMAGE)["metadata"]["parameters"]}
    assert {name: by_name[name]["paramType"] for name in ("subscription", "dlp_cache", "requests_per_minute", "engine", "reason", "contract", "manifest", "staging")} == {
        "subscription": "PUBSUB_SUBSCRIPTION", "dlp_cache": "BOOLEAN", "requests_per_minute": "NUMBER", "engine": "ENUM", "reason": "ENUM", "contract": "TEXT",
        "manifest": "GCS_READ_FILE", "staging": "GCS_WRITE_FOLDER"}
    assert by_name["location"] == {
        "name": "location", "label": "Location", "helpText": "Location of DLP: global or a region.", "isOptional": True, "paramType": "TEXT", "defaultValue": "global",
        "parentName": "engine", "parentTriggerValues": ["dlp"]}
    assert by_name["engine"]["enumOptions"] == [{"value": "local", "label": "local"}, {"value": "dlp", "label": "dlp"}] and by_name["engine"]["groupName"] == "Job"
    assert (by_name["dlp_cache"]["defaultValue"], by_name["wait"]["defaultValue"], by_name["requests_per_minute"]["defaultValue"]) == ("true", "1s", "0")
    assert [label(name) for name in ("dlp_cache", "id_attribute", "sql", "since")] == ["DLP cache", "ID attribute", "SQL", "Since"]


@pytest.mark.skipif(shutil.which("gcloud") is None, reason="gcloud is not on this machine; the schema above is the check that always runs")
@pytest.mark.parametrize("job", JOBS)
def test_gcloud_reads_the_parameters_and_drops_what_says_that_it_streams(job: str, tmp_path) -> None:
    said = spec(job, IMAGE)["metadata"]
    (tmp_path / "metadata.json").write_text(json.dumps(said))
    done = subprocess.run(["gcloud", "dataflow", "flex-template", "build", "gs://b/t.json", f"--image={IMAGE}", "--sdk-language=PYTHON", "--project=p-12345",
                           f"--metadata-file={tmp_path / 'metadata.json'}", "--print-only"], capture_output=True, text=True, timeout=600,
                          env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "CLOUDSDK_CONFIG": str(tmp_path), "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true"})
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout[done.stdout.index("{"):])["metadata"]
    assert read == {name: said[name] for name in ("name", "description", "parameters")}


# The command

@pytest.mark.parametrize("image", ["europe-west4-docker.pkg.dev/p/r/penstock:latest", "europe-west4-docker.pkg.dev/p/r/penstock", f"{IMAGE}0", IMAGE[:-1], IMAGE.upper(),
                                   f"https://{IMAGE}", f"{IMAGE}\n", IMAGE.replace("@", ":1@"), "penstock@sha256:" + "0f" * 32, ""])
def test_an_image_that_is_not_named_by_its_digest_is_refused(image: str, capsys, tmp_path) -> None:
    assert main(["spec", "--job=stream", f"--image={image}", f"--output={tmp_path / 's.json'}"]) == 2
    assert "--image" in capsys.readouterr().err and not (tmp_path / "s.json").exists()


@pytest.mark.parametrize("image", [IMAGE, f"localhost:5000/penstock@sha256:{'a' * 64}", f"us-docker.pkg.dev/example.com/p/r/x/penstock_1.0@sha256:{'9' * 64}"])
def test_an_image_by_its_digest_is_taken(image: str, capsys, tmp_path) -> None:
    file = tmp_path / "s.json"
    assert main(["spec", "--job=replay", f"--image={image}", f"--output={file}"]) == 0
    assert json.loads(file.read_text()) == spec("replay", image) and str(file) in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "where"), [
    (["--job=windows"], "--job: is none of its values"), ([], "--job: is missing"), (["--job=batch", "--output=/nowhere/at/all.json"], "--output: /nowhere"),
    (["--job=batch", "--output=gs://b"], "is no object"), (["--job=batch", "--output=gs://UPPER/x.json"], "is no object"),
    (["--job=batch", "--output=gs://specs/x.json", "--storage_endpoint=http://example.com"], "--storage_endpoint")])
def test_what_cannot_run(arguments: list[str], where: str, capsys) -> None:
    assert main(["spec", f"--image={IMAGE}", *arguments]) == 2
    assert where in capsys.readouterr().err


class Uploads(BaseHTTPRequestHandler):
    """Cloud Storage's upload of an object in one request, into the bucket `specs`: its checksum must be that of what came.

    https://cloud.google.com/storage/docs/uploading-objects#rest-upload-objects
    """

    objects: dict[str, tuple[str, bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        url = urlsplit(self.path)
        if url.path != "/upload/storage/v1/b/specs/o" or parse_qs(url.query)["uploadType"] != ["multipart"]:
            code = 403 if "/b/closed/" in url.path else 404
            return self._answer(code, {"error": {"code": code, "message": "No such bucket, or none of yours."}})
        boundary = re.search(rb'boundary="?([^"]+)', self.headers["Content-Type"].encode())[1]
        said, content = (part[2:-2].split(b"\r\n\r\n", 1) for part in body.split(b"--" + boundary)[1:3])
        told = json.loads(said[1])
        data = content[1]
        sum_ = base64.b64encode(google_crc32c.Checksum(data).digest()).decode()
        if told.get("crc32c") != sum_:
            return self._answer(400, {"error": {"code": 400, "message": "The checksum is not that of the content."}})
        self.objects[told["name"]] = (re.search(rb"content-type: (.*)", content[0])[1].decode(), data)
        return self._answer(200, {"name": told["name"], "bucket": "specs", "crc32c": sum_})

    def _answer(self, status: int, told: dict) -> None:
        data = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def uploads() -> Iterator[tuple[str, dict[str, tuple[str, bytes]]]]:
    """The URL of the server, and its objects by name: type and content."""
    handler = type("_Uploads", (Uploads,), {"objects": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://localhost:{server.server_port}", handler.objects
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_to_cloud_storage(capsys) -> None:
    with uploads() as (url, objects):
        given = ["spec", "--job=stream", f"--image={IMAGE}", f"--storage_endpoint={url}"]
        assert main([*given, "--output=gs://specs/prod/stream.json"]) == 0
        kind, content = objects["prod/stream.json"]
        assert kind == "application/json" and json.loads(content) == spec("stream", IMAGE)
        assert main([*given, "--output=gs://nobody/stream.json"]) == 2
        assert "check the name of the bucket" in capsys.readouterr().err
        assert main([*given, "--output=gs://closed/stream.json"]) == 2
        assert "roles/storage.objectUser" in capsys.readouterr().err
        environment = {"STORAGE_EMULATOR_HOST": url, "PATH": "/usr/bin:/bin"}
        done = subprocess.run([sys.executable, "-m", "pipelines", *given[:-1], "--output=gs://specs/other.json"], cwd=ROOT, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        assert set(objects) == {"prod/stream.json", "other.json"}
