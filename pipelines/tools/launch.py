"""penstock launch ACTION: a job's Flex Template on Dataflow, by a profile. Exit code 0: done; 1: Dataflow did not answer, or the job has failed;
2: it cannot be done, every fault told."""

import json
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

from pipelines.launch.checks import every
from pipelines.launch.checks.setting import NOT_CHECKED, Result, Setting
from pipelines.launch.dataflow import UPDATABLE, Dataflow, Job
from pipelines.launch.profile import Profile, read
from pipelines.launch.request import parameter
from pipelines.launch.update_check import difference, running_graph, sentences, todays_graph
from pipelines.options import StreamOptions
from pipelines.sources import gcs
from pipelines.starting import Faults
from pipelines.tools.options import LaunchOptions
from schemas.errors import Fault, Misconfigured, Transient
from transforms.channel import is_loopback

FAILED = ("FAILED",)
LAUNCHES = ("validate", "run", "update")
STREAMS = {"update": "Dataflow updates streams alone; cancel it, and run it again", "drain": "drain ends a stream; cancel it"}


def run(options: LaunchOptions) -> int:
    """Does what ACTION says. Raises Misconfigured."""
    action = ACTIONS.get(options.action)
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
    faults = Faults()
    if action is None:
        faults.found.append(Fault("ACTION", "is none of its values", f"give one of {', '.join(ACTIONS)}"))
    if options.action in STREAMS and options.job != "stream":
        faults.found.append(Fault("--job", f"{options.job} is no stream", STREAMS[options.action]))
    if options.endpoint and not _here(options):
        faults.found.append(Fault("--endpoint", "is a stand-in, and Dataflow is Google's own: what it says of a launch means nothing",
                                  "leave it out, or give --dataflow_endpoint=http://localhost:PORT"))
    profile = faults.of(lambda: read(options.profile, options.job))
    names = faults.of(lambda: _names(options.transform_name_mapping))
    service = faults.of(lambda: Dataflow(profile.project, profile.region, options.dataflow_endpoint)) if profile else None
    setting = faults.of(lambda: _setting(options, profile)) if profile and options.action in LAUNCHES else None
    checked = every.results(setting) if setting else []
    faults.found += [fault for result in checked for fault in result.faults]
    faults.found += setting.wanted.unasked if setting else ()
    faults.stop()
    assert action and profile and service and names is not None
    try:
        return action(_Launch(options, profile, service, names, setting, checked))
    except Transient as error:
        print(f"penstock launch failed: {error}", file=sys.stderr)
        return 1


def _setting(options: LaunchOptions, profile: Profile) -> Setting:
    """What is checked before a launch. Beside a Dataflow on this machine nobody elsewhere is asked, and what is set here may lead here."""
    here = _here(options)
    away = "beside a Dataflow on this machine Google is not asked; --endpoint names a stand-in for it" if here and not options.endpoint else ""
    return every.setting(options.job, options.profile, profile, {} if here else os.environ, endpoint=options.endpoint,
                         storage_endpoint=_storage(options) if here else options.storage_endpoint, away=away, lock=options.lock)


def _here(options: LaunchOptions) -> bool:
    """Whether Dataflow is one on this machine."""
    return is_loopback(options.dataflow_endpoint.removeprefix("http://").rstrip("/"))


def _storage(options: LaunchOptions) -> str:
    """Where Cloud Storage is, "" for Google's."""
    return options.storage_endpoint or options.endpoint or os.environ.get(gcs.EMULATOR, "")


