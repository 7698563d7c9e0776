"""A small Cloud Storage on this machine, over HTTP as Google's JSON API, for what stages, lists and reads: in a folder, FOLDER/BUCKET/OBJECT.

It refuses what it does not know (501) rather than to guess; a bucket that is not there is a 404, a generation that was replaced a 412.
Names of objects are kept as they are, below the folder. It hands out tokens too, at /token, as oauth2.googleapis.com does.
https://cloud.google.com/storage/docs/json_api/v1
"""

import base64
import email
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import google_crc32c

from tests.http_serving import Serving

_O = r"/storage/v1/b/(?P<bucket>[^/]+)/o"


class Storage(Serving):
    """The server, on a port of its own: `with Storage(folder, "bucket") as service:`. calls: "METHOD path" of each request;
    forbidden: buckets that nobody may look into; versioned: those that keep what is replaced, in `kept`, by its generation."""

    name = "localhost"

    def __init__(self, folder: Path, *buckets: str) -> None:
        self.folder, self.calls, self.forbidden, self.versioned = folder, list[str](), set[str](), set[str]()
        self.generations: dict[tuple[str, str], int] = {}
        self.kept: dict[tuple[str, str, str], bytes] = {}
        self.uploads: dict[str, tuple[str, str, bytes]] = {}
        self._lock, self._last = threading.Lock(), 1_700_000_000_000_000
        for bucket in buckets:
            (folder / bucket).mkdir(parents=True)
        super().__init__(_Handler)

    def put(self, bucket: str, name: str, content: bytes) -> None:
        path = self.folder / bucket / name
        with self._lock:
            if bucket in self.versioned and path.exists():
                self.kept[bucket, name, str(self.generations[bucket, name])] = path.read_bytes()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            self._last += 1
            self.generations[bucket, name] = self._last

    def read(self, bucket: str, name: str) -> bytes:
        return (self.folder / bucket / name).read_bytes()

    def names(self, bucket: str) -> list[str]:
        return sorted(str(p.relative_to(self.folder / bucket)) for p in (self.folder / bucket).rglob("*") if p.is_file())

    def shown(self, bucket: str, name: str) -> dict[str, Any]:
        content = self.read(bucket, name)
        checksum = base64.b64encode(google_crc32c.Checksum(content).digest()).decode()
        return {"kind": "storage#object", "bucket": bucket, "name": name, "size": str(len(content)), "metageneration": "1", "crc32c": checksum,
                "generation": str(self.generations[bucket, name]), "md5Hash": base64.b64encode(hashlib.md5(content).digest()).decode(),
                "timeCreated": "2026-01-01T00:00:00Z", "updated": "2026-01-01T00:00:00Z"}


