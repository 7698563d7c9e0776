"""The client of BigQuery's REST API. Without TLS it leads to this machine and nowhere else.

https://cloud.google.com/bigquery/docs/reference/rest
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import google.auth
import requests
from google.api_core import exceptions
from google.api_core.client_options import ClientOptions
from google.api_core.retry import Retry
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError, TransportError
from google.auth.transport.requests import AuthorizedSession
from google.cloud import bigquery
from google.cloud.bigquery import Client

from schemas.errors import Fault, Misconfigured, Transient
from transforms.channel import is_loopback

EMULATOR = "BIGQUERY_EMULATOR_HOST"
AGAIN = frozenset({"rateLimitExceeded", "backendError", "internalError", "badGateway", "jobBackendError", "jobInternalError", "jobRateLimitExceeded"})
"""Words of BigQuery's for what may pass."""
CONNECTION = (ConnectionError, requests.exceptions.ConnectionError, requests.exceptions.Timeout, requests.exceptions.ChunkedEncodingError,
              requests.exceptions.InvalidJSONError, TransportError)
"""What says that nobody answered, or somebody else did: a page of a proxy's in place of BigQuery's JSON."""

T = TypeVar("T")


@dataclass(frozen=True)
class Patience:
    """seconds: how long one call is tried again; first: the wait before its second try, doubled each time up to 10 s;
    answer: how long one answer may take; job: how long a job may take, all in seconds.
    """

    seconds: float = 120.0
    first: float = 0.5
    answer: float = 60.0
    job: float = 3600.0


def connect(project: str, endpoint: str = "", environment: Mapping[str, str] = os.environ) -> Client:
    """A client: with TLS and the credentials of the environment, or without both to a loopback address.

    endpoint: a URL; "" for BIGQUERY_EMULATOR_HOST where that is set, else Google's. Raises Misconfigured.
    """
    where, url = ("--bigquery_endpoint", endpoint) if endpoint else (EMULATOR, environment.get(EMULATOR, ""))
    url = url.rstrip("/")
    if url and where == EMULATOR and "://" not in url:
        url = f"http://{url}"
    if url.startswith("http://") and is_loopback(url.removeprefix("http://")):
        anyone: Any = AnonymousCredentials()  # type: ignore[no-untyped-call]
        session: Any = AuthorizedSession(anyone)  # type: ignore[no-untyped-call]
        session.trust_env = False  # a proxy would be asked for localhost too
        return bigquery.Client(project, credentials=anyone, _http=session, client_options=ClientOptions(api_endpoint=url))
    if url and where == EMULATOR:
        raise Misconfigured([Fault(where, "is not on this machine: rows would pass without TLS", "unset it, or give http://localhost:PORT")])
    if url and not re.fullmatch(r"https://([a-z0-9-]+\.)+googleapis\.com", url):
        raise Misconfigured([Fault(where, "is neither an endpoint of Google's nor on this machine",
                                   "give a URL such as https://bigquery.europe-west3.rep.googleapis.com, or http://localhost:9050")])
    try:
        credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    except GoogleAuthError:
        raise Misconfigured([Fault("credentials", "there are none that Google's libraries can find",
                                   "run as a service account with roles/bigquery.jobUser and roles/bigquery.dataEditor, "
                                   "or set GOOGLE_APPLICATION_CREDENTIALS")]) from None
    return bigquery.Client(project, credentials=credentials, client_options=ClientOptions(api_endpoint=url or "https://bigquery.googleapis.com"))


def reason(error: Exception) -> str:
    """BigQuery's word for an error (notFound, invalid, quotaExceeded, ...), else its status or type. Never its text, which may quote rows.

    https://cloud.google.com/bigquery/docs/error-messages
    """
    if isinstance(error, exceptions.GoogleAPICallError):
        told = error.errors[0].get("reason") if error.errors and isinstance(error.errors[0], Mapping) else None
        return str(told or f"HTTP {error.code}")
    return type(error).__name__


def passes(error: Exception) -> bool:
    """True where the same call may succeed a little later. A quota by the day (quotaExceeded) is not waited for."""
    if isinstance(error, exceptions.GoogleAPICallError):
        if isinstance(error, exceptions.Aborted | exceptions.Cancelled):  # of gRPC: to be tried again, and said by a server that ends. The first
            return True  # one's number, 409, is also that of what is there already
        return reason(error) in AGAIN or (error.code in (408, 429, 500, 502, 503, 504) and reason(error) != "quotaExceeded")
    return isinstance(error, CONNECTION)


def patiently(call: Callable[[], T], patience: Patience) -> T:
    """What the call answers, tried again for so long. Raises Transient where it never passed, or what the call raised.

    The call may have been done although its answer was lost: it must be one that can be sent twice.
    """
    again: Any = Retry(predicate=passes, initial=patience.first, maximum=10.0, multiplier=2.0, timeout=patience.seconds)
    try:
        return again(call)()  # type: ignore[no-any-return]
    except exceptions.RetryError as error:
        raise Transient(f"BigQuery did not answer for {patience.seconds:g} s: {reason(error.cause)}") from None
    except CONNECTION as error:
        raise Transient(f"BigQuery cannot be reached: {type(error).__name__}") from None
