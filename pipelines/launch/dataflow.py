"""The client of Dataflow's REST API: launch a Flex Template, look at jobs, ask for their end.

Plain HTTP leads to this machine and nowhere else. Asking is tried again, launching never: a second one would be a second job.
https://cloud.google.com/dataflow/docs/reference/rest
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import requests
from google.api_core import exceptions
from google.api_core.client_options import ClientOptions
from google.api_core.retry import Retry, if_exception_type
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.cloud import dataflow_v1beta3 as api
from google.protobuf.json_format import ParseError

from schemas.errors import Fault, Misconfigured, Transient
from transforms.channel import is_loopback

ENDED = ("DONE", "FAILED", "CANCELLED", "UPDATED", "DRAINED")  # a job of any other state, one that is new to us too, may still run
UPDATABLE = ("RUNNING", "DRAINING")  # those that Beam's launcher looks for
_STATES = {state.value: state.name.removeprefix("JOB_STATE_") for state in api.JobState}
_SECONDS = 60.0  # for an answer
_PATIENCE = 30.0
LOOK = "look with `penstock launch status` what the job is, and what became of it"
ASK_AGAIN = "check the network and --dataflow_endpoint, and ask again"
_PASSING = (exceptions.ServiceUnavailable, exceptions.InternalServerError, exceptions.TooManyRequests, exceptions.GatewayTimeout,
            requests.exceptions.ConnectionError, requests.exceptions.Timeout)
_WRONG = {  # what mends itself never
    exceptions.Forbidden: ("is not allowed for this account", "grant it roles/dataflow.developer, and roles/iam.serviceAccountUser on the worker account"),
    exceptions.Unauthorized: ("is not allowed without credentials", "run as a service account with roles/dataflow.developer"),
    exceptions.NotFound: ("finds no such project, region, template or job", "check the profile's names"),
    exceptions.Conflict: ("finds a job of that name running", "update it, or end it"),
}
T = TypeVar("T")


class Job(NamedTuple):
    """A job as Dataflow shows it. state: without JOB_STATE_; streaming: its type; created: RFC 3339."""

    id: str
    name: str
    state: str
    streaming: bool
    created: str

    @property
    def runs(self) -> bool:
        return self.state not in ENDED


class Dataflow:
    """A project's jobs in a region. Methods raise Misconfigured for what mends itself never, Transient for what may pass."""

    def __init__(self, project: str, region: str, endpoint: str = "", patience: float = _PATIENCE) -> None:
        """endpoint: a URL; "" for Google's. patience: seconds that questions are tried again. Raises Misconfigured."""
        self._place = {"project_id": project, "location": region}
        self._again = Retry(predicate=if_exception_type(*_PASSING), initial=0.2, maximum=5.0, timeout=patience)
        self._templates = _client(api.FlexTemplatesServiceClient, endpoint)
        self._jobs = _client(api.JobsV1Beta3Client, endpoint)

    def launch(self, parameter: api.LaunchFlexTemplateParameter, validate_only: bool = False) -> str:
        """The id of the job that the service made of the template; "" where it only validated the request."""
        request = api.LaunchFlexTemplateRequest(launch_parameter=parameter, validate_only=validate_only, **self._place)
        retry = self._again if validate_only else None
        again = ASK_AGAIN if validate_only else "look with `penstock launch status` whether the job is there; where it is not, launch again"
        answer = _asked("flexTemplates:launch", lambda: self._templates.launch_flex_template(request, retry=retry, timeout=_SECONDS), again)
        if not (validate_only or answer.job.id):
            raise Transient(f"Dataflow's answer to flexTemplates:launch names no job; {again}")
        return str(answer.job.id)

    def jobs(self, name: str) -> list[Job]:
        """The jobs of this name, the newest first. Only the id tells two of them apart."""
        request = api.ListJobsRequest(name=name, **self._place)
        found = _asked("jobs.list", lambda: list(self._jobs.list_jobs(request, retry=self._again, timeout=_SECONDS)))
        return sorted((_job(job) for job in found if job.name == name), key=lambda job: (job.created, job.id), reverse=True)

    def options(self, job_id: str) -> Mapping[str, Any]:
        """The pipeline options that a job was started with, as its job file holds them."""
        request = api.GetJobRequest(job_id=job_id, view=api.JobView.JOB_VIEW_ALL, **self._place)
        job = _asked("jobs.get", lambda: self._jobs.get_job(request, retry=self._again, timeout=_SECONDS))
        found = job.environment.sdk_pipeline_options
        return dict((found or {}).get("options", {}))

    def end(self, job_id: str, state: str) -> str:
        """Asks for a job's end, CANCELLED or DRAINED; answers its state now."""
        wanted = api.Job(requested_state=api.JobState[f"JOB_STATE_{state}"])
        request = api.UpdateJobRequest(job_id=job_id, job=wanted, **self._place)
        return _job(_asked("jobs.update", lambda: self._jobs.update_job(request, retry=self._again, timeout=_SECONDS), mend=LOOK)).state


