"""A template's text, held against the profile that names it."""

import json

from pipelines.launch.profile import Profile
from schemas.errors import Fault


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
