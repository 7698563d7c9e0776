"""Google's Pub/Sub emulator, where the Google Cloud CLI, its component pubsub-emulator and Java are on this machine."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

from tests.programs import free_port
from tests.pubsub_limits import Raw

MISSING = "Google's Pub/Sub emulator is not on this machine (gcloud components install beta pubsub-emulator, and Java): only our broker is tested"


def installed() -> bool:
    gcloud = shutil.which("gcloud")
    return bool(gcloud and shutil.which("java") and (Path(gcloud).resolve().parent.parent / "platform" / "pubsub-emulator").is_dir())


@contextmanager
def emulator(seconds: float = 300.0, port: int = 0) -> Iterator[str | None]:
    """Its HOST:PORT, None where it is not installed; port 0: one that is free. Ends it with all its processes; it keeps nothing.

    Raises TimeoutError where it does not answer within `seconds`.
    """
    if not installed():
        yield None
        return
    host = f"127.0.0.1:{free_port(port)}"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        # A configuration of its own: neither the user's project nor a login is looked at.
        settings = {**os.environ, "CLOUDSDK_CONFIG": f"{folder}/config", "CLOUDSDK_CORE_DISABLE_PROMPTS": "1", "JAVA_TOOL_OPTIONS": "-Xmx1g"}
        log = Path(folder) / "log"
        process = subprocess.Popen(
            ["gcloud", "beta", "emulators", "pubsub", "start", f"--host-port={host}", "--project=test-project", f"--data-dir={folder}"],
            env=settings, stdin=subprocess.DEVNULL, stdout=log.open("wb"), stderr=subprocess.STDOUT, start_new_session=True)
        try:
            if not _answers(host, process, seconds):
                raise TimeoutError(f"the emulator does not answer: {log.read_text()[-500:]}")
            yield host
        finally:
            _end(process)


def _answers(host: str, process: subprocess.Popen[bytes], seconds: float) -> bool:
    until = time.monotonic() + seconds
    with grpc.insecure_channel(host) as channel:
        topics = channel.unary_unary("/google.pubsub.v1.Publisher/ListTopics", Raw.ListTopicsRequest.SerializeToString, Raw.ListTopicsResponse.FromString)
        while time.monotonic() < until and process.poll() is None:
            try:
                topics(Raw.ListTopicsRequest(project="projects/test-project"), timeout=20)
                return True
            except grpc.RpcError:
                time.sleep(0.2)
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """gcloud starts a shell that starts Java, all in one group."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
            process.wait(60)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
