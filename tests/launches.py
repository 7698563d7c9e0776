"""A launch that is right in every way, for tests to spoil."""

import hashlib
import json
from pathlib import Path

import yaml

from pipelines.launch.checks import every
from pipelines.launch.checks.places import LOCK_LABEL
from pipelines.launch.checks.setting import Result
from pipelines.launch.metadata import spec
from pipelines.tools import check
from pipelines.tools.options import CheckOptions
from schemas.contract import Contract
from tests.google_server import World, served

LOCK = b"package==1 --hash=sha256:0\n"


class Launch:
    """A launch that is right in every way, in a world where everything is as it must be; tests change what they test."""

    def __init__(self, folder: Path, contract: Contract) -> None:
        self.world = World(contract)
        self.lock = folder / "requirements.lock"
        self.lock.write_bytes(LOCK)
        self.path = folder / "prod.yaml"
        digest = self.world.image({LOCK_LABEL: hashlib.sha256(LOCK).hexdigest()})
        self.profile = {
            "project": "my-project", "region": "europe-west4", "image": f"europe-west4-docker.pkg.dev/my-project/penstock/penstock@{digest}",
            "staging": "gs://my-staging/staging", "temp": "gs://my-staging/temp", "subnetwork": "regions/europe-west4/subnetworks/penstock",
            "service_account": "penstock-worker@my-project.iam.gserviceaccount.com",
            "kms_key": "projects/my-project/locations/europe-west4/keyRings/penstock/cryptoKeys/dataflow",
            "parameters": {"contract": contract.name, "output": "bq://my-project.penstock", "keys": "projects/my-project/secrets/penstock-keys/versions/1"},
            "jobs": {
                "stream": {"job_name": "census-stream", "template": "gs://my-templates/stream.json",
                           "parameters": {"subscription": "projects/my-project/subscriptions/census"}},
                "batch": {"job_name": "census-batch", "template": "gs://my-templates/batch.json",
                          "parameters": {"input": "gs://my-raw/census/*.ndjson", "partition": "2026-03-04", "staging": "gs://my-staging/load"}}}}
        for job in ("stream", "batch"):
            self.world.objects[f"my-templates/{job}.json"] = json.dumps(spec(job, str(self.profile["image"]))).encode()

    def checked(self, job: str = "stream", environment: dict[str, str] | None = None, **options) -> tuple[int, dict[str, Result]]:
        """(exit code, results by name)."""
        self.path.write_text(yaml.safe_dump(self.profile))
        with served(self.world) as url:
            given = CheckOptions(**{"job": job, "profile": str(self.path), "endpoint": url, "lock": str(self.lock), **options})
            setting = check.setting_of(given, environment or {})
            results = {result.name: result for result in every.results(setting)}
        return every.exit_code(list(results.values())), results
