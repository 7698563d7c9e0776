"""penstock launch ACTION: a job's Flex Template on Dataflow, by a profile. Exit code 0: done; 1: Dataflow did not answer, or the job has failed;
2: it cannot be done, every fault told."""

import json
import logging
import os
import sys
from collections.abc import Callable

from pipelines.launch.dataflow import UPDATABLE, Dataflow, Job
from pipelines.launch.profile import Profile, read
from pipelines.launch.request import JobOptions, job_options, parameter
from pipelines.launch.template_check import template_faults
from pipelines.launch.update_check import difference, running_graph, sentences, todays_graph
from pipelines.options import StreamOptions
from pipelines.sources import gcs
from pipelines.starting import Faults
from pipelines.tools.options import LaunchOptions
from schemas.contract import Contract
from schemas.errors import Fault, Misconfigured, Transient
from transforms.channel import is_loopback

FAILED = ("FAILED",)


def run(options: LaunchOptions) -> int:
    """Does what ACTION says. Raises Misconfigured."""
    action = ACTIONS.get(options.action)
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
    faults = Faults()
    if action is None:
        faults.found.append(Fault("ACTION", "is none of its values", f"give one of {', '.join(ACTIONS)}"))
    profile = faults.of(lambda: read(options.profile, options.job))
    names = faults.of(lambda: _names(options.transform_name_mapping))
    service = faults.of(lambda: Dataflow(profile.project, profile.region, options.dataflow_endpoint)) if profile else None
    launches = options.action in ("validate", "run", "update")
    given = faults.of(lambda: job_options(options.job, profile, options.storage_endpoint)) if profile and launches else None
    if profile and given and _reachable(options):
        faults.found += template_faults(profile, options.storage_endpoint)
    faults.stop()
    assert action and profile and service and names is not None
    try:
        return action(_Launch(options, profile, service, names, given))
    except Transient as error:
        print(f"penstock launch failed: {error}", file=sys.stderr)
        return 1


class _Launch:
    """What an action works with. given: the job's options and contract, where the action launches."""

    def __init__(self, options: LaunchOptions, profile: Profile, service: Dataflow, names: dict[str, str],
                 given: "tuple[JobOptions, Contract] | None") -> None:
        self.options, self.profile, self.service, self.names, self.given = options, profile, service, names, given
        self.name = profile.job_name

    def send(self, update: bool = False, validate_only: bool = False) -> str:
        assert self.given
        return self.service.launch(parameter(self.options.job, self.profile, self.given[1], update, self.names), validate_only)

    def running(self, states: tuple[str, ...] = ()) -> Job:
        """The job of the profile's name that runs. Raises Misconfigured where there is none."""
        there = [job for job in self.service.jobs(self.name) if job.runs]
        found = [job for job in there if not states or job.state in states]
        if not found:
            what = f"is {there[0].state}, and not yet or no more to be updated" if there else f"does not run in {self.profile.region} of {self.profile.project}"
            raise Misconfigured([Fault(f"job {self.name}", what, "look with `penstock launch status`; start it with `penstock launch run`")])
        return found[0]

    def tell(self, sentence: str, job_id: str, state: str) -> None:
        print(sentence)
        if self.options.json:
            print(json.dumps({"action": self.options.action, "job": self.options.job, "name": self.name, "id": job_id, "state": state,
                              "project": self.profile.project, "region": self.profile.region, "image": self.profile.image}))


def _validate(launch: _Launch) -> int:
    launch.send(validate_only=True)
    profile = launch.profile
    launch.tell(f"valid: {launch.name} would run {profile.template} in {profile.region} of {profile.project} as {profile.service_account}, "
                f"{profile.min_workers} to {profile.max_workers} workers, {'public' if profile.public_ips else 'private'} addresses", "", "")
    return 0


