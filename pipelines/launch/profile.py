"""A profile: what one environment (dev, staging, prod) gives a job that is launched on Dataflow. A YAML file.

    project: my-project            what every job has in common stands at the top
    region: europe-west4
    ...
    jobs:
      stream:                      what one job has beside it, or in place of it: the same keys
        job_name: census-stream
        parameters: {contract: census, subscription: ..., output: ...}

Keys are declared once, as the fields of Profile. No secret stands in a profile: it names resources.
"""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from pipelines.flags import declared, option, required
from pipelines.forms import IMAGE
from schemas.errors import Fault, Misconfigured

JOBS = ("batch", "stream", "replay", "reidentify")
_NAME = "[a-z]([-a-z0-9]*[a-z0-9])?"
_SUBNETWORK = rf"(https://www\.googleapis\.com/compute/v1/projects/[^/]+/)?regions/(?P<region>{_NAME})/subnetworks/{_NAME}"
_MOST = 10**18  # of any number: of 18 digits, as on the command line
OWN = ("job_name", "template")  # what no two jobs share
_LABEL, _LABEL_VALUE = re.compile("[a-z][a-z0-9_-]{0,62}"), re.compile("[a-z0-9_-]{0,63}")

Pairs = tuple[tuple[str, str], ...]
Numbers = tuple[tuple[str, float], ...]
Words = tuple[str, ...]


@dataclass(frozen=True)
class Profile:
    """An environment, for one job. Mappings are pairs in the order of their names: `dict(profile.labels)`."""

    project: str = required("Project that the job runs in, and is billed to.", metavar="PROJECT", pattern="[a-z][-a-z0-9:.]{4,}[a-z0-9]")
    region: str = required("Region of the job; that of its subnetwork and of its key.", metavar="REGION", pattern="[a-z]+-[a-z]+[0-9]+")
    job_name: str = required("Name of the job: at most one of a name runs, and an update finds the running one by it.", metavar="NAME",
                             pattern="[a-z]([-a-z0-9]{0,1022}[a-z0-9])?")
    template: str = required("The job's Flex Template spec, that `penstock spec --output` wrote.", metavar="gs://BUCKET/FILE.json",
                             pattern=r"gs://[a-z0-9][-a-z0-9_.]+/.+\.json")
    image: str = required("Image of launcher and workers, by digest: a tag may be moved.", metavar="HOST/PATH@sha256:...",
                          pattern=IMAGE)
    staging: str = required("Where the launcher puts the job's files.", metavar="gs://BUCKET/FOLDER", pattern="gs://[a-z0-9][-a-z0-9_.]+(/.*)?")
    temp: str = required("Where the job keeps what it needs for a while.", metavar="gs://BUCKET/FOLDER", pattern="gs://[a-z0-9][-a-z0-9_.]+(/.*)?")
    subnetwork: str = required("Subnetwork of the workers, with Private Google Access; of another project as a URL.",
                               metavar="regions/REGION/subnetworks/NAME", pattern=_SUBNETWORK)
    service_account: str = required("Account that launcher and workers run as.", metavar="NAME@PROJECT.iam.gserviceaccount.com",
                                    pattern=r"[a-z][-a-z0-9]*@[-a-z0-9.]+\.iam\.gserviceaccount\.com")
    kms_key: str = required("Cloud KMS key for what Dataflow stores; `none` leaves it to Google's own keys.",
                            metavar="projects/P/locations/REGION/keyRings/R/cryptoKeys/K",
                            pattern="none|projects/[^/]+/locations/(?P<region>[^/]+)/keyRings/[^/]+/cryptoKeys/[^/]+")
    machine_type: str = option("n2-standard-2", "Machine type of the workers.", metavar="TYPE", pattern="[a-z][a-z0-9]*(-[a-z0-9]+)+")
    min_workers: int = option(1, "Workers to start with, and the least that autoscaling leaves.", metavar="N", minimum=1)
    max_workers: int = option(10, "Workers at the most.", metavar="N", minimum=1)
    disk_gb: int = option(0, "Disk of a worker; 0 for Dataflow's default.", metavar="GB", minimum=0)
    public_ips: bool = option(False, "Give workers addresses on the internet. They need none.", metavar="true or false")
    network: str = option("", "Network of the workers; the subnetwork tells it already.", metavar="NAME", pattern=f"{_NAME}|global/networks/{_NAME}")
    labels: Pairs = option((), "Labels of the job, beside those of its contract (owner, cost_center, data_class).", metavar="NAME: TEXT")
    parameters: Pairs = option((), "Options of the job, by name; lists as lists.", metavar="OPTION: VALUE")
    experiments: Words = option((), "Dataflow experiments and service options beside those that launch gives.", metavar="NAME[=VALUE]")
    transform_names: Pairs = option((), "For an update: transforms that were renamed, old: new; \"\" for what is gone.", metavar="OLD: NEW")
    rate: int = option(0, "Events a second that the stream must carry: `penstock check` holds the plan for them against the quotas.", metavar="N", minimum=0)
    quotas: Numbers = option((), "Quotas that the project has, by the names that `penstock plan` prints.", metavar="QUOTA: NUMBER")