class _Launch:
    """What an action works with. setting, checked: where the action launches, what was checked and what came of it."""

    def __init__(self, options: LaunchOptions, profile: Profile, service: Dataflow, names: dict[str, str], setting: Setting | None,
                 checked: list[Result]) -> None:
        self.options, self.profile, self.service, self.names, self.setting, self.checked = options, profile, service, names, setting, checked
        self.name = profile.job_name

    def send(self, update: bool = False, validate_only: bool = False) -> str:
        assert self.setting
        return self.service.launch(parameter(self.options.job, self.profile, self.setting.whole(), update, self.names), validate_only)

    def running(self, states: tuple[str, ...] = ()) -> Job:
        """The job of the profile's name that runs. Raises Misconfigured where there is none, or more than one."""
        there = [job for job in self.service.jobs(self.name) if job.runs]
        if not there:
            raise Misconfigured([Fault(f"job {self.name}", f"does not run in {self.profile.region} of {self.profile.project}",
                                       "look with `penstock launch status`; start it with `penstock launch run`")])
        if len(there) > 1:
            raise Misconfigured([Fault(f"job {self.name}", f"runs more than once: {', '.join(f'{job.id} is {job.state}' for job in there)}",
                                       "wait until an update is through; or end one by its id: gcloud dataflow jobs cancel ID "
                                       f"--region={self.profile.region} --project={self.profile.project}")])
        if self.options.action in STREAMS and there[0].state == "RUNNING" and not there[0].streaming:
            raise Misconfigured([Fault(f"job {self.name}", f"is a batch job: {there[0].id}", STREAMS[self.options.action])])
        if states and there[0].state not in states:
            raise Misconfigured([Fault(f"job {self.name}", f"is {there[0].state}, and not yet or no more to be updated",
                                       "wait until `penstock launch status` tells that it is RUNNING; where it ends, start it anew")])
        return there[0]

    def told_checks(self) -> None:
        print(f"{every.summed(self.checked)}; `penstock launch validate` tells them one by one")

    def tell(self, sentence: str, job_id: str, state: str) -> None:
        print(sentence)
        if self.options.json:
            told: dict[str, Any] = {"action": self.options.action, "job": self.options.job, "name": self.name, "id": job_id, "state": state,
                                    "project": self.profile.project, "region": self.profile.region, "image": self.profile.image}
            print(json.dumps(told | ({"not_checked": [r.name for r in self.checked if r.state == NOT_CHECKED]} if self.setting else {})))


def _validate(launch: _Launch) -> int:
    print("\n".join([*every.told(launch.checked), "", every.summed(launch.checked)]))
    launch.send(validate_only=True)
    profile = launch.profile
    launch.tell(f"valid: {launch.name} would run {profile.template} in {profile.region} of {profile.project} as {profile.service_account}, "
                f"{profile.min_workers} to {profile.max_workers} workers, {'public' if profile.public_ips else 'private'} addresses", "", "")
    return 0


def _run(launch: _Launch) -> int:
    there = [job for job in launch.service.jobs(launch.name) if job.runs]
    if there:
        raise Misconfigured([Fault(f"job {launch.name}", f"runs already: {there[0].id} is {there[0].state}", "update it, or end it with drain or cancel")])
    launch.told_checks()
    job_id = launch.send()
    launch.tell(f"launched: {launch.name} is job {job_id}; `penstock launch status` tells what becomes of it", job_id, "QUEUED")
    return 0


def _update(launch: _Launch) -> int:
    """Beam's launcher looks for the running job by its name, for ever where there is none: so it is looked for here, first."""
    old = launch.running(UPDATABLE)
    why = _compared(launch, old)
    if why and not launch.options.force:
        raise Misconfigured(why)
    launch.told_checks()
    job_id = launch.send(update=True)
    launch.tell(f"launched: {launch.name} is to be job {job_id} in place of {old.id}, which runs on until Dataflow has checked the new graph", job_id, "QUEUED")
    return 0


def _compared(launch: _Launch, old: Job) -> list[Fault]:
    """Tells what the update changes; answers why it cannot be sent: something would be lost, or nobody knows what would."""
    assert launch.setting and isinstance(launch.setting.wanted.options, StreamOptions)
    subject, storage = f"job {launch.name}", _storage(launch.options)
    told = launch.service.options(old.id)
    try:
        if _here(launch.options) and not storage:
            print("not checked: what the update changes; beside a Dataflow on this machine the running graph is read where --storage_endpoint is given",
                  file=sys.stderr)
            return []
        running, new = running_graph(told, storage), todays_graph(launch.setting.wanted.options, launch.setting.whole())
    except Misconfigured as error:
        if launch.options.force:
            print(f"not checked, Dataflow's own check decides: {error}", file=sys.stderr)
        return [*error.faults, Fault(subject, "is not compared with today's graph, so that nobody knows what the update would lose",
                                     "mend what hinders it; --force leaves it to Dataflow's own check")]
    found = difference(running, new, {**dict(launch.profile.transform_names), **launch.names})
    print("\n".join(sentences(found, told, launch.profile.image, launch.setting.whole())))
    return [Fault(subject, "cannot be updated to this graph", "map names that have changed (transform_names of the profile), "
                  "or drain it and run anew; --force leaves it to Dataflow's own check")] if found.why else []


def _end(state: str) -> Callable[[_Launch], int]:
    def end(launch: _Launch) -> int:
        job = launch.running()
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
