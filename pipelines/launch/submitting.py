"""A job's graph handed to Dataflow: dry-run, written as a template's job file (how the launcher runs a job), or submitted.

Runner, project, region, job name and template location are what was given, never changed here: the launcher finds the job
file where it said, or not at all.
"""

import json
import re
import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import apache_beam as beam
from apache_beam.io.gcp.pubsub import parse_subscription
from apache_beam.options.pipeline_options import DebugOptions, GoogleCloudOptions, PipelineOptions, WorkerOptions
from apache_beam.runners.dataflow.dataflow_runner import DataflowRuntimeException

from pipelines import contracts, secret_keys
from pipelines.launch.dataflow import UPDATABLE, Dataflow
from pipelines.options import BatchOptions, ReidentifyOptions, ReplayOptions, StreamOptions
from pipelines.private_key import VERSION as KEY_VERSION
from pipelines.sinks.bigquery import dataset
from pipelines.sources.gcs import SCHEME
from schemas.contract import Contract
from schemas.errors import Fault, Misconfigured, Transient
from transforms.channel import is_loopback
from transforms.ledger import LedgerRow

RUNNER = "DataflowRunner"
_ENDPOINTS = ("dlp_endpoint", "secrets_endpoint", "bigquery_endpoint", "bigquery_storage_endpoint", "storage_endpoint", "pubsub_endpoint", "kms_endpoint")

T = TypeVar("T")
OnDataflow = BatchOptions | ReidentifyOptions | ReplayOptions | StreamOptions
"""The options of the jobs that run there."""


def dataflow_options(options: OnDataflow, arguments: list[str], *more: str) -> PipelineOptions:
    """Beam's options for Dataflow, safe where they say nothing: no public addresses, and no sampling of elements that failed,
    which would write them into a bucket in clear. Raises Misconfigured, with every fault.
    """
    given = PipelineOptions([*arguments, f"--runner={options.runner}", f"--project={options.project}", "--no_save_main_session",
                             "--experiments=disable_always_on_exception_sampling", *more])
    cloud, worker = given.view_as(GoogleCloudOptions), given.view_as(WorkerOptions)
    faults = [Fault(f"--{name}", "is missing: Dataflow needs it", f"give --{name}=...")
              for name in ("project", "region", "temp_location") if not getattr(cloud, name)]
    faults += [*unreachable(options), *sampled("--experiments", [*(given.view_as(DebugOptions).experiments or []), *(cloud.dataflow_service_options or [])])]
    if worker.use_public_ips is None:
        worker.use_public_ips = False
    if not dry(given):
        faults += _launched(options, cloud, worker)
        faults += _replaced(cloud) if cloud.update and not faults else []
    if faults:
        raise Misconfigured(faults)
    return given


def sampled(where: str, experiments: Iterable[str]) -> list[Fault]:
    """A fault where Dataflow is told to write samples of what goes by into a bucket. https://cloud.google.com/dataflow/docs/guides/data-sampling"""
    if "enable_data_sampling" not in experiments:
        return []
    return [Fault(where, "enable_data_sampling has events written into a bucket, in clear", "leave it out")]


def keys_out_of_reach(options: OnDataflow) -> list[Fault]:
    """A fault where keys are no version of a secret."""
    if secret_keys.VERSION.fullmatch(options.keys) or (isinstance(options, ReidentifyOptions) and options.engine == "dlp"):  # DLP unwraps its own
        return []
    return [Fault("--keys", "is no version of a secret of Secret Manager: Dataflow's workers have no way to a folder of this machine",
                  "upload what `penstock keys DIR --secret=FILE` writes, and give projects/P/secrets/S/versions/N")]


def unreachable(options: OnDataflow) -> list[Fault]:
    """Faults of options that name a contract, files or tables out of the reach of Dataflow's workers."""
    faults = contracts.out_of_reach(options.contract) if options.contract else []  # of a replay the tables may tell it
    if isinstance(options, BatchOptions):
        return faults + _of_batch(options)
    if isinstance(options, ReplayOptions):
        return faults + _of_replay(options)
    if isinstance(options, ReidentifyOptions):
        return faults + _of_reidentify(options)
    return faults + _of_stream(options)