def read(path: str | Path, job: str = "stream") -> Profile:
    """The profile in a file, for one job of JOBS.

    Raises Misconfigured with every fault: unknown keys, missing ones, values of the wrong form, keys that stand twice.
    """
    found: list[Fault] = []
    whole = _mapping(path, found)
    sections = _sections(whole.pop("jobs", {}), str(path), found)
    values = {"": _values(whole, str(path), "", found)}
    for name in JOBS:
        if name in sections:
            values[name] = _values(sections[name], str(path), f"jobs.{name}.", found)
    chosen = _merged(values[""], values.get(job, {}))
    amiss = {re.split(r"[ .]", fault.where)[-1] for fault in found}
    for name, _, _, spec in declared(Profile):
        if spec.required and name not in chosen and not ({name, "jobs", job} if name in OWN else {name}) & amiss:
            where = "" if name not in OWN or job in sections else f", under jobs: {job}:"
            found.append(Fault(f"{path}: {name}", "is missing", f"add {name}: {spec.metavar}{where}; {_lowered(spec.help)}"))
    if not found:
        found += _together(chosen, str(path))
    if found:
        raise Misconfigured(found)
    return Profile(**chosen)


def table() -> str:
    """The keys as a Markdown table, for docs/launch.md."""
    rows = ["| key | what it says | default |", "|---|---|---|"]
    for name, kind, default, spec in declared(Profile):
        shown = "required" if spec.required else "" if default in ((), "") else f"`{str(default).lower()}`"
        rows.append(f"| `{name}: {'true' if kind is bool else spec.metavar}` | {spec.help} | {shown} |")
    return "\n".join(rows)


