"""Google's clients for checks, made when first asked for; and what an answer of theirs means to a check.

Every check only reads. A call waits seconds, not minutes, and is not tried again: what is not reachable is told as not checked.
"""

import re
from collections.abc import Callable
from functools import cache, cached_property
from typing import Any, TypeVar

import google.auth
import requests
from google.api_core import exceptions
from google.api_core.client_options import ClientOptions
from google.auth import impersonated_credentials
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, TransportError
from google.auth.transport.requests import AuthorizedSession
from google.cloud import bigquery, storage
from google.cloud.kms_v1 import KeyManagementServiceClient
from google.cloud.resourcemanager_v3 import ProjectsClient
from google.cloud.secretmanager_v1 import SecretManagerServiceClient
from google.protobuf.json_format import ParseError

from pipelines.sources import gcs
from schemas.errors import Fault, Misconfigured
from transforms.channel import is_loopback

_SECONDS, _HERE = 10.0, 120.0  # that a call waits; and for a stand-in, which refuses at once where it is away
_SCOPE = ["https://www.googleapis.com/auth/cloud-platform"]
_STRANGE = (ParseError, KeyError, AttributeError, TypeError)
"""What Google's libraries raise at an answer that is none of their services', such as the page of a network that wants a login."""
_AWAY = (exceptions.ServerError, exceptions.TooManyRequests, exceptions.RetryError, requests.exceptions.RequestException, TransportError, ConnectionError)

T = TypeVar("T")


class NotChecked(Exception):
    """A question that could not be asked, and why. No fault: nothing is known."""


def asked(call: Callable[[], T]) -> T:
    """What a call answers. Raises NotChecked where this account may not look, or the service is not reachable; NotFound is for the check to judge."""
    try:
        return call()
    except (exceptions.Forbidden, exceptions.Unauthorized):
        raise NotChecked("this account may not look there") from None
    except exceptions.NotFound:
        raise
    except _AWAY as error:
        raise NotChecked(f"not reachable: {type(error).__name__}") from None
    except exceptions.ClientError as error:
        raise NotChecked(f"the service did not take the question: HTTP {error.code}") from None
    except _STRANGE:
        raise NotChecked("what answered is not Google's service") from None
    except GoogleAuthError:
        raise NotChecked("the credentials were not accepted; to act as a service account takes roles/iam.serviceAccountTokenCreator on it") from None


