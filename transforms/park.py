"""Where batches wait while their ids are compared: beside the shuffle, never in clear.

Only digests of ids and contents are grouped; the rows themselves wait here, or in the shuffle where the runner has a
service for it. On one machine the shuffle is the memory of one process, so batches wait in files, each under AES-256-GCM
with a key that lives in this process alone: what a killed run leaves behind, nobody can read.
"""

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_KEY = AESGCM(secrets.token_bytes(32))


class Parked(NamedTuple):
    """A batch that waits: its path, or the batch itself as an Arrow stream."""

    path: str
    stream: bytes


@dataclass(frozen=True)
class Park:
    """A folder for the batches of one run; None: they ride in the shuffle."""

    folder: str | None

    def leave(self, key: str, batch: pa.RecordBatch) -> Parked:
        """Leaves a batch under its block's key; a second try writes the same file again."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        stream = sink.getvalue()
        if self.folder is None:
            return Parked("", stream.to_pybytes())
        path = Path(self.folder) / f"{key}.parked"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        nonce = secrets.token_bytes(12)
        with open(path, "wb") as file:
            file.write(nonce)
            file.write(_KEY.encrypt(nonce, memoryview(stream).cast("B"), key.encode()))
        return Parked(str(path), b"")

    def fetch(self, key: str, parked: Parked) -> pa.RecordBatch:
        """The batch that was left under this key, in the process that left it."""
        stream = parked.stream
        if parked.path:
            content = memoryview(Path(parked.path).read_bytes())
            stream = _KEY.decrypt(content[:12], content[12:], key.encode())
        with pa.ipc.open_stream(stream) as reader:
            return reader.read_next_batch()