def _of_batch(options: BatchOptions) -> list[Fault]:
    faults = _no_dataset("--output", options.output)
    if not all(part.strip().startswith(SCHEME) for part in options.input.split(",")):
        faults.append(Fault("--input", "is on one machine, where no worker of Dataflow's finds it", "give gs://BUCKET/GLOB"))
    if options.manifest and not options.manifest.startswith(SCHEME):
        faults.append(Fault("--manifest", "is on one machine, where the launcher does not find it", "give gs://BUCKET/FILE"))
    return faults + _staging(options.staging)


def _of_replay(options: ReplayOptions) -> list[Fault]:
    faults = _no_dataset("--failures", options.failures)
    if not KEY_VERSION.fullmatch(options.private_key):
        faults.append(Fault("--private_key", "is no key version of Cloud KMS: a key in a file would have to ride along to every worker",
                            "give projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/N, or replay on one machine"))
    return faults + _staging(options.staging)


def _of_reidentify(options: ReidentifyOptions) -> list[Fault]:
    faults = _no_dataset("--output", options.output)
    if not options.destination.startswith("bq://"):
        faults.append(Fault("--destination", "is on one machine: values in clear do not go there from Dataflow's workers",
                            "give bq://PROJECT.DATASET.TABLE, in another dataset than the tables"))
    if not options.requested_by.strip():
        faults.append(Fault("--requested_by", "is missing: the workers' service account is no person, and the audit row says who asks",
                            "give --requested_by=NAME"))
    return faults


def _of_stream(options: StreamOptions) -> list[Fault]:
    faults = _no_dataset("--output", options.output)
    try:
        parse_subscription(options.subscription)
    except ValueError:
        faults.append(Fault("--subscription", "is no name that Dataflow takes", "give projects/PROJECT/subscriptions/NAME, as Pub/Sub shows it"))
    return faults


def _no_dataset(where: str, given: str) -> list[Fault]:
    """A fault where tables are in no dataset of BigQuery; where: the option that names them."""
    try:
        dataset(given, where)
    except Misconfigured as error:
        return list(error.faults)
    return []


def _staging(given: str) -> list[Fault]:
    if given.startswith(SCHEME):
        return []
    return [Fault("--staging", "is not in Cloud Storage: workers write there what BigQuery loads", "give gs://BUCKET/FOLDER")]


def dry(given: PipelineOptions) -> bool:
    """Whether the graph is only built and checked."""
    return bool(given.get_all_options().get("dry_run"))


def _launched(options: OnDataflow, cloud: GoogleCloudOptions, worker: WorkerOptions) -> list[Fault]:
    """What must hold where workers are to run the graph."""
    faults = keys_out_of_reach(options)
    if not re.fullmatch(r".+@sha256:[0-9a-f]{64}", worker.sdk_container_image or ""):
        faults.append(Fault("--sdk_container_image", "is missing, or not by its digest: workers need Penstock, and the one that was tested",
                            "give --sdk_container_image=HOST/PATH@sha256:..."))
    if not cloud.service_account_email:
        faults.append(Fault("--service_account_email", "is missing: Dataflow would take the project's default account, which may do too much",
                            "give --service_account_email=NAME@PROJECT.iam.gserviceaccount.com"))
    return faults + endpoints_out_of_reach(options)


def endpoints_out_of_reach(options: OnDataflow) -> list[Fault]:
    """Faults of options whose endpoint is one of this machine."""
    given = {name: str(getattr(options, name, "")) for name in _ENDPOINTS}
    return [Fault(f"--{name}", "leads to this machine, where no worker of Dataflow's finds it", "leave it out")
            for name, url in given.items() if url and is_loopback(url.split("://")[-1].split("/")[0])]


