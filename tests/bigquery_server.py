"""A BigQuery on this machine, over HTTP as Google's, for tests: python -m tests.bigquery_server --port=9050 --dataset=PROJECT.DATASET

It takes what we send and refuses what the service refuses (bigquery_store). SQL is DuckDB's, with the few functions of
BigQuery's that we send. Faults come on request: see Fault. With --storage_port the Storage Write API of bigquery_write_server
writes into the same tables.
"""

import argparse
import json
import re
import socket
import threading
import time
import urllib.request
from dataclasses import dataclass
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from tests.bigquery_query import answer, listed, make_view, page, patch_view
from tests.bigquery_store import Refused, Store
from tests.bigquery_write_server import BigQueryWrite
from tests.http_serving import Serving

_P = r"(?:/bigquery/v2)/projects/(?P<project>[^/]+)"
_T = _P + r"/datasets/(?P<dataset>[^/]+)/tables"


@dataclass
class Fault:
    """Something that goes wrong at requests whose "METHOD path" the pattern finds, so many times.

    kind: an HTTP status (503, 429, 403) with `reason`, nothing is done; "cut": the connection is cut while the request comes,
    nothing is done; "lost": it is done, and the connection is cut before the answer; "torn": it is done, and cut in mid-answer; "slow": it is done and answered `seconds` later; "fails": the job that it starts ends with `reason`, nothing is
    done; "loses": the load leaves a row out.
    """

    pattern: str
    kind: int | str
    reason: str = "backendError"
    times: int = 1
    seconds: float = 1.0