class Clients:
    """Clients for one project, as one identity.

    endpoint: a stand-in for all of Google's services on this machine (http://localhost:PORT), spoken to without credentials; "" for Google's.
    account: a service account to act as; "" for whoever runs this. storage_endpoint: a Cloud Storage on this machine to read objects from;
    it holds the launch's, though what it says of places and grants means nothing. away: why nobody else may be asked, "" where all may.
    Raises Misconfigured for an endpoint elsewhere.
    """

    def __init__(self, project: str, endpoint: str = "", account: str = "", *, storage_endpoint: str = "", away: str = "") -> None:
        if endpoint and not (endpoint.startswith("http://") and is_loopback(endpoint.removeprefix("http://").rstrip("/"))):
            raise Misconfigured([Fault("--endpoint", "is not on this machine", "give http://localhost:PORT, or leave it out for Google's own")])
        self.project, self.endpoint, self.account = project, endpoint.rstrip("/"), account
        self._storage, self.away = storage_endpoint, away
        self.seconds = _HERE if endpoint or storage_endpoint else _SECONDS
        self._known: dict[tuple[Any, ...], Any] = {}

    @cached_property
    def credentials(self) -> Any:
        """Raises NotChecked where there are none."""
        if self.endpoint:
            return AnonymousCredentials()  # type: ignore[no-untyped-call]
        if self.away:
            raise NotChecked(self.away)
        own = _own()
        if own is None:
            raise NotChecked("there are no credentials; run gcloud auth application-default login")
        return impersonated_credentials.Credentials(own, self.account, _SCOPE) if self.account else own  # type: ignore[no-untyped-call]

    @cached_property
    def session(self) -> AuthorizedSession:
        """For what has no client library here, or one that asks an emulator: Artifact Registry, IAM, Pub/Sub, the registry of images."""
        made = AuthorizedSession(self.credentials)  # type: ignore[no-untyped-call]
        made.trust_env = not self.endpoint  # a proxy would be asked for localhost too
        return made

    def url(self, service: str, path: str) -> str:
        """A path of a service: on Google's host of that name, or on the stand-in."""
        return f"{self.endpoint or f'https://{service}'}/{path}"

    @property
    def objects(self) -> storage.Client:
        """For what lies in buckets, not for the buckets."""
        return gcs.client(self._storage) if self._storage else self.storage

    @cached_property
    def storage(self) -> storage.Client:
        return storage.Client(self.project, credentials=self.credentials, **({"_http": self.session} if self.endpoint else {}),
                              client_options=ClientOptions(api_endpoint=self.endpoint or "https://storage.googleapis.com"))

    @cached_property
    def bigquery(self) -> bigquery.Client:
        return bigquery.Client(self.project, credentials=self.credentials, **({"_http": self.session} if self.endpoint else {}),
                               client_options=ClientOptions(api_endpoint=self.endpoint or "https://bigquery.googleapis.com"))

    def rest(self, kind: type[T]) -> T:
        """Google's client of this kind."""
        # Clients of these kinds read no emulator's address from the environment, as Pub/Sub's does: what is asked is Google, or the stand-in.
        made: Any = kind
        options = ClientOptions(api_endpoint=self.endpoint) if self.endpoint else ClientOptions()
        found: T = self._once((kind,), lambda: made(transport="rest", credentials=self.credentials, client_options=options))
        return found

    def granted(self, kind: str, name: str, permissions: tuple[str, ...]) -> set[str]:
        """Those of the permissions that the account has on a resource: testIamPermissions of its service, asked once.

        kind and name: project P; bucket B; table P.D.T; subscription, secret, key and repository by their resource names; account by its
        address. Raises NotFound where the resource is not there, NotChecked where the question cannot be asked.
        """
        return self._once((kind, name, permissions), lambda: asked(lambda: _granted(self, kind, name, permissions)))

    def bucket_location(self, name: str) -> str:
        """Where a bucket lies, in small letters; asked once. Raises NotFound, NotChecked."""
        where = self._once(("location", name), lambda: asked(lambda: self.storage.get_bucket(name, timeout=self.seconds, retry=None).location))
        return str(where or "").lower()

    def _once(self, question: tuple[Any, ...], ask: Callable[[], T]) -> T:
        if question not in self._known:
            self._known[question] = ask()
        found: T = self._known[question]
        return found


@cache
def _own() -> Any:
    """The credentials of whoever runs this; None where there are none, which takes Google's library seconds to find out."""
    try:
        return google.auth.default(scopes=_SCOPE)[0]
    except DefaultCredentialsError:
        return None


_CLIENTS: dict[str, Any] = {"project": ProjectsClient, "secret": SecretManagerServiceClient, "key": KeyManagementServiceClient}
_PATHS = {"repository": ("artifactregistry.googleapis.com", "v1/{}"), "subscription": ("pubsub.googleapis.com", "v1/{}"),
          "account": ("iam.googleapis.com", "v1/projects/-/serviceAccounts/{}")}


def _granted(clients: Clients, kind: str, name: str, permissions: tuple[str, ...]) -> set[str]:
    if kind in _CLIENTS:
        request = {"resource": name if kind != "project" else f"projects/{name}", "permissions": list(permissions)}
        return set(clients.rest(_CLIENTS[kind]).test_iam_permissions(request=request, timeout=clients.seconds, retry=None).permissions)
    if kind == "bucket":
        return set(clients.storage.bucket(name).test_iam_permissions(list(permissions), timeout=clients.seconds, retry=None))
    if kind == "table":
        return set(clients.bigquery.test_iam_permissions(name, list(permissions), retry=None, timeout=clients.seconds).get("permissions", ()))
    service, path = _PATHS[kind]
    url = clients.url(service, f"{path.format(name)}:testIamPermissions")
    answer = clients.session.post(url, json={"permissions": list(permissions)}, timeout=clients.seconds)
    return set(answered(answer).json().get("permissions", ()))


def answered(answer: requests.Response) -> requests.Response:
    """The answer. Raises GoogleAPICallError where it is an error."""
    if answer.status_code >= 400:
        raise exceptions.from_http_response(answer)  # type: ignore[no-untyped-call]
    return answer


BUCKET = re.compile(r"gs://([a-z0-9][-a-z0-9_.]+)(?:/(.*))?")


def bucket_of(path: str) -> str:
    """The bucket of gs://BUCKET/..., "" for what is none."""
    match = BUCKET.fullmatch(path)
    return match[1] if match else ""
