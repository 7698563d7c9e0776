"""A launch from inside the image onto Dataflow, as far as it goes without Dataflow: the launcher's binary runs main.py, which leaves a job file in a bucket. Asked for by image_run."""

import json
from pathlib import Path
from typing import Any

from pipelines.secret_keys import payload
from pipelines.sinks.bigquery import Dataset
from pipelines.sinks.bigquery_client import Patience, connect
from pipelines.sinks.bigquery_tables import apply, compare, wanted_tables
from schemas.contract import load
from tests.bigquery_server import BigQuery
from tests.gcs_server import Storage
from tests.image_box import Box
from tests.launcher import BUCKET, JOB_FILE, PROJECT, credentials, flags
from tests.secret_server import VERSION, Service, serve

LAUNCHER = "/opt/google/dataflow/python_template_launcher"


def job_file(box: Box, keys: Path, events: Path) -> tuple[dict[str, Any], list[str]]:
    """Launches the batch job of census; answers the job file and the names of all that was staged."""
    folder = box.shared / "dataflow"
    folder.mkdir()
    parameters = {"contract": "census", "input": f"gs://{BUCKET}/raw/*.ndjson", "output": f"bq://{PROJECT}.penstock", "keys": VERSION, "partition": "2026-03-04",
                  "staging": f"gs://{BUCKET}/load"}
    server, address = serve(Service(payload(keys)))
    with Storage(folder / "gcs", BUCKET) as storage, BigQuery(PROJECT, gcs=str(folder / "gcs")) as bigquery:
        bigquery.store.make_dataset("penstock", {})
        client, dataset = connect(PROJECT, bigquery.url), Dataset(PROJECT, "penstock")
        for table in compare(client, dataset, wanted_tables(load("census"), ""), Patience()):
            apply(client, dataset, table, Patience())
        for path in events.glob("*.ndjson"):
            storage.put(BUCKET, f"raw/{path.name}", path.read_bytes())
        environment = {"STORAGE_EMULATOR_HOST": storage.url, "BIGQUERY_EMULATOR_HOST": bigquery.url, "SECRET_MANAGER_EMULATOR_HOST": address,
                       "GOOGLE_APPLICATION_CREDENTIALS": str(credentials(folder, storage))}
        box.run(LAUNCHER, *flags("batch", parameters), network=True, environment=environment)
        staged = [name for name in storage.names(BUCKET) if name.startswith("staging/")]
        found = json.loads(storage.read(BUCKET, JOB_FILE))
    server.stop(0)
    return found, staged