def _run(launch: _Launch) -> int:
    there = [job for job in launch.service.jobs(launch.name) if job.runs]
    if there:
        raise Misconfigured([Fault(f"job {launch.name}", f"runs already: {there[0].id} is {there[0].state}", "update it, or end it with drain or cancel")])
    job_id = launch.send()
    launch.tell(f"launched: {launch.name} is job {job_id}; `penstock launch status` tells what becomes of it", job_id, "QUEUED")
    return 0


def _update(launch: _Launch) -> int:
    """Beam's launcher looks for the running job by its name, for ever where there is none: so it is looked for here, first."""
    assert launch.given
    options, contract = launch.given
    if not isinstance(options, StreamOptions):
        raise Misconfigured([Fault("--job", f"{launch.options.job} is no stream: Dataflow updates streams alone", "cancel it, and run it again")])
    old = launch.running(UPDATABLE)
    fits = _check(launch, options, contract, old)
    if not fits and not launch.options.force:
        raise Misconfigured([Fault(f"job {launch.name}", "cannot be updated to this graph", "map names that have changed (transform_names of the profile), "
                                   "or drain it and run anew; --force leaves it to Dataflow's own check")])
    job_id = launch.send(update=True)
    launch.tell(f"launched: {launch.name} is to be job {job_id} in place of {old.id}, which runs on until Dataflow has checked the new graph", job_id, "QUEUED")
    return 0


def _check(launch: _Launch, options: StreamOptions, contract: Contract, old: Job) -> bool:
    """Tells what the update changes; False where it cannot be done. A running graph that is out of reach is left to Dataflow's own check."""
    try:
        if not _reachable(launch.options):
            raise Misconfigured([Fault("the running job's graph", "is out of reach beside a Dataflow on this machine", "give --storage_endpoint")])
        running, new = running_graph(launch.service.options(old.id), launch.options.storage_endpoint), todays_graph(options, contract)
    except Misconfigured as error:
        print(f"penstock launch: not checked, Dataflow's own check decides: {error}", file=sys.stderr)
        return True
    found = difference(running, new, {**dict(launch.profile.transform_names), **launch.names})
    print("\n".join(sentences(found)))
    return not found.why


def _end(state: str) -> Callable[[_Launch], int]:
    def end(launch: _Launch) -> int:
        job = launch.running()
        if state == "DRAINED" and launch.options.job != "stream":
            raise Misconfigured([Fault("ACTION", f"drain ends a stream, and {launch.options.job} is none", "cancel it")])
        now = launch.service.end(job.id, state)
        launch.tell(f"{'drain' if state == 'DRAINED' else 'cancel'} was asked for: {launch.name}, job {job.id}, is {now}", job.id, now)
        return 0

    return end


def _status(launch: _Launch) -> int:
    found = launch.service.jobs(launch.name)
    if not found:
        raise Misconfigured([Fault(f"job {launch.name}", f"has never run in {launch.profile.region} of {launch.profile.project}",
                                   "check the profile, or start it with `penstock launch run`")])
    newest = found[0]
    for job in found[1:10][::-1]:
        print(f"before: {job.id}  {job.state}  since {job.created}")
    launch.tell(f"{newest.name}: job {newest.id} is {newest.state}, created {newest.created}", newest.id, newest.state)
    return 1 if newest.state in FAILED else 0


ACTIONS: dict[str, Callable[[_Launch], int]] = {
    "validate": _validate, "run": _run, "update": _update, "drain": _end("DRAINED"), "cancel": _end("CANCELLED"), "status": _status}


def _names(text: str) -> dict[str, str]:
    try:
        found = json.loads(text or "{}")
        if isinstance(found, dict) and all(isinstance(new, str) for new in found.values()):
            return found
    except ValueError:
        pass
    raise Misconfigured([Fault("--transform_name_mapping", "is no JSON object of texts", 'give {"OLD":"NEW"}, "" for what is gone')])


def _reachable(options: LaunchOptions) -> bool:
    """Whether Cloud Storage may be asked: beside a Dataflow on this machine only one on this machine too."""
    return not is_loopback(options.dataflow_endpoint.removeprefix("http://").rstrip("/")) or bool(options.storage_endpoint or os.environ.get(gcs.EMULATOR))