class _Strict(yaml.SafeLoader):
    """YAML that notes keys that stand twice; by itself the last one wins in silence. twice: (key, line) of each later one."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.twice: list[tuple[str, int]] = []


def _unique(loader: _Strict, node: yaml.MappingNode) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for key, value in node.value:
        name = loader.construct_object(key, deep=True)
        if name in found:
            loader.twice.append((str(name), key.start_mark.line + 1))
        found[name] = loader.construct_object(value, deep=True)
    return found


_Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique)
_Strict.add_constructor("tag:yaml.org,2002:merge", lambda _, node: str(node.value))  # << as any key, that no profile has: it would hide what stands twice


def _mapping(path: str | Path, found: list[Fault]) -> dict[str, Any]:
    """What the file says; keys that stand twice go to found. Raises Misconfigured where it cannot be read as a mapping."""
    problem, remedy = "is not a YAML mapping", "write key: value lines"
    try:
        loader = _Strict(Path(path).read_text("utf-8"))
        content = loader.get_single_data()
        if isinstance(content, dict):
            found += [Fault(f"{path}: {name}", f"stands twice, again at line {line}", "give it once") for name, line in loader.twice]
            return {str(key): value for key, value in content.items()}
    except OSError:
        problem, remedy = "cannot be read", "give the profile's path: --profile=prod.yaml"
    except UnicodeDecodeError:
        problem, remedy = "is no text in UTF-8", "save it as UTF-8"
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f" at line {error.problem_mark.line + 1}"
        problem = f"is not YAML{line}: {error.problem}"
    except (yaml.YAMLError, TypeError):
        pass
    raise Misconfigured([Fault(str(path), problem, remedy)]) from None


def _sections(given: Any, path: str, found: list[Fault]) -> dict[str, dict[str, Any]]:
    """What jobs have of their own; what is wrong with the others goes to found."""
    if not isinstance(given, dict):
        found.append(Fault(f"{path}: jobs", "is not a mapping of jobs to mappings", "write jobs: {stream: {job_name: ...}}"))
        return {}
    sections = {}
    for name, section in given.items():
        if name not in JOBS:
            found.append(Fault(f"{path}: jobs.{name}", "is no job", f"name one of {', '.join(JOBS)}"))
        elif not isinstance(section, dict):
            found.append(Fault(f"{path}: jobs.{name}", "is not a mapping", f"write {name}: {{job_name: ...}}"))
        else:
            sections[name] = {str(key): value for key, value in section.items()}
    return sections


def _lowered(help: str) -> str:
    return help if help[:2].isupper() or help.startswith("Cloud") else f"{help[0].lower()}{help[1:]}"


def _values(given: dict[str, Any], path: str, below: str, found: list[Fault]) -> dict[str, Any]:
    """The values given, each of its type; what is wrong with the others goes to found."""
    known = {name: (kind, spec) for name, kind, _, spec in declared(Profile)}
    values = {}
    for name, value in given.items():
        where = f"{path}: {below}{name}"
        if name not in known:
            near = difflib.get_close_matches(name, [*known, "jobs"], 1)
            found.append(Fault(where, "is no key of a profile", f"did you mean {near[0]}" if near else f"use one of {', '.join(known)}, jobs"))
            continue
        kind, spec = known[name]
        converted, problem = _value(kind, value)
        if problem is None and isinstance(converted, str) and spec.pattern and not re.fullmatch(spec.pattern, converted):
            problem = "has not the form that it takes"
        if problem is None and kind is int and spec.minimum is not None and converted < spec.minimum:
            problem = f"is less than {spec.minimum}"
        if problem is None and kind is int and converted >= _MOST:
            problem = "is of more than 18 digits"
        remedy = f"give {spec.metavar}: {_lowered(spec.help)}"
        if problem is None and name == "labels":
            strange = [k for k, v in converted if not (_LABEL.fullmatch(k) and _LABEL_VALUE.fullmatch(v))]
            problem = f"holds what Google takes for no label at {', '.join(strange)}" if strange else None
            remedy = "write names and texts in small letters of ASCII, digits, - and _, a name from a letter on, each of 63 at the most"
        if problem is None:
            values[name] = converted
        else:
            found.append(Fault(where, problem, remedy))
    return values


def _value(kind: Any, value: Any) -> tuple[Any, str | None]:
    """(the value as its type, None), or (None, what is wrong with it)."""
    if kind in (str, int, bool):
        return (value, None) if type(value) is kind else (None, f"is not {({str: 'a text', int: 'a whole number', bool: 'true or false'})[kind]}")
    if kind == Words:
        fine = isinstance(value, list) and all(isinstance(word, str) for word in value)
        return (tuple(value), None) if fine else (None, "is not a list of texts")
    if not isinstance(value, dict):
        return None, "is not a mapping of names"
    strange = [str(key) for key in value if not isinstance(key, str)]
    if strange:
        return None, f"is not a mapping of names: {', '.join(strange)} is no text"
    if kind == Numbers:
        fine = all(type(number) in (int, float) and abs(number) < _MOST for number in value.values())
        return (tuple(sorted((k, float(v)) for k, v in value.items())), None) if fine else (None, "holds what is no number")
    texts = {key: _text(one) for key, one in value.items()}
    nameless = sorted(key for key, text in texts.items() if text is None)
    return (None, f"holds no text, number, day, switch or list of them at {', '.join(nameless)}") if nameless else (tuple(sorted(texts.items())), None)


def _text(value: Any) -> str | None:
    """A value as it is written on a command line; None where it is of a kind that has no place there."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        parts = [_text(part) for part in value]
        return None if None in parts else ",".join(part for part in parts if part is not None)
    return str(value) if isinstance(value, str | int | float) else value.isoformat() if isinstance(value, date) else None  # a time is a day too


def _merged(common: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """A job's own values in place of the common ones; mappings are joined, name by name."""
    pairs = {field.name for field in fields(Profile) if field.type in (Pairs, Numbers)}
    return common | {name: tuple(sorted((dict(common.get(name, ())) | dict(value)).items())) if name in pairs else value for name, value in own.items()}


def _together(values: dict[str, Any], path: str) -> Iterator[Fault]:
    """What no key says by itself."""
    region = values["region"]
    patterns = {name: spec.pattern for name, _, _, spec in declared(Profile)}
    for name in ("subnetwork", "kms_key"):
        match = re.fullmatch(str(patterns[name]), values[name])
        if match and match["region"] not in (None, region):
            yield Fault(f"{path}: {name}", f"lies in {match['region']}, the job in {region}", f"name one in {region}")
    if values.get("min_workers", 1) > values.get("max_workers", 10):
        yield Fault(f"{path}: min_workers", "is more than max_workers", "let it be at most as many")
