"""What a launch asks of Dataflow, made from a profile, and everything that can be known of it without asking anyone.

Safe where the profile says nothing: private addresses, the profile's subnetwork, key and account, the image by its digest for
launcher and workers, no sampling of elements that failed, labels from the contract.
"""

from collections.abc import Mapping

from google.cloud import dataflow_v1beta3 as api

from pipelines.__main__ import COMMANDS
from pipelines.contracts import load
from pipelines.flags import declared, parse
from pipelines.launch.metadata import LAUNCHERS
from pipelines.launch.profile import Profile
from pipelines.launch.submitting import RUNNER, contract_labels, keys_out_of_reach, unreachable
from pipelines.options import BatchOptions, StreamOptions
from pipelines.starting import Faults
from schemas.contract import Contract
from schemas.errors import Fault, Misconfigured

JobOptions = BatchOptions | StreamOptions
NOT_ON_DATAFLOW = {
    "replay": "run `penstock replay --failures=bq://PROJECT.DATASET` on one machine: it reads and writes the same tables",
    "reidentify": "run `penstock reidentify` on one machine: what it answers is meant for one reader, not for a bucket",
}


def job_options(job: str, profile: Profile, storage_endpoint: str = "") -> tuple[JobOptions, Contract]:
    """The options that the job will parse, and its contract. Raises Misconfigured with every fault in the profile's parameters."""
    if job in NOT_ON_DATAFLOW:
        raise Misconfigured([Fault("--job", f"{job} does not run on Dataflow", NOT_ON_DATAFLOW[job])])
    options = COMMANDS[job].options
    faults = Faults()
    local = {name for name, _, _, spec in declared(options) if spec.local} | LAUNCHERS
    for name, _ in profile.parameters:
        if name in local:
            faults.found.append(Fault(f"parameters.{name}", "is no parameter of the template", "leave it out: " + (
                "the launcher gives it, from the profile" if name in LAUNCHERS else "it says something on one machine only")))
    given = [f"--{name}={value}" for name, value in profile.parameters if name not in local]
    parsed = faults.of(lambda: parse(options, [*given, f"--project={profile.project}", f"--runner={RUNNER}"]))
    contract = None
    if parsed is not None:
        found: JobOptions = parsed[0]
        contract = faults.of(lambda: load(found.contract, storage_endpoint=storage_endpoint))
        faults.found += [*unreachable(found), *keys_out_of_reach(found)]
        faults.found += _fits(found, contract) if contract else []
    faults.stop()
    assert parsed is not None and contract is not None
    return parsed[0], contract


def _fits(options: JobOptions, contract: Contract) -> list[Fault]:
    """Faults of options and contract together."""
    faults = []
    if isinstance(options, BatchOptions) and not options.partition:
        faults.append(Fault("--partition", "is missing: into BigQuery a run replaces days", "declare the days: partition: [DAY, ...]"))
    if isinstance(options, BatchOptions) and contract.windows is not None:
        faults.append(Fault("--contract", f"{contract.name} has windows, which are not written to BigQuery by batch", "run it as a stream"))
    return faults


def parameter(job: str, profile: Profile, contract: Contract, update: bool = False, transform_names: Mapping[str, str] | None = None
              ) -> api.LaunchFlexTemplateParameter:
    """The launch that a profile says. transform_names: {old: new}, for an update, beside the profile's own."""
    experiments = dict.fromkeys(["disable_always_on_exception_sampling", f"min_num_workers={profile.min_workers}", *profile.experiments])
    environment = api.FlexTemplateRuntimeEnvironment(
        num_workers=profile.min_workers, max_workers=profile.max_workers, machine_type=profile.machine_type, temp_location=profile.temp,
        staging_location=profile.staging, service_account_email=profile.service_account, network=profile.network, subnetwork=profile.subnetwork,
        ip_configuration=api.WorkerIPAddressConfiguration.WORKER_IP_PUBLIC if profile.public_ips else api.WorkerIPAddressConfiguration.WORKER_IP_PRIVATE,
        kms_key_name="" if profile.kms_key == "none" else profile.kms_key, sdk_container_image=profile.image, disk_size_gb=profile.disk_gb,
        autoscaling_algorithm=api.AutoscalingAlgorithm.AUTOSCALING_ALGORITHM_BASIC, additional_experiments=list(experiments),
        additional_user_labels=labels(job, profile, contract))
    if job == "stream":
        environment.enable_streaming_engine = True
        environment.streaming_mode = api.StreamingMode.STREAMING_MODE_EXACTLY_ONCE
    return api.LaunchFlexTemplateParameter(
        job_name=profile.job_name, container_spec_gcs_path=profile.template, parameters=dict(profile.parameters), environment=environment, update=update,
        transform_name_mappings={**dict(profile.transform_names), **(transform_names or {})} if update else {})


def labels(job: str, profile: Profile, contract: Contract) -> dict[str, str]:
    """The job's labels: the contract's, what runs (job and the image's digest, cut to what a label holds), and the profile's, which win."""
    return {**contract_labels(contract), "penstock": job, "image": profile.image.rpartition(":")[2][:63], **dict(profile.labels)}
