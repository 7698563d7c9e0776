"""Dataflow's REST API on this machine, as far as launching and looking at jobs goes: python -m tests.dataflow_server --port=9070

It enforces what the service enforces: the request's fields and enums (by the API's own schema, tests.discovery), the template's parameters
(required ones, unknown ones, regexes), one running job of a name, an update only of a running stream, requested states. A launched job
waits for its job file as QUEUED until `start` says what becomes of it. Faults come on request.
https://cloud.google.com/dataflow/docs/reference/rest
"""

import argparse
import json
import re
import threading
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from google.cloud import dataflow_v1beta3 as api

from tests.discovery import faults
from tests.http_serving import Serving

_P = r"/v1b3/projects/(?P<project>[^/]+)/locations/(?P<region>[^/]+)"
_END = ("DONE", "FAILED", "CANCELLED", "UPDATED", "DRAINED")
_ENUMS = {"ipConfiguration": api.WorkerIPAddressConfiguration, "autoscalingAlgorithm": api.AutoscalingAlgorithm, "streamingMode": api.StreamingMode,
          "flexrsGoal": api.FlexResourceSchedulingGoal}
_STATES = {"JOB_STATE_CANCELLED": "CANCELLING", "JOB_STATE_DRAINED": "DRAINING"}


class Dataflow(Serving):
    """The server, on a port of its own: `with Dataflow() as service:`.

    templates: spec by path; without one of a path, that path is taken as it is. jobs: by id; launches: bodies of accepted requests, validateOnly
    ones too; submitted: job files that came without a template; calls: "METHOD path" of each request; faults: HTTP statuses of the next answers, 0 for one that
    goes well, or bytes that somebody answers in Dataflow's place when it has done what was asked.
    """

    name = "localhost"

    def __init__(self, page: int = 2, port: int = 0) -> None:
        self.templates: dict[str, dict[str, Any]] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.launches, self.submitted = list[dict[str, Any]](), list[dict[str, Any]]()
        self.calls, self.faults = list[str](), list[int | bytes]()
        self.page = page
        super().__init__(_Handler, port)

    def start(self, name: str, state: str = "RUNNING", streaming: bool = True, options: dict[str, Any] | None = None) -> str:
        """A job of this name in this state; options: its pipeline options. Answers its id."""
        made = datetime(2026, 3, 4, tzinfo=timezone.utc) + timedelta(seconds=len(self.jobs))
        job = f"{made:%Y-%m-%d_%H_%M_%S}-{len(self.jobs) + 1}"
        self.jobs[job] = {"id": job, "name": name, "projectId": "test-project", "location": "europe-west4", "currentState": f"JOB_STATE_{state}",
                          "type": "JOB_TYPE_STREAMING" if streaming else "JOB_TYPE_BATCH", "createTime": made.isoformat().replace("+00:00", "Z"),
                          "environment": {"sdkPipelineOptions": {"options": options or {}}}}
        return job

    def state(self, job: str, state: str) -> None:
        self.jobs[job]["currentState"] = f"JOB_STATE_{state}"

    def running(self, name: str) -> list[dict[str, Any]]:
        return [job for job in self.jobs.values() if job["name"] == name and str(job["currentState"]).removeprefix("JOB_STATE_") not in _END]


