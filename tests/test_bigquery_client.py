"""Where the client goes, and what it tries again."""

import pytest
import requests
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials

from pipelines.sinks.bigquery_client import EMULATOR, Patience, connect, passes, patiently, reason
from schemas.errors import Misconfigured, Transient


@pytest.mark.parametrize(("endpoint", "emulator", "expected"), [
    ("http://localhost:9050", "", "http://localhost:9050"), ("http://127.0.0.1:1/", "", "http://127.0.0.1:1"), ("http://[::1]:9050", "", "http://[::1]:9050"),
    ("", "localhost:9050", "http://localhost:9050"), ("", "http://localhost:9050", "http://localhost:9050"),
    ("http://localhost:1", "http://localhost:2", "http://localhost:1")])
def test_this_machine_needs_no_credentials(endpoint, emulator, expected) -> None:
    client = connect("project", endpoint, {EMULATOR: emulator})
    assert client._connection.API_BASE_URL == expected and isinstance(client._credentials, AnonymousCredentials) and client._http.trust_env is False


@pytest.mark.parametrize(("endpoint", "emulator", "where"), [
    ("http://example.com", "", "--bigquery_endpoint"), ("http://localhost.example.com:9050", "", "--bigquery_endpoint"),
    ("https://example.com", "", "--bigquery_endpoint"), ("http://bigquery.googleapis.com", "", "--bigquery_endpoint"), ("localhost:9050", "", "--bigquery_endpoint"),
    ("http://localhost@example.com", "", "--bigquery_endpoint"), ("", "http://example.com", EMULATOR), ("", "example.com:9050", EMULATOR),
    ("", "https://bigquery.googleapis.com", EMULATOR)])
def test_anything_else_is_refused(endpoint, emulator, where) -> None:
    with pytest.raises(Misconfigured) as told:
        connect("project", endpoint, {EMULATOR: emulator})
    assert [f.where for f in told.value.faults] == [where]


def failed(status: int, word: str) -> exceptions.GoogleAPICallError:
    return exceptions.from_http_status(status, "value SECRET", errors=[{"reason": word, "message": "value SECRET"}])


@pytest.mark.parametrize(("error", "again"), [
    (failed(503, "backendError"), True), (failed(403, "rateLimitExceeded"), True), (failed(429, "rateLimitExceeded"), True), (failed(500, "internalError"), True),
    (failed(403, "quotaExceeded"), False), (failed(429, "quotaExceeded"), False), (failed(400, "invalid"), False), (failed(404, "notFound"), False),
    (failed(409, "duplicate"), False), (exceptions.Aborted("x"), True), (exceptions.Cancelled("x"), True), (exceptions.AlreadyExists("x"), False), (failed(403, "accessDenied"), False), (exceptions.BadGateway("x"), True), (ConnectionResetError(), True), (ValueError(), False),
    (requests.exceptions.JSONDecodeError("value SECRET", "value SECRET", 0), True)])
def test_what_is_tried_again(error, again) -> None:
    assert passes(error) is again and "SECRET" not in reason(error)


def test_patience_ends_without_the_text_of_an_error() -> None:
    calls = []

    def call() -> None:
        calls.append(1)
        raise failed(503, "backendError")

    with pytest.raises(Transient, match="did not answer for 0.1 s: backendError") as told:
        patiently(call, Patience(seconds=0.1, first=0.01))
    assert calls and "SECRET" not in repr(told.value) and told.value.__cause__ is None and told.value.__suppress_context__


def test_it_is_tried_until_it_passes() -> None:
    ends = iter([failed(503, "backendError"), ConnectionResetError(), failed(429, "rateLimitExceeded"), None])

    def call() -> str:
        if error := next(ends):
            raise error
        return "done"

    assert patiently(call, Patience(seconds=600.0, first=0.01)) == "done"
