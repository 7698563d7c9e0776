"""Objects on Google Cloud Storage: listed, looked up, and read in ranges of one generation each.

Plain HTTP leads to this machine and nowhere else. A range is asked for with ifGenerationMatch
(https://cloud.google.com/storage/docs/request-preconditions), so bytes of two generations are never mixed, and as stored:
an object kept with Content-Encoding gzip is not unpacked on the way, which would make its ranges meaningless.
"""

import os
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import requests
from apache_beam.io.filesystem import FileSystem
from google.api_core.exceptions import Forbidden, GoogleAPIError, NotFound, PreconditionFailed, RequestRangeNotSatisfiable, Unauthorized, from_http_response
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import AuthorizedSession
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY

from schemas.errors import Fault, Misconfigured
from transforms.channel import is_loopback

EMULATOR = "STORAGE_EMULATOR_HOST"
SCHEME = "gs://"
_FIELDS = "items(name,size,generation,crc32c,contentEncoding),nextPageToken"
_CONNECTIONS = 32
_SECONDS = 60.0  # for a connection, and between two bytes
_SOON = 10.0  # that a contract's folder is asked for: who starts a job waits for it
UNREACHED = (GoogleAPIError, GoogleAuthError, requests.RequestException)
"""What a call raises that was refused, or reached nobody."""


class Changed(OSError):
    """An object is no longer what was listed: replaced, deleted or cut. The message names it."""


class Unasked(Misconfigured):
    """Cloud Storage could not be asked: there are no credentials, or it is out of reach. Nothing is known of what lies there."""


class Object(NamedTuple):
    """An object as it is listed. size in bytes; crc32c: of the stored bytes, base64; packed: stored with Content-Encoding gzip."""

    path: str
    size: int
    generation: int
    crc32c: str
    packed: bool


def client(endpoint: str = "", environment: Mapping[str, str] = os.environ) -> storage.Client:
    """A client with TLS and the credentials of the environment, or without both to a loopback address; one for each place.

    endpoint: a URL; "" for STORAGE_EMULATOR_HOST where that is set, else Google's. Raises Misconfigured.
    """
    where, url = ("--storage_endpoint", endpoint) if endpoint else (EMULATOR, environment.get(EMULATOR, ""))
    return _client(where, (url if "://" in url or not url else f"http://{url}").rstrip("/"))


@lru_cache(maxsize=8)
def _client(where: str, url: str) -> storage.Client:
    parts = urlsplit(url)
    if parts.scheme == "http" and is_loopback(parts.netloc):
        credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]
        session = AuthorizedSession(credentials)  # type: ignore[no-untyped-call]
        session.trust_env = False  # a proxy is not this machine
        session.max_redirects = 0
        _more_connections(session)
        return storage.Client(project=None, credentials=credentials, client_options={"api_endpoint": url}, _http=session)
    if url and not (parts.scheme == "https" and re.fullmatch(r"([a-z0-9-]+\.)+googleapis\.com(:\d{1,5})?", parts.netloc)):
        raise Misconfigured([Fault(where, "is neither an endpoint of Google's nor on this machine: rows in clear would pass",
                                   "give a URL such as http://localhost:9023, or https://storage.europe-west1.rep.googleapis.com")])
    try:
        made = storage.Client(project=None, client_options={"api_endpoint": url or "https://storage.googleapis.com"})
    except GoogleAuthError:
        raise Unasked([Fault("credentials", "there are none that Google's libraries can find",
                                   "run as a service account with roles/storage.objectViewer, or set GOOGLE_APPLICATION_CREDENTIALS")]) from None
    _more_connections(made._http)
    return made


def _more_connections(session: requests.Session) -> None:
    for scheme in ("http://", "https://"):
        session.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=_CONNECTIONS))


def matching(client: storage.Client, pattern: str, option: str = "--input") -> list[Object]:
    """The objects that gs://BUCKET/GLOB names, in order; * and ? do not match a slash, ** does. option: what named it.

    Raises Misconfigured where the bucket cannot be listed.
    """
    name = pattern.removeprefix(SCHEME).partition("/")[2]
    prefix = re.split(r"[*?\[]", name, maxsplit=1)[0]
    wanted = re.compile(FileSystem.translate_pattern(name))  # the rule that local paths follow
    return [_object(blob) for blob in _listed(client, option, pattern, prefix=prefix) if wanted.match(blob.name)]


