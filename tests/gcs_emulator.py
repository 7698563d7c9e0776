"""gcp-storage-emulator in an environment of its own (`make emulators-env`), and before it a gate that is as strict as GCS.

The emulator takes no notice of ifGenerationMatch; the gate does (412), counts what is asked for, and lets a test fail or
change things between two reads. The client is Google's, unaware of both.
"""

import http.client
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

from tests.http_serving import Serving
from tests.programs import end, free_port

ENVIRONMENT = Path(__file__).parents[1] / "build" / "emulators" / "gcs"
COMMAND = ENVIRONMENT / "bin" / "gcp-storage-emulator"
MISSING = "gcp-storage-emulator is not on this machine (make emulators-env): reading from GCS is not tested"
BUCKET = "raw"


class Bucket:
    """The bucket `raw` of a storage server at URL: objects are put, replaced and deleted without the client that is under test."""

    def __init__(self, url: str) -> None:
        self.url = url

    def put(self, name: str, content: bytes, encoding: str = "") -> int:
        """Makes or replaces an object; answers its generation."""
        path = f"/upload/storage/v1/b/{BUCKET}/o?name={quote(name, safe='')}&uploadType="
        if content:
            answer = json.loads(self._ask("POST", f"{path}media", content))
        else:  # of which the emulator answers to this form alone
            empty = b'--b\r\nContent-Type: application/json\r\n\r\n{}\r\n--b\r\nContent-Type: application/octet-stream\r\n\r\n\r\n--b--\r\n'
            answer = json.loads(self._ask("POST", f"{path}multipart", empty, "multipart/related; boundary=b"))
        if encoding:
            self._ask("PATCH", f"/storage/v1/b/{BUCKET}/o/{quote(name, safe='')}", json.dumps({"contentEncoding": encoding}).encode(), "application/json")
        return int(answer["generation"])

    def delete(self, name: str) -> None:
        self._ask("DELETE", f"/storage/v1/b/{BUCKET}/o/{quote(name, safe='')}")

    def _ask(self, method: str, path: str, content: bytes = b"", kind: str = "application/octet-stream") -> bytes:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=300)
        try:
            connection.request(method, path, content, {"Content-Type": kind} if content else {})
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        if answer.status >= 300:
            raise AssertionError(f"{method} {path}: {answer.status}")
        return data


def installed() -> bool:
    return COMMAND.exists()


@contextmanager
def emulator(seconds: float = 300.0, port: int = 0) -> Iterator[Bucket | None]:
    """An emulator with an empty bucket in its memory, None where it is not installed; port 0: one that is free. Raises OSError where the
    port is taken, TimeoutError where it does not answer.
    """
    if not installed():
        yield None
        return
    port = free_port(port)
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen([str(COMMAND), "start", "--host=127.0.0.1", f"--port={port}", f"--default-bucket={BUCKET}", "--in-memory", "--quiet"],
                                   cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until = time.monotonic() + seconds
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    if process.poll() is not None or time.monotonic() > until:
                        raise TimeoutError("the emulator does not answer") from None
                    time.sleep(0.1)
            yield Bucket(f"http://127.0.0.1:{port}")
        finally:
            end(process)


class Gate(Serving):
    """A server before the emulator. ranges: what was read, as (object, first byte, last byte); failures: how many of the next
    reads are answered with 503, cuts: how many end after half of their bytes; refusal: what all are answered with, where that is a
    status; before: called before each read with how many there were.
    """

    def __init__(self, behind: Bucket) -> None:
        self.behind = behind
        self.ranges: list[tuple[str, int, int]] = []
        self.unpinned = self.failures = self.cuts = self.refusal = 0
        self.before: Callable[[int], None] = lambda reads: None
        self._lock = threading.Lock()
        super().__init__(_Handler)

    def answer(self, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        """(status, headers, content). One read at a time, so that nothing changes between the condition and the bytes."""
        if not path.startswith("/download/"):
            return self._behind(path, headers)
        with self._lock:
            status = self._verdict(path, headers.get("range", ""))
            return (status, {}, b"{}") if status else self._behind(path, headers)

    def _verdict(self, path: str, asked: str) -> int:
        """The status that GCS would answer this read with; 0: it goes through."""
        parts = urlsplit(path)
        self.before(len(self.ranges))
        first, _, last = asked.removeprefix("bytes=").partition("-")
        self.ranges.append((parts.path.rpartition("/o/")[2], int(first or 0), int(last or -1)))
        if self.failures:
            self.failures -= 1
            return 503
        if self.refusal:
            return self.refusal
        wanted = parse_qs(parts.query).get("ifGenerationMatch")
        if not wanted:
            self.unpinned += 1
            return 0
        status, _, content = self._behind(parts.path.removeprefix("/download"), {})
        if status != 200:
            return status
        return 0 if json.loads(content)["generation"] == wanted[0] else 412

    def _behind(self, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(urlsplit(self.behind.url).netloc, timeout=300)
        try:
            connection.request("GET", path, headers={k: v for k, v in headers.items() if k != "connection"})
            answer = connection.getresponse()
            return answer.status, {k: v for k, v in answer.getheaders() if k in ("Content-type", "Content-Range")}, answer.read()
        finally:
            connection.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: Gate

    def do_GET(self) -> None:
        status, headers, content = self.service.answer(self.path, {k.lower(): v for k, v in self.headers.items()})
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        cut = self.service.cuts > 0 and status < 300 and self.path.startswith("/download/")
        self.wfile.write(content[:len(content) // 2] if cut else content)
        if cut:
            self.service.cuts -= 1
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    """Runs the emulator on localhost until ^C: python -m tests.gcs_emulator --port=9023."""
    port = next((a.partition("=")[2] for a in sys.argv[1:] if a.startswith("--port=")), "9023")
    print(f"export STORAGE_EMULATOR_HOST=http://localhost:{port}   (bucket {BUCKET}; ^C ends it)", flush=True)
    sys.exit(subprocess.call([str(COMMAND), "start", "--host=127.0.0.1", f"--port={port}", f"--default-bucket={BUCKET}", "--in-memory", "--quiet"]))


if __name__ == "__main__":
    main()
