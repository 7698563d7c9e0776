"""The template that a profile names, held against the profile: read out of Cloud Storage, where it can be."""

import json

from google.api_core.exceptions import Forbidden, GoogleAPIError, NotFound, Unauthorized
from google.auth.exceptions import GoogleAuthError
from requests import RequestException

from pipelines.launch.profile import Profile
from pipelines.sources import gcs
from schemas.errors import Fault, Misconfigured

_SECONDS = 30.0


def template_faults(profile: Profile, endpoint: str = "") -> list[Fault]:
    """Faults of the template against the profile: it is not there, its image is another one than the workers', it does not know a parameter.

    endpoint: of Cloud Storage, where it is not the usual one. What this account may not read is left to Dataflow, which reads it by another one.
    """
    bucket, _, name = profile.template.removeprefix(gcs.SCHEME).partition("/")
    try:
        content = gcs.client(endpoint).bucket(bucket).blob(name).download_as_bytes(timeout=_SECONDS)
    except NotFound:
        return [Fault("template", f"is not there: {profile.template}", "write it with `penstock spec --output`")]
    except Misconfigured as error:
        return list(error.faults)
    except (Forbidden, Unauthorized, GoogleAPIError, GoogleAuthError, RequestException):
        return []
    return judged(profile, content)


def judged(profile: Profile, content: bytes) -> list[Fault]:
    """Faults of a template's text against the profile."""
    try:
        spec = json.loads(content)
        image, known = spec["image"], {one["name"] for one in spec["metadata"]["parameters"]}
    except (ValueError, KeyError, TypeError):
        return [Fault("template", f"is no Flex Template: {profile.template}", "write it with `penstock spec --output`")]
    faults = []
    if image != profile.image:
        faults.append(Fault("template", "names another image for the launcher than the profile does for the workers",
                            "write it anew with `penstock spec --image=` and the profile's image"))
    faults += [Fault(f"parameters.{name}", "is no parameter of the template", "leave it out, or write the template anew with `penstock spec`")
               for name, _ in profile.parameters if name not in known]
    return faults