def within(client: storage.Client, folder: str, option: str) -> list[Object]:
    """The objects directly below gs://BUCKET/NAME, in order, a thousand at the most. option: what named it.

    Raises Misconfigured where the bucket cannot be listed, Unasked where it does not answer for some seconds.
    """
    name = folder.removeprefix(SCHEME).partition("/")[2]
    asked = {"prefix": f"{name}/" if name else "", "delimiter": "/", "max_results": 1000}
    return [_object(blob) for blob in _listed(client, option, folder, **asked, retry=DEFAULT_RETRY.with_timeout(_SOON))]


def _listed(client: storage.Client, option: str, path: str, **asked: Any) -> Iterator[Any]:
    """What Google's client answers of the bucket of a path, but for marks of folders."""
    problem, bucket = f"{path} cannot be listed", path.removeprefix(SCHEME).partition("/")[0]
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]", bucket):
        raise Misconfigured([Fault(option, problem, "give gs://BUCKET/NAME; a pattern may stand in the name alone")])
    try:
        for blob in client.list_blobs(bucket, fields=_FIELDS, timeout=_SECONDS, **asked):
            if not blob.name.endswith("/"):
                yield blob
    except NotFound:
        raise Misconfigured([Fault(option, problem, "check the name of the bucket: it is not there")]) from None
    except (Forbidden, Unauthorized):
        raise Misconfigured([Fault(option, problem, "give the account roles/storage.objectViewer on the bucket")]) from None
    except UNREACHED:
        raise Unasked([Fault(option, problem, "check the credentials, the network and --storage_endpoint")]) from None


def fetched(client: storage.Client, path: str, generation: int, start: int, stop: int, kept: bool = False) -> bytes:
    """Bytes [start, stop) of an object's generation; answers of 429, 5xx and cut connections are tried again for two minutes.

    kept: also of one that is no more the live one, where the bucket keeps versions.
    Raises Changed, or OSError where it cannot be reached.
    """
    bucket, _, name = path.removeprefix(SCHEME).partition("/")
    which = "generation" if kept else "ifGenerationMatch"
    url = f"{client.api_endpoint}/download/storage/v1/b/{bucket}/o/{quote(name, safe='')}?alt=media&{which}={generation}"
    try:
        data: bytes = DEFAULT_RETRY(_answer)(client._http, url, f"bytes={start}-{stop - 1}")
    except (NotFound, PreconditionFailed, RequestRangeNotSatisfiable):
        raise Changed(f"{path} was replaced or deleted while it was read") from None
    except (Forbidden, Unauthorized):
        raise PermissionError(f"{path} may not be read") from None
    except UNREACHED:
        raise OSError(f"{path} cannot be reached") from None
    if len(data) != stop - start:
        raise Changed(f"{path} is not as long as it was when it was listed")
    return data


def _answer(session: requests.Session, url: str, asked: str) -> bytes:
    """One answer, read whole into one piece of memory: Google's download makes two, and takes a millisecond of CPU more for each."""
    with session.get(url, headers={"Range": asked, "Accept-Encoding": "gzip"}, stream=True, timeout=_SECONDS) as answer:
        if not answer.ok:
            raise from_http_response(answer)  # type: ignore[no-untyped-call]
        data: bytes = answer.raw.read(decode_content=False)
        return data


def put(client: storage.Client, path: str, content: Path | bytes) -> None:
    """Makes or replaces an object; content: a local file, or bytes. It is sent again where the answer was lost.

    Raises OSError where it is not let, or the place cannot be reached.
    """
    bucket, _, name = path.removeprefix(SCHEME).partition("/")
    blob, given = client.bucket(bucket).blob(name), {"timeout": _SECONDS, "checksum": "crc32c", "retry": DEFAULT_RETRY}
    try:
        if isinstance(content, Path):
            blob.upload_from_filename(str(content), **given)
        else:
            blob.upload_from_string(content, "application/octet-stream", **given)
    except UNREACHED as error:
        raise OSError(f"{path} cannot be written: {type(error).__name__}") from None


def _object(blob: Any) -> Object:
    path = f"{SCHEME}{blob.bucket.name}/{blob.name}"
    return Object(path, int(blob.size or 0), int(blob.generation), blob.crc32c or "", blob.content_encoding == "gzip")