class _No(Exception):
    """An answer that is no success."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: Storage

    def log_message(self, *_: Any) -> None: ...

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        asked = {key: values[-1] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
        body = self._body()
        self.service.calls.append(f"{self.command} {parts.path}")
        try:
            self._do(parts.path, asked, body)
        except _No as no:
            code, why = no.args
            self._send(code, {"error": {"code": code, "message": why, "errors": [{"message": why, "reason": why}]}})

    def _do(self, path: str, asked: dict[str, str], body: bytes) -> None:
        service = self.service
        if (self.command, path) == ("POST", "/token"):
            return self._send(200, {"access_token": "test", "token_type": "Bearer", "expires_in": 3600})
        if (found := re.fullmatch(r"/storage/v1/b/([^/]+)", path)) and self.command == "GET":
            return self._send(200, {"kind": "storage#bucket", "name": self._bucket(found[1]), "projectNumber": "1", "location": "EUROPE-WEST4"})
        if (found := re.fullmatch(_O, path)) and self.command == "GET":
            bucket, prefix = self._bucket(found["bucket"]), asked.get("prefix", "")
            names = [name for name in service.names(bucket) if name.startswith(prefix)]
            if end := asked.get("delimiter"):
                names = [name for name in names if end not in name[len(prefix):]]
            return self._send(200, {"kind": "storage#objects", "items": [service.shown(bucket, name) for name in names]})
        if (found := re.fullmatch(f"(?:/download)?{_O}/(?P<name>[^/]+)", path)) and self.command in ("GET", "DELETE"):
            return self._object(self._bucket(found["bucket"]), unquote(found["name"]), asked, "download" in path or asked.get("alt") == "media")
        if (found := re.fullmatch(f"(?:/resumable)?/upload{_O}", path)) and self.command == "POST":
            return self._upload(self._bucket(found["bucket"]), asked, body)
        if (found := re.fullmatch(r"/resumable/([^/]+)", path)) and self.command == "PUT":
            return self._resume(found[1], body)
        raise _No(501, f"not here: {self.command} {path}")

    def _bucket(self, name: str) -> str:
        if not (self.service.folder / name).is_dir():
            raise _No(404, "notFound")
        if name in self.service.forbidden:
            raise _No(403, "forbidden")
        return name

    def _object(self, bucket: str, name: str, asked: dict[str, str], media: bool) -> None:
        service = self.service
        if name not in service.names(bucket):
            raise _No(404, "notFound")
        generation = str(service.generations[bucket, name])
        if asked.get("ifGenerationMatch", generation) != generation:
            raise _No(412, "conditionNotMet")
        older = asked.get("generation", generation)
        if older != generation and not (media and (bucket, name, older) in service.kept):
            raise _No(404, "notFound")
        if self.command == "DELETE":
            (service.folder / bucket / name).unlink()
            return self._send(204, b"")
        shown = service.shown(bucket, name)
        if not media:
            return self._send(200, shown)
        content = service.read(bucket, name) if older == generation else service.kept[bucket, name, older]
        checksum = base64.b64encode(google_crc32c.Checksum(content).digest()).decode()
        sums = {"x-goog-hash": f"crc32c={checksum}", "x-goog-generation": older}
        if (span := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))) and content:
            first, last = int(span[1]), min(int(span[2] or len(content)), len(content) - 1)
            if first >= len(content):
                raise _No(416, "requestedRangeNotSatisfiable")
            return self._send(206, content[first:last + 1], sums | {"Content-Range": f"bytes {first}-{last}/{len(content)}"})
        self._send(200, content, sums)

    def _upload(self, bucket: str, asked: dict[str, str], body: bytes) -> None:
        kind = asked.get("uploadType")
        if kind == "multipart":
            whole = email.message_from_bytes(b"Content-Type: " + self.headers["Content-Type"].encode() + b"\r\n\r\n" + body)
            first, second = whole.get_payload()
            name, content = json.loads(first.get_payload())["name"], second.get_payload(decode=True)
            if second.get_content_maintype() != "text" and b"\r\n\r\n" in body:  # the parser knows no binary parts
                content = body.split(b"\r\n\r\n", 2)[2].rpartition(b"\r\n--")[0]
        elif kind == "resumable":
            number = str(len(self.service.uploads))
            self.service.uploads[number] = bucket, asked.get("name") or json.loads(body)["name"], b""
            return self._send(200, {}, {"Location": f"http://{self.headers['Host']}/resumable/{number}"})
        else:
            raise _No(501, f"not here: uploadType={kind}")
        self.service.put(bucket, name, content)
        self._send(200, self.service.shown(bucket, name))

    def _resume(self, number: str, body: bytes) -> None:
        bucket, name, before = self.service.uploads[number]
        self.service.uploads[number] = bucket, name, before + body
        if self.headers.get("Content-Range", "").endswith("/*"):
            return self._send(308, b"", {"Range": f"bytes=0-{len(before + body) - 1}"})
        self.service.put(bucket, name, before + body)
        self._send(200, self.service.shown(bucket, name))

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().strip() or b"0", 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, code: int, content: Any, headers: dict[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        for name, value in {"Content-Type": "application/json", **(headers or {}), "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_DELETE = _serve
