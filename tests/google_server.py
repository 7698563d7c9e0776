"""A stand-in for what `penstock check` asks of Google, over REST: testIamPermissions, places of buckets and datasets, tables, objects, and a
registry of images. Everything is granted and in its place until a test says otherwise.
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, unquote, urlsplit

from schemas import bigquery
from schemas.contract import Contract
from tests.http_serving import Server


class World:
    """What there is. withheld: {part of a path: permissions that are not granted there}; places: of buckets and datasets, by name; status: {part of a
    path: HTTP status that is answered}; instead: {part of a path: what somebody answers in Google's place}; private_access: of the subnetwork; users: of the job's key; objects: by "bucket/name"; blobs: of the registry, by digest; asked: "METHOD path" of each request.
    """

    def __init__(self, contract: Contract, place: str = "europe-west4") -> None:
        self.place, self.places, self.withheld, self.status = place, dict[str, str](), dict[str, set[str]](), dict[str, int]()
        self.tables = {name: {**table, "schema": {"fields": [{k: v for k, v in f.items() if k != "policyTags"} for f in table["schema"]["fields"]]}}
                       for name, table in bigquery.tables(contract).items()}
        self.private_access = True
        self.users = [f"serviceAccount:service-77@{name}.iam.gserviceaccount.com" for name in ("dataflow-service-producer-prod", "compute-system")]
        self.instead: dict[str, bytes] = {}
        self.objects: dict[str, bytes] = {}
        self.blobs: dict[str, bytes] = {}
        self.asked: list[str] = []

    def image(self, labels: dict[str, str], index: bool = False, job: str = "") -> str:
        """Puts an image into the registry; its digest. index: behind a list of platforms; job: the one that it runs, where it says so."""
        config = self.blob({"architecture": "amd64", "config": {"Labels": labels, "Env": ["PATH=/bin", *([f"PENSTOCK_JOB={job}"] if job else [])]}})
        digest = self.blob({"schemaVersion": 2, "config": {"digest": config}})
        return self.blob({"manifests": [{"digest": "sha256:0", "platform": {"architecture": "arm64"}},
                                        {"digest": digest, "platform": {"architecture": "amd64"}}]}) if index else digest

    def blob(self, content: dict) -> str:
        text = json.dumps(content).encode()
        digest = f"sha256:{hashlib.sha256(text).hexdigest()}"
        self.blobs[digest] = text
        return digest

    def answer(self, path: str, query: dict[str, list[str]], body: bytes) -> tuple[int, bytes]:
        for part, status in self.status.items():
            if part in path:
                return status, b"{}"
        for part, content in self.instead.items():
            if part in path:
                return 200, content
        if path.endswith((":testIamPermissions", "/iam/testPermissions")):
            wanted = query.get("permissions") or json.loads(body)["permissions"]
            withheld = {p for part, names in self.withheld.items() if part in path for p in names}
            return 200, json.dumps({"permissions": [p for p in wanted if p not in withheld]}).encode()
        if path.endswith(":getIamPolicy"):
            return 200, json.dumps({"bindings": [{"role": "roles/cloudkms.cryptoKeyEncrypterDecrypter", "members": self.users}]}).encode()
        if re.fullmatch(r"/v3/projects/[^/:]+", path):
            return 200, b'{"name": "projects/77"}'
        if re.fullmatch(r"/compute/v1/projects/[^/]+/regions/[^/]+/subnetworks/[^/]+", path):
            return 200, json.dumps({"privateIpGoogleAccess": self.private_access}).encode()
        if match := re.fullmatch(r"/(?:download/)?storage/v1/b/([^/]+)/o/(.+)", path):
            found = self.objects.get(f"{match[1]}/{unquote(match[2])}")
            return (404, b"{}") if found is None else (200, found)
        if match := re.fullmatch(r"/storage/v1/b/([^/]+)/o", path):
            names = {name.partition("/")[2]: content for name, content in self.objects.items() if name.startswith(f"{match[1]}/{query['prefix'][0]}")}
            return 200, json.dumps({"items": [{"bucket": match[1], "name": name, "size": str(len(content)), "generation": "1"}
                                              for name, content in names.items()]}).encode()
        if match := re.fullmatch(r"/storage/v1/b/([^/]+)", path):
            return 200, json.dumps({"name": match[1], "location": self.places.get(match[1], self.place).upper()}).encode()
        if match := re.fullmatch(r"/bigquery/v2/projects/([^/]+)/datasets/([^/]+)(?:/tables/([^/]+))?", path):
            return self._dataset(*match.groups())
        if match := re.fullmatch(r"/v2/.+/(?:manifests|blobs)/(sha256:.+)", path):
            return (200, self.blobs[match[1]]) if match[1] in self.blobs else (404, b"{}")
        return 404, b"{}"

    def _dataset(self, project: str, name: str, table: str | None) -> tuple[int, bytes]:
        reference = {"projectId": project, "datasetId": name}
        if table is None:
            return 200, json.dumps({"datasetReference": reference, "location": self.places.get(name, self.place)}).encode()
        if table not in self.tables:
            return 404, b"{}"
        return 200, json.dumps({**self.tables[table], "tableReference": {**reference, "tableId": table}}).encode()


@contextmanager
def served(world: World) -> Iterator[str]:
    """The world's URL on this machine."""
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = urlsplit(self.path)
            world.asked.append(f"{self.command} {parts.path}")
            status, content = world.answer(parts.path, parse_qs(parts.query), body)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = answer

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://localhost:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
