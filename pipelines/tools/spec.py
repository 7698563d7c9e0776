"""`penstock spec`: writes the Flex Template of a job, which a launch names. gcloud's own builder drops what says that a template streams."""

import json
import re
from pathlib import Path

import requests
from google.api_core.exceptions import GoogleAPIError, NotFound
from google.auth.exceptions import GoogleAuthError
from google.cloud.storage.retry import DEFAULT_RETRY

from pipelines.launch.metadata import spec
from pipelines.sources import gcs
from pipelines.tools.options import SpecOptions
from schemas.errors import Fault, Misconfigured

_OBJECT = re.compile("gs://([a-z0-9][a-z0-9._-]{1,220}[a-z0-9])/(.*[^/])")
_SECONDS = 20.0  # for an answer, and for all tries


def run(options: SpecOptions) -> int:
    """Prints the spec, or writes it to --output. Raises Misconfigured where it cannot be written."""
    text = json.dumps(spec(options.job, options.image), indent=2) + "\n"
    if not options.output:
        print(text, end="")
        return 0
    if options.output.startswith(gcs.SCHEME):
        _upload(options.output, text, options.storage_endpoint)
    else:
        try:
            Path(options.output).write_text(text)
        except OSError:
            raise Misconfigured([Fault("--output", f"{options.output} cannot be written", "name a file in a folder that is there")]) from None
    print(f"{options.output}: {options.job}, {options.image}")
    return 0


def _upload(path: str, text: str, endpoint: str) -> None:
    named = _OBJECT.fullmatch(path)
    if not named:
        raise Misconfigured([Fault("--output", f"{path} is no object of Cloud Storage", "give gs://BUCKET/NAME.json")])
    blob = gcs.client(endpoint).bucket(named[1]).blob(named[2])
    try:
        blob.upload_from_string(text, "application/json", timeout=_SECONDS, checksum="crc32c", retry=DEFAULT_RETRY.with_timeout(_SECONDS))
    except NotFound:
        raise Misconfigured([Fault("--output", f"{path} cannot be written", "check the name of the bucket: it is not there")]) from None
    except (GoogleAPIError, GoogleAuthError, requests.RequestException):
        raise Misconfigured([Fault("--output", f"{path} cannot be written",
                                   "check the credentials (roles/storage.objectUser on the bucket), the network and --storage_endpoint")]) from None
