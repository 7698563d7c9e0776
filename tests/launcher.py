"""What the launcher of a Flex Template does, on this machine: runs templates/main.py with the flags that it adds, against fakes of Cloud Storage and
Secret Manager, and keeps the job file.

The launcher is closed source. Its flags are those of Google's documentation of templates and of launcher logs that people have published.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.gcs_server import Storage

ROOT = Path(__file__).parents[1]
PROJECT, REGION, BUCKET = "test-project", "europe-west4", "penstock"
IMAGE = f"{REGION}-docker.pkg.dev/{PROJECT}/penstock/penstock@sha256:{'a' * 64}"
ACCOUNT = f"worker@{PROJECT}.iam.gserviceaccount.com"
KEY = f"projects/{PROJECT}/locations/{REGION}/keyRings/penstock/cryptoKeys/dataflow"
SUBNETWORK = f"regions/{REGION}/subnetworks/penstock"
JOB_FILE = "staging/template_launches/2026-03-04_1/job_object"


class Launched(NamedTuple):
    """job: the job file, None where there is none."""

    code: int
    text: str
    job: dict[str, Any] | None


def credentials(folder: Path, storage: Storage) -> Path:
    """Throw-away credentials of a service account, whose tokens the storage server gives out."""
    pem = rsa.generate_private_key(65537, 2048).private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / "credentials.json"
    path.write_text(json.dumps({"type": "service_account", "project_id": PROJECT, "private_key_id": "0", "private_key": pem.decode(), "client_id": "0",
                                "client_email": ACCOUNT, "token_uri": f"{storage.url}/token"}))
    return path


def flags(job: str, parameters: dict[str, str], *more: str) -> list[str]:
    """The flags that main.py gets."""
    return [*(f"--{name}={value}" for name, value in parameters.items()), "--runner=DataflowRunner", f"--project={PROJECT}", f"--region={REGION}",
            f"--job_name=census-{job}", f"--template_location=gs://{BUCKET}/{JOB_FILE}", f"--staging_location=gs://{BUCKET}/staging",
            f"--temp_location=gs://{BUCKET}/temp", f"--service_account_email={ACCOUNT}", f"--sdk_container_image={IMAGE}", f"--subnetwork={SUBNETWORK}",
            f"--dataflow_kms_key={KEY}", "--no_use_public_ips", "--num_workers=2", "--max_num_workers=10", "--worker_machine_type=n2-standard-2",
            "--experiments=min_num_workers=2", '--labels={"environment": "test"}', *more]


def launch(job: str, storage: Storage, folder: Path, parameters: dict[str, str], environment: dict[str, str], *more: str) -> Launched:
    """Runs main.py as the launcher does. environment: beside the least that a process needs."""
    given = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG", "LD_LIBRARY_PATH")}
    given |= {"HOME": str(folder), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "PENSTOCK_JOB": job, "STORAGE_EMULATOR_HOST": storage.url,
              "GOOGLE_APPLICATION_CREDENTIALS": str(credentials(folder, storage)), **environment}
    done = subprocess.run([sys.executable, str(ROOT / "templates" / "main.py"), *flags(job, parameters, *more)], cwd=folder, env=given, capture_output=True, text=True, timeout=600)
    written = JOB_FILE in storage.names(BUCKET)
    return Launched(done.returncode, done.stdout + done.stderr, json.loads(storage.read(BUCKET, JOB_FILE)) if written else None)
