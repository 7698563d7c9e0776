"""The Flex Template of a job: what launches it, and what the console and the API know of its options. Made from the options' declarations.

https://cloud.google.com/dataflow/docs/reference/rest/v1b3/projects.locations.flexTemplates/launch (ContainerSpec, TemplateMetadata)
"""

from datetime import timedelta
from importlib.metadata import version
from typing import Any

from pipelines.__main__ import COMMANDS
from pipelines.flags import Declared, declared

LAUNCHERS = frozenset({"runner", "project", "region", "job_name", "template_location"})  # the launcher gives these; a parameter would override it
_PARENTS = {"DLP": ("engine", "dlp")}  # a group whose options say something only where another option has this value
_PICKERS = {bool: "BOOLEAN", int: "NUMBER", float: "NUMBER"}
_WORDS = {"dlp": "DLP", "id": "ID", "kms": "KMS", "sql": "SQL", "url": "URL"}


def spec(job: str, image: str) -> dict[str, Any]:
    """The ContainerSpec of a job of profile.JOBS. image: of launcher and workers, by digest."""
    environment: dict[str, Any] = {"sdkContainerImage": image, "ipConfiguration": "WORKER_IP_PRIVATE"}
    if job == "stream":
        environment |= {"enableStreamingEngine": True, "streamingMode": "STREAMING_MODE_EXACTLY_ONCE"}
    return {"image": image, "sdkInfo": {"language": "PYTHON", "version": version("apache-beam")}, "metadata": metadata(job),
            "defaultEnvironment": environment}


def metadata(job: str) -> dict[str, Any]:
    """The TemplateMetadata of a job of profile.JOBS.

    defaultStreamingMode is never among it: the API takes it only where both modes are supported. In at-least-once mode a message may pass
    a stage twice, so that the books of a run would not balance: it is not supported.
    """
    command = COMMANDS[job]
    modes = {"supportsAtLeastOnce": False, "supportsExactlyOnce": True} if job == "stream" else {}
    return {"name": f"Penstock {job}", "description": command.summary, "streaming": job == "stream", **modes, "parameters": parameters(command.options)}


def parameters(options: type[Any]) -> list[dict[str, Any]]:
    """The ParameterMetadata of the options of a job, but for those of one machine and those that the launcher gives."""
    return [_parameter(name, kind, default, spec) for name, kind, default, spec in declared(options) if not spec.local and name not in LAUNCHERS]


def _parameter(name: str, kind: Any, default: Any, spec: Declared) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name, "label": label(name), "helpText": spec.help, "isOptional": not spec.required,
                             "paramType": spec.picker or _PICKERS.get(kind, "ENUM" if spec.choices else "TEXT")}
    form = spec.form(kind)
    if form is not None:
        found["regexes"] = [f"^({form})$"]
    if spec.choices:
        found["enumOptions"] = [{"value": choice, "label": choice} for choice in spec.choices]
    if written(default):
        found["defaultValue"] = written(default)
    if spec.group in _PARENTS:
        parent, value = _PARENTS[spec.group]
        return found | {"parentName": parent, "parentTriggerValues": [value]}
    return found | {"groupName": spec.group}


def label(name: str) -> str:
    """An option's name as words: dlp_cache is "DLP cache"."""
    first, *rest = (_WORDS.get(word, word) for word in name.split("_"))
    return " ".join([first[:1].upper() + first[1:], *rest])


def written(default: Any) -> str:
    """A default as its parameter would be given; "" where there is none."""
    if isinstance(default, timedelta):
        return f"{default / timedelta(seconds=1):g}s" if default else ""
    if isinstance(default, bool):
        return str(default).lower()
    return "" if default in ((), None) else str(default)


def table(job: str) -> str:
    """The parameters of a template as a Markdown table."""
    rows = ["| parameter | type | what it says | default |", "|---|---|---|---|"]
    for one in parameters(COMMANDS[job].options):
        default = f"`{one['defaultValue']}`" if "defaultValue" in one else "" if one["isOptional"] else "required"
        rows.append(f"| `{one['name']}` | {one['paramType']} | {one['helpText']} | {default} |")
    return "\n".join(rows)