def _replaced(cloud: GoogleCloudOptions) -> list[Fault]:
    """A fault where an update finds no job to take the place of: Beam would look for it for ever."""
    endpoint = str(cloud.dataflow_endpoint or "")
    try:
        found = [job for job in Dataflow(cloud.project, cloud.region, endpoint).jobs(cloud.job_name or "") if job.state in UPDATABLE]
    except Misconfigured as error:
        return list(error.faults)
    except Transient as error:
        return [Fault("--update", str(error), "try again")]
    return [] if found else [Fault("--update", f"finds no running job {cloud.job_name} to take the place of", "leave it out, and start a new job")]


def contract_labels(contract: Contract) -> dict[str, str]:
    """The labels that a job has from its contract: its own (owner, cost_center, data_class), its name and version, in the
    characters that labels may hold (cloud.google.com/dataflow/docs/guides/labels).
    """
    told = {**dict(contract.labels), "contract": contract.name, "contract_version": contract.version}
    return {_label(name): _label(value) for name, value in told.items()}


def _label(text: str) -> str:
    return re.sub("[^a-z0-9_-]", "-", text.lower())[:63]


def label(given: PipelineOptions, contract: Contract) -> None:
    """Adds the contract's labels and the image's digest to those of the job; what was given stays."""
    cloud, image = given.view_as(GoogleCloudOptions), given.view_as(WorkerOptions).sdk_container_image or ""
    there = list(cloud.labels or [])
    known = " ".join(there)  # each NAME=VALUE, or a mapping of several
    wanted = {**contract_labels(contract), **({"image": image.rpartition(":")[2][:63]} if "@sha256:" in image else {})}
    cloud.labels = there + [f"{name}={value}" for name, value in wanted.items() if not re.search(rf"(^|[\s\"'{{]){name}[\"']?[=:]", known)]


def submit(pipeline: beam.Pipeline, given: PipelineOptions, contract: Contract) -> Any:
    """Runs the graph as the options say, and says what was done. Answers Beam's result of a submitted job, else None."""
    result = pipeline.run()
    cloud = given.view_as(GoogleCloudOptions)
    about = f"the graph of {contract.name} {contract.version}"
    if dry(given):
        steps = len(pipeline.to_runner_api().components.transforms)
        print(f"{about} was built and dry-run for Dataflow: {steps} transforms")
        return None
    if not getattr(result, "has_job", False):
        print(f"{about} was built; its job file is {cloud.template_location}")
        return None
    print(f"{about} was submitted to Dataflow as job {result.job_id()}")
    return result


def waited(result: Any, done: Callable[[], T | None], without: str) -> tuple[T | None, str]:
    """Waits for a submitted job's end: (what done answers, why there is nothing). result: Beam's; done: may raise Misconfigured; without: why, where
    it answers None."""
    found, problem = None, without
    try:
        state = str(result.wait_until_finish())
        found = done() if state == "DONE" else None
    except DataflowRuntimeException:  # its text holds that of workers' errors
        state = str(result.state)
    except Misconfigured as error:
        problem = str(error)
    return found, f"job {result.job_id()} ended as {state}, {problem}"


def ended(result: Any, done: Callable[[], LedgerRow | None], job: str, run: str, tables: str, as_json: bool,
          left: Callable[[], dict[str, int]] | None = None) -> int:
    """Waits for a submitted job's end and tells its books; exit code 0 where it is done and balanced, 1 where not.

    result: Beam's; done: the run's row in the ledger, None where it has none; it raises Misconfigured where that does not balance; left: rows that
    were left alone, by why.
    """
    row, problem = waited(result, done, "its run is not in the ledger")
    if row is None:
        print(f"penstock {job} failed; run {run} is not done: {problem}", file=sys.stderr)
        return 1
    print(row.sentence())
    alone = left() if left else {}
    for why, rows in alone.items():
        print(f"{rows:,} left alone: {why}")
    print(f"tables: {tables}")
    if as_json:
        print(json.dumps(json.loads(row.to_json()) | ({"left": alone} if left else {})))
    return 0 if row.balanced else 1