class _No(Exception):
    """An answer that is no success: HTTP status, gRPC status, text."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: Dataflow

    def log_message(self, *_: Any) -> None: ...

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        asked = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.service.calls.append(f"{self.command} {parts.path}")
        try:
            fault = self.service.faults.pop(0) if self.service.faults else 0
            if fault and isinstance(fault, int):
                raise _No(fault, "FAULT", "as asked")
            code, content = 200, self._do(parts.path, asked, body)
        except _No as no:
            code, status, why = no.args
            content = {"error": {"code": code, "message": why, "status": status}}
        data = fault if isinstance(fault, bytes) else json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _do(self, path: str, asked: dict[str, str], body: bytes) -> Any:
        if (found := re.fullmatch(f"{_P}/flexTemplates:launch", path)) and self.command == "POST":
            return self._launch(found, json.loads(body))
        if (found := re.fullmatch(f"{_P}/jobs", path)) and self.command == "GET":
            return self._list(asked)
        if (found := re.fullmatch(f"{_P}/jobs", path)) and self.command == "POST":
            job = json.loads(body)
            self.service.submitted.append(job)
            return self.service.jobs[self.service.start(job["name"], "PENDING", job.get("type") == "JOB_TYPE_STREAMING")]
        if (found := re.fullmatch(f"{_P}/jobs/[^/:]+/messages", path)) and self.command == "GET":
            return {"jobMessages": []}
        if found := re.fullmatch(f"{_P}/jobs/(?P<job>[^/:]+)", path):
            job = self.service.jobs.get(found["job"])
            if job is None:
                raise _No(404, "NOT_FOUND", "Information about the job could not be found.")
            if self.command == "GET":
                return job if asked.get("view") in ("2", "JOB_VIEW_ALL") else {k: v for k, v in job.items() if k != "environment"}
            if self.command == "PUT":
                return self._end(job, json.loads(body))
        raise _No(501, "UNIMPLEMENTED", f"not here: {self.command} {path}")

    def _list(self, asked: dict[str, str]) -> dict[str, Any]:
        found = [{k: v for k, v in job.items() if k != "environment"} for job in self.service.jobs.values() if asked.get("name", job["name"]) == job["name"]]
        first = int(asked.get("pageToken", "0"))
        more = {"nextPageToken": str(first + self.service.page)} if first + self.service.page < len(found) else {}
        return {"jobs": found[first:first + self.service.page], **more}

    def _end(self, job: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
        wanted = body.get("requestedState")
        wanted = api.JobState(wanted).name if isinstance(wanted, int) else wanted
        if body.keys() - {"requestedState"} or wanted not in _STATES:
            raise _No(400, "INVALID_ARGUMENT", "Only requestedState may be set, to JOB_STATE_CANCELLED or JOB_STATE_DRAINED.")
        if wanted == "JOB_STATE_DRAINED" and job["type"] != "JOB_TYPE_STREAMING":
            raise _No(400, "INVALID_ARGUMENT", "Only streaming jobs may be drained.")
        if str(job["currentState"]).removeprefix("JOB_STATE_") in _END:
            raise _No(400, "FAILED_PRECONDITION", "The job is in a terminal state.")
        self.service.state(job["id"], _STATES[wanted])
        return job | {"requestedState": wanted}

    def _launch(self, found: re.Match[str], body: dict[str, Any]) -> dict[str, Any]:
        environment = body.get("launchParameter", {}).get("environment", {})
        for name, enum in _ENUMS.items():
            if isinstance(environment.get(name), int):  # as protobuf's JSON may write them, and Google's client does
                environment[name] = enum(environment[name]).name
        wrong = faults(body, "LaunchFlexTemplateRequest")
        if wrong:
            raise _No(400, "INVALID_ARGUMENT", "; ".join(wrong))
        given = body["launchParameter"]
        name, path = given["jobName"], given.get("containerSpecGcsPath", "")
        if not re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", name) or not path.startswith("gs://"):
            raise _No(400, "INVALID_ARGUMENT", "The job name or the template's path is invalid.")
        self._parameters(self.service.templates.get(path), given.get("parameters", {}))
        running = self.service.running(name)
        if running and not given.get("update"):
            raise _No(409, "ALREADY_EXISTS", f"There is already an active job named {name}.")
        if given.get("transformNameMappings") and not given.get("update"):
            raise _No(400, "INVALID_ARGUMENT", "transformNameMappings go with an update alone.")
        self.service.launches.append(body | {"project": found["project"], "region": found["region"]})
        if body.get("validateOnly"):
            return {}
        streaming = environment.get("enableStreamingEngine", False)
        return {"job": self.service.jobs[self.service.start(name, "QUEUED", streaming)]}

    def _parameters(self, spec: dict[str, Any] | None, given: dict[str, str]) -> None:
        if spec is None:
            return
        known = {one["name"]: one for one in spec["metadata"]["parameters"]}
        wrong = [f"{name} is missing" for name, one in known.items() if not one.get("isOptional") and name not in given]
        wrong += [f"{name} is unrecognized" for name in given if name not in known]
        wrong += [f"{name} does not match {form}" for name, text in given.items() if name in known for form in known[name].get("regexes", [])
                  if not re.search(form, text)]
        if wrong:
            raise _No(400, "INVALID_ARGUMENT", f"The template parameters are invalid. Details: {'; '.join(wrong)}")

    do_GET = do_POST = do_PUT = _serve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=9070)
    with Dataflow(port=parser.parse_args().port) as service:
        print(f"Dataflow at {service.url}; stop it with ^C", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
