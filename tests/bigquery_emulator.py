"""bqemulator in an environment of its own (`make bigquery-emulator`): somebody else's idea of BigQuery, to hold ours against."""

import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.programs import end, free_port

COMMAND = Path(__file__).parents[1] / "build" / "emulators" / "bigquery" / "bin" / "bqemulator"
MISSING = "bqemulator is not on this machine (make bigquery-emulator): our BigQuery is not held against it"


@contextmanager
def emulator(project: str = "project", gcs: str = "", seconds: float = 300.0) -> Iterator[tuple[str, str] | None]:
    """(URL of its REST API, HOST:PORT of its gRPC one); None where it is not installed. gcs: a folder that stands for Cloud Storage.

    Raises TimeoutError where it does not answer.
    """
    if not COMMAND.exists():
        yield None
        return
    rest, grpc = free_port(), free_port()
    with tempfile.TemporaryDirectory() as home:
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(COMMAND.parents[1]), "BQEMU_GCS_LOCAL_ROOT": gcs or home}
        process = subprocess.Popen([str(COMMAND), "start", "--rest-port", str(rest), "--grpc-port", str(grpc), "--project", project],
                                   cwd=home, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _await(process, f"http://127.0.0.1:{rest}/bigquery/v2/projects/{project}/datasets", time.monotonic() + seconds)
            yield f"http://127.0.0.1:{rest}", f"127.0.0.1:{grpc}"
        finally:
            end(process)


def _await(process: "subprocess.Popen[bytes]", url: str, until: float) -> None:
    while True:
        try:
            urllib.request.urlopen(url, timeout=20).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > until:
                raise TimeoutError("bqemulator does not answer") from None
            time.sleep(0.1)
