"""What a launch asks of Dataflow, made from a profile, and everything that can be known of it without asking anyone.

Safe where the profile says nothing: private addresses, the profile's subnetwork, key and account, the image by its digest for
launcher and workers, no sampling of elements that failed, labels from the contract.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from google.cloud import dataflow_v1beta3 as api

from pipelines.__main__ import COMMANDS
from pipelines.contracts import load
from pipelines.flags import attempt, declared
from pipelines.launch.metadata import LAUNCHERS
from pipelines.launch.profile import Profile
from pipelines.launch.submitting import RUNNER, OnDataflow, contract_labels, endpoints_out_of_reach, keys_out_of_reach, sampled, unreachable
from pipelines.options import BatchOptions, ReidentifyOptions, StreamOptions
from pipelines.reidentify_checks import without_asking
from pipelines.sources.gcs import Unasked
from schemas.contract import Contract
from schemas.errors import Fault, Misconfigured

MOST_LABELS = 64
"""https://cloud.google.com/resource-manager/docs/labels-overview"""


class Wanted(NamedTuple):
    """What a profile's parameters ask of a job.

    options: as the job will take them, an option at fault with its default; contract: None where it is not whole or could not be read;
    faults: of the parameters; contract_faults: of the contract; unasked: why the contract could not be read, so that nothing is known of it.
    """

    options: OnDataflow
    contract: Contract | None
    faults: tuple[Fault, ...]
    contract_faults: tuple[Fault, ...] = ()
    unasked: tuple[Fault, ...] = ()

    @property
    def amiss(self) -> frozenset[str]:
        """The options at fault, by name."""
        return frozenset(map(_named, self.faults))


def wanted(job: str, profile: Profile, storage_endpoint: str = "") -> Wanted:
    """The options that the job will take, and its contract, with all that is wrong with either. storage_endpoint: as for pipelines.sources.gcs.client."""
    options = COMMANDS[job].options
    local = {name for name, _, _, spec in declared(options) if spec.local} | LAUNCHERS
    faults = [Fault(f"parameters.{name}", "is no parameter of the template", "leave it out: " + (
        "the launcher gives it, from the profile" if name in LAUNCHERS else "it says something on one machine only"))
        for name, _ in profile.parameters if name in local]
    misspelt = [name for name, _ in profile.parameters if not re.fullmatch("[A-Za-z0-9_]+", name)]  # a command line takes id-attribute too, a template does not
    faults += [Fault(f"parameters.{name}", "is no name of a parameter", "write it as docs/flex-template.md does, such as id_attribute") for name in misspelt]
    given = [f"--{name}={value}" for name, value in profile.parameters if name not in {*local, *misspelt}]
    found, _, untaken = attempt(options, [*given, f"--project={profile.project}", f"--runner={RUNNER}"])
    faults += untaken
    if not found.contract and not any(_named(fault) == "contract" for fault in untaken):
        faults.append(Fault("--contract", "is missing: a launch is labelled by it, before anybody asks the tables", "give --contract=NAME or gs://BUCKET/FOLDER"))
    amiss = set(map(_named, faults))
    contract, contract_faults, unasked = None, tuple[Fault, ...](), tuple[Fault, ...]()
    try:
        contract = load(found.contract, storage_endpoint=storage_endpoint) if found.contract else None
    except Unasked as error:
        unasked = error.faults
    except Misconfigured as error:
        contract_faults = error.faults
    reach = [*unreachable(found), *keys_out_of_reach(found), *endpoints_out_of_reach(found), *(_fits(job, profile, found, contract) if contract else [])]
    faults += [fault for fault in reach if _named(fault) not in amiss]
    return Wanted(found, contract, tuple(dict.fromkeys(faults)), contract_faults, unasked)


def _named(fault: Fault) -> str:
    """The option or parameter that a fault is one of."""
    return re.sub("^(--|parameters[.])|=.*$", "", fault.where)


def _fits(job: str, profile: Profile, options: OnDataflow, contract: Contract) -> list[Fault]:
    """Faults of options, profile and contract together."""
    told = labels(job, profile, contract)
    faults = sampled("experiments", profile.experiments)
    faults += [Fault(f"{contract.folder}/contract.yaml: labels", f"{name} begins with no letter: Google takes it for no label's name", "call it otherwise")
              for name in told if not re.match("[a-z]", name)]
    if len(told) > MOST_LABELS:
        faults.append(Fault("labels", f"are more than {MOST_LABELS} with those of the contract: more than a job of Google's can have", "leave some out"))
    if isinstance(options, BatchOptions) and not options.partition:
        faults.append(Fault("--partition", "is missing: into BigQuery a run replaces days", "declare the days: partition: [DAY, ...]"))
    if isinstance(options, BatchOptions) and contract.windows is not None:
        faults.append(Fault("--contract", f"{contract.name} has windows, which are not written to BigQuery by batch", "run it as a stream"))
    if isinstance(options, StreamOptions) and options.write == "exactly_once" and not options.expansion_service:
        faults.append(Fault("--write=exactly_once", "needs Java and a jar in the launcher, and our image holds neither",
                            "leave it out, or make an image that holds both (docs/bigquery.md), and name the jar: expansion_service: /PATH.jar"))
    if isinstance(options, ReidentifyOptions):
        faults += without_asking(options, contract)
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
