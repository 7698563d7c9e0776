"""Which parts of a long request are done: a small file that outlives a kill, and goes when all of it is done.

    {"id": "3fa2c1", "about": {...}}      what it is about; id: of this attempt at all of it, made by chance
    {"done": {"2026-11-01": {...}}}       a part that is done, and what came of it
    {"failed": "2026-11-02"}              a part that was tried and failed
"""

import json
import os
import secrets
from collections import Counter
from pathlib import Path
from typing import Any


class Done:
    """What is done of one request. known: what came of the parts that are done, also of those of earlier calls; failures: how often each failed."""

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        """Reads the file where there is one, up to a line that was cut by a kill; about: what a person who opens it wants to know."""
        self.path, self.known, self.failures, self.id = path, dict[str, Any](), Counter[str](), ""
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        whole = [line for line in lines if line.endswith(b"\n")]
        for line in map(json.loads, whole):
            self.id = line.get("id", self.id)
            self.known |= line.get("done", {})
            self.failures.update([line["failed"]] if "failed" in line else [])
        self._file = open(path, "ab")
        self._file.truncate(sum(map(len, whole)))
        if not whole:
            self.id = secrets.token_hex(3)
            self._write({"id": self.id, "about": about})

    def add(self, key: str, value: Any) -> None:
        """It is done, from now on whatever happens."""
        self.known[key] = value
        self._write({"done": {key: value}})

    def fail(self, key: str) -> None:
        """It was tried in vain."""
        self.failures[key] += 1
        self._write({"failed": key})

    def close(self, remove: bool) -> None:
        self._file.close()
        if remove:
            self.path.unlink(missing_ok=True)

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