def _job(job: api.Job) -> Job:
    created = job.create_time.isoformat() if job.create_time else ""
    state = _STATES.get(api.Job.pb(job).current_state, "UNKNOWN")  # Dataflow may know more of them than this client
    return Job(str(job.id), str(job.name), state, job.type_ == api.JobType.JOB_TYPE_STREAMING, created)


def _asked(what: str, call: Callable[[], T], again: str = ASK_AGAIN, mend: str = "mend the profile, or the template") -> T:
    """What the call answers. Google's own text is shown where it finds fault with a request: it speaks of names and parameters, there are no rows yet.

    again, mend: what to do where nothing is answered, and where the request is refused.
    """
    try:
        return call()
    except exceptions.BadRequest as error:
        raise Misconfigured([Fault(f"Dataflow, {what}", f"refuses the request: {re.sub('^[A-Z]+ http[^ ]+: ', '', str(error.message))}",
                                   mend)]) from None
    except tuple(_WRONG) as error:
        problem, remedy = _WRONG[type(error)]
        raise Misconfigured([Fault(f"Dataflow, {what}", problem, remedy)]) from None
    except GoogleAuthError as error:
        raise Misconfigured([Fault("credentials", f"are not taken: {type(error).__name__}", "log in anew: gcloud auth application-default login")]) from None
    except (exceptions.GoogleAPIError, requests.RequestException) as error:
        cause = error.cause if isinstance(error, exceptions.RetryError) and error.cause else error
        raise Transient(f"Dataflow did not answer {what}: {type(cause).__name__}; {again}") from None
    except ParseError:
        raise Transient(f"the answer to {what} is none of Dataflow's: something between here and there may have given it; {again}") from None


def _client(kind: type[T], endpoint: str) -> T:
    url = endpoint.rstrip("/")
    made: Any = kind
    if url.startswith("http://") and is_loopback(url.removeprefix("http://")):
        anyone: Any = AnonymousCredentials()  # type: ignore[no-untyped-call]
        client = made(credentials=anyone, transport="rest", client_options=ClientOptions(api_endpoint=url))
        client.transport._session.trust_env = False  # a proxy would be asked for localhost too
        return client  # type: ignore[no-any-return]
    if url and not re.fullmatch(r"https://([a-z0-9-]+\.)+googleapis\.com", url):
        raise Misconfigured([Fault("--dataflow_endpoint", "is neither an endpoint of Google's nor on this machine",
                                   "give a URL such as https://dataflow.europe-west4.rep.googleapis.com, or http://localhost:9070")])
    try:
        return made(transport="rest", client_options=ClientOptions(api_endpoint=url or "https://dataflow.googleapis.com"))  # type: ignore[no-any-return]
    except GoogleAuthError:
        raise Misconfigured([Fault("credentials", "there are none that Google's libraries can find",
                                   "gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS")]) from None