class BigQuery(Serving):
    """The server, on a port of its own: `with BigQuery() as service:`. calls: "METHOD path" of each request; bodies: what they carried.

    gcs: a folder that stands for Cloud Storage (FOLDER/BUCKET/OBJECT), or the URL of an emulator of it.
    """

    def __init__(self, project: str = "p", gcs: str = "", port: int = 0) -> None:
        self.project, self.gcs = project, gcs
        self.store, self.jobs = Store(project), dict[str, dict[str, Any]]()
        self.answers: dict[str, dict[str, Any]] = {}
        self.uploads: dict[str, dict[str, Any]] = {}
        self.faults, self.calls, self.bodies = list[Fault](), list[str](), list[bytes]()
        self._faulting = threading.Lock()
        super().__init__(_Handler, port)

    def ask(self, sql: str) -> list[dict[str, Any]]:
        """Rows of a SELECT over DATASET.TABLE, straight from the store."""
        with self.store.lock:
            return self.store.db.execute(sql).to_arrow_table().to_pylist()

    def fault(self, request: str, kinds: tuple[Any, ...]) -> Fault | None:
        """The first fault that has something to do here; it is used up by one."""
        with self._faulting:
            for fault in self.faults:
                if fault.times and (fault.kind in kinds) and re.search(fault.pattern, request):
                    fault.times -= 1
                    return fault
        return None

    def start(self, request: dict[str, Any], content: bytes | None, named: str) -> dict[str, Any]:
        """Runs a job. The id of an earlier one is refused."""
        reference = dict(request.get("jobReference", {}))
        job_id = reference.get("jobId") or f"job_{len(self.jobs)}"
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,1024}", job_id):
            raise Refused(400, "invalid", "Invalid job ID")
        with self.store.lock:
            if job_id in self.jobs:
                raise Refused(409, "duplicate", f"Already Exists: Job {self.project}:{job_id}")
            self.jobs[job_id] = job = {"kind": "bigquery#job", "id": f"{self.project}:{job_id}", "configuration": request["configuration"],
                                       "jobReference": {"projectId": self.project, "jobId": job_id, "location": self.store.location},
                                       "status": {"state": "DONE"}, "statistics": {}}
            fails = self.fault(f"JOB {named}", ("fails",))
            try:
                if fails:
                    raise Refused(400, fails.reason, "told to fail")
                if reference.get("location", self.store.location) != self.store.location:
                    raise Refused(404, "notFound", "Not found: Dataset in this location")
                if "load" in request["configuration"]:
                    job["statistics"]["load"] = self._load(request["configuration"]["load"], content, named)
                else:
                    self.answers[job_id], job["statistics"]["query"] = answer(self.store, request["configuration"])
            except Refused as error:
                if request["configuration"].get("dryRun"):
                    raise
                told = {"reason": error.reason, "message": error.message}
                job["status"] |= {"errorResult": told, "errors": [told]}
        return job

    def _load(self, config: dict[str, Any], content: bytes | None, named: str) -> dict[str, Any]:
        where = config["destinationTable"]
        if config.get("createDisposition") != "CREATE_NEVER":
            raise Refused(400, "invalid", "this service makes no table by a load")
        contents = [content] if content is not None else [self._object(uri) for uri in config["sourceUris"]]
        lose = 1 if self.fault(f"JOB {named}", ("loses",)) else 0
        rows = self.store.load(where["datasetId"], where["tableId"], config.get("sourceFormat", "CSV"), contents,
                               config.get("writeDisposition") == "WRITE_TRUNCATE", lose)
        return {"outputRows": str(rows), "inputFiles": str(len(contents)), "inputFileBytes": str(sum(map(len, contents))), "outputBytes": "0"}

    def _object(self, uri: str) -> bytes:
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        try:
            if self.gcs.startswith("http"):
                with urllib.request.urlopen(f"{self.gcs}/download/storage/v1/b/{bucket}/o/{quote(name, safe='')}?alt=media", timeout=300) as found:
                    return bytes(found.read())
            return (Path(self.gcs) / bucket / name).read_bytes()
        except OSError:
            raise Refused(404, "notFound", f"Not found: URI {uri}") from None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes: the second would wait 40 ms for an acknowledgement
    service: BigQuery

    def log_message(self, *_: Any) -> None:
        pass

    def _serve(self) -> None:
        service, split, length = self.service, urlsplit(self.path), int(self.headers.get("Content-Length") or 0)
        request = f"{self.command} {unquote(split.path)}"
        service.calls.append(request)
        if service.fault(request, ("cut",)):
            self.rfile.read(length // 2)
            self._cut()
            return
        body = self.rfile.read(length)
        service.bodies.append(body)
        refuses = service.fault(request, (400, 403, 404, 429, 500, 503))
        loses = service.fault(request, ("lost", "torn", "slow"))
        try:
            if refuses:
                raise Refused(int(refuses.kind), refuses.reason, "told to refuse")
            status, found, headers = self._do(split.path, parse_qs(split.query), body)
        except Refused as error:
            told = {"reason": error.reason, "message": error.message, "domain": "global"}
            status, found, headers = error.status, {"error": {"code": error.status, "message": error.message, "errors": [told]}}, {}
        if loses and loses.kind == "lost":
            self._cut()
            return
        if loses and loses.kind == "slow":
            time.sleep(loses.seconds)
        content = json.dumps(found).encode()
        try:
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", "Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content[:len(content) // 2] if loses and loses.kind == "torn" else content)
            if loses and loses.kind == "torn":
                self._cut()
        except OSError:  # the client went away
            self.close_connection = True

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _serve

    def _do(self, path: str, query: dict[str, list[str]], body: bytes) -> tuple[int, Any, dict[str, str]]:
        service, store = self.service, self.service.store
        if path.startswith("/upload/"):
            return self._upload(query, body)
        given = json.loads(body) if body else {}
        for pattern, do in (
            ("POST " + _P + r"/datasets", lambda m: store.make_dataset(given["datasetReference"]["datasetId"], given)),
            ("GET " + _P + r"/datasets/(?P<dataset>[^/]+)", lambda m: store.dataset(m["dataset"])),
            ("GET " + _T, lambda m: {"tables": [{"tableReference": _reference(service, m["dataset"], t)} for t in store.names(m["dataset"])]}),
            ("POST " + _T, lambda m: _shown(service, m["dataset"], given["tableReference"]["tableId"], (make_view if "view" in given else Store.make_table)(
                store, m["dataset"], given["tableReference"]["tableId"], given))),
            ("GET " + _T + r"/(?P<table>[^/]+)", lambda m: _shown(service, m["dataset"], m["table"], store.table(m["dataset"], m["table"]))),
            ("GET " + _T + r"/(?P<table>[^/]+)/data", lambda m: listed(store, m["dataset"], m["table"], query)),
            ("DELETE " + _T + r"/(?P<table>[^/]+)", lambda m: store.delete_table(m["dataset"], m["table"])),
            ("PATCH " + _T + r"/(?P<table>[^/]+)", lambda m: _shown(service, m["dataset"], m["table"], (patch_view if "view" in given else Store.patch_table)(
                store, m["dataset"], m["table"], given, self.headers.get("If-Match")))),
            ("POST " + _T + r"/(?P<table>[^/]+)/insertAll", lambda m: {"insertErrors": store.insert_all(m["dataset"], m["table"], given)}),
            ("POST " + _P + r"/jobs", lambda m: service.start(given, None, _purpose(given))),
            ("GET " + _P + r"/jobs/(?P<job>[^/]+)", lambda m: _known(service.jobs, m["job"])),
            ("GET " + _P + r"/queries/(?P<job>[^/]+)", lambda m: _result(service, m["job"], query)),
        ):
            match = re.fullmatch(pattern, f"{self.command} {unquote(path)}")
            if match:
                with store.lock:
                    return 200, do(match), {}
        raise Refused(404, "notFound", "Not found: no such method")

    def _upload(self, query: dict[str, list[str]], body: bytes) -> tuple[int, Any, dict[str, str]]:
        service, kind = self.service, query["uploadType"][0]
        if kind == "multipart":
            head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
            meta, content = message_from_bytes(head + body, policy=policy.HTTP).iter_parts()
            given = json.loads(meta.get_payload(decode=True))
            return 200, service.start(given, content.get_payload(decode=True), _purpose(given)), {}
        if "upload_id" not in query:
            key = str(len(service.uploads))
            service.uploads[key] = {"job": json.loads(body), "content": b""}
            return 200, {}, {"Location": f"{service.url}/upload/bigquery/v2/projects/{service.project}/jobs?uploadType=resumable&upload_id={key}"}
        upload = service.uploads[query["upload_id"][0]]
        upload["content"] += body
        total = self.headers["Content-Range"].rpartition("/")[2]
        if total != str(len(upload["content"])):
            return 308, {}, {"Range": f"bytes=0-{len(upload['content']) - 1}"}
        return 200, service.start(upload["job"], upload["content"], _purpose(upload["job"])), {}


def _purpose(given: dict[str, Any]) -> str:
    """load DATASET.TABLE$DAY, or query."""
    load = given["configuration"].get("load")
    return f"load {load['destinationTable']['datasetId']}.{load['destinationTable']['tableId']}" if load else "query"


def _reference(service: BigQuery, dataset: str, table: str) -> dict[str, str]:
    return {"projectId": service.project, "datasetId": dataset, "tableId": table}


def _shown(service: BigQuery, dataset: str, table: str, resource: dict[str, Any]) -> dict[str, Any]:
    return {**resource, "tableReference": _reference(service, dataset, table), "id": f"{service.project}:{dataset}.{table}"}


def _known(jobs: dict[str, Any], job: str) -> Any:
    if job not in jobs:
        raise Refused(404, "notFound", f"Not found: Job {job}")
    return jobs[job]


def _result(service: BigQuery, job: str, asked: dict[str, list[str]]) -> dict[str, Any]:
    found = _known(service.jobs, job)
    if "errorResult" in found["status"]:
        told = found["status"]["errorResult"]
        raise Refused({"notFound": 404, "bytesBilledLimitExceeded": 400}.get(told["reason"], 400), told["reason"], told["message"])
    return {"jobReference": found["jobReference"], "jobComplete": True, **page(service.answers[job], asked)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=9050)
    parser.add_argument("--storage_port", type=int, default=9060)
    parser.add_argument("--dataset", default="project.dataset")
    chosen = parser.parse_args()
    with BigQuery(chosen.dataset.partition(".")[0], port=chosen.port) as running, BigQueryWrite(running.store, chosen.storage_port) as write:
        for name in {chosen.dataset.partition(".")[2], "restricted"}:
            running.store.make_dataset(name, {})
        print(f"BigQuery at {running.url}: --output=bq://{chosen.dataset} --bigquery_endpoint={running.url} --bigquery_storage_endpoint={write.host}",
              flush=True)
        threading.Event().wait()
