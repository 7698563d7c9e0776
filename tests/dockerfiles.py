"""Reads a Dockerfile and a .dockerignore, and says what is wrong with the image that they would make."""

import re
from pathlib import Path
from typing import NamedTuple

_FETCHES = re.compile(r"\b(curl|wget|apt-get|git clone)\b")


class Step(NamedTuple):
    """One instruction: its word, what follows it, and the stage that it stands in."""

    word: str
    rest: str
    stage: int


def steps(text: str) -> list[Step]:
    """The instructions, comments gone, continued lines joined. Stage 0 is what stands before the first FROM."""
    found, stage = [], 0
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for line in re.sub(r"\\\n\s*", " ", lines).splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            stage += word == "FROM"
            found.append(Step(word, rest.strip(), stage))
    return found


def sources(told: list[Step]) -> list[str]:
    """What is copied from the folder that the image is built in."""
    return [path.rstrip("/") for step in told if step.word in ("COPY", "ADD") and "--from=" not in step.rest for path in step.rest.split()[:-1] if not path.startswith("--")]


def variables(told: list[Step]) -> dict[str, str]:
    """The environment that the image leaves behind: ENV of its last stage."""
    last = max(step.stage for step in told)
    return {name: value for step in told if step.word == "ENV" and step.stage == last for name, value in re.findall(r'([A-Z_a-z0-9]+)=("[^"]*"|\S+)', step.rest)}


def faults(text: str) -> set[str]:
    """The rules that a Dockerfile of ours breaks."""
    told = steps(text)
    runs = [command.strip() for step in told if step.word == "RUN" for command in re.split(r"&&|;", step.rest)]
    installs = [run for run in runs if re.search(r"\bpip3? install\b", run)]
    environment, last = variables(told), max(step.stage for step in told)
    images = [step.rest for step in told if step.word == "ARG" and step.rest.split("=")[0].endswith("_IMAGE") and "=" in step.rest]
    broken = {
        "install without hashes": any("--require-hashes" not in run and not ("--no-index" in run and "--no-deps" in run) for run in installs),
        "build dependencies that no lock names": any("--require-hashes" in run and not re.search("--no-build-isolation|--only-binary=:all:", run) for run in installs),
        "pip check is missing": not any(run.startswith("pip check") for run in runs),
        "packages at start": any(re.fullmatch("FLEX_TEMPLATE_PYTHON_(REQUIREMENTS_FILE|SETUP_FILE|EXTRA_PACKAGES)", name) for name in environment),
        "pip may reach out at start": environment.get("PIP_NO_INDEX") != "1",
        "boot makes an environment of its own": environment.get("RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT") != "1",
        "an emulator rides along": any("EMULATOR" in name or "ENDPOINT" in name for name in environment),
        "entry point": [step.rest for step in told if step.word == "ENTRYPOINT" and step.stage == last] != ['["/opt/apache/beam/boot"]'],
        "base without a version": not images or any(not re.search(r":(?!latest)[\w.-]+(@sha256:[0-9a-f]{64})?$", image) for image in images),
        "base that is not an argument": any(step.word == "FROM" and not re.match(r"\$\{[A-Z]+_IMAGE\}|packages\b", step.rest) for step in told),
        "fetched at build": any(_FETCHES.search(run) for run in runs) or any(step.word == "ADD" for step in told),
        "secret as an argument": any(re.search("(?i)password|token|secret|_key", step.rest) for step in told if step.word in ("ARG", "ENV")),
        "labels": not all(f"org.opencontainers.image.{name}=" in text for name in ("title", "version", "revision", "created", "licenses", "base.name")),
        "bill of materials": not any("cyclonedx-py environment" in run for run in runs) or "COPY --from=bill " not in text,
        "not Dataflow's user": any(step.word == "USER" and step.stage == last for step in told),
    }
    return {rule for rule, found in broken.items() if found}


def let_through(ignore: str, path: str) -> bool:
    """Whether a file comes into the build: the last line of a .dockerignore that matches it or a folder above it (docs.docker.com)."""
    kept = True
    folders = [path, *(parent.as_posix() for parent in Path(path).parents if parent != Path("."))]
    for line in ignore.splitlines():
        pattern = line.strip()
        if pattern and not pattern.startswith("#"):
            again = pattern.startswith("!")
            if any(_matches(pattern.lstrip("!").strip("/"), folder) for folder in folders):
                kept = again
    return kept


def _matches(pattern: str, path: str) -> bool:
    expression = re.escape(pattern).replace(r"\*\*/", "(.*/)?").replace(r"\*\*", ".*").replace(r"\*", "[^/]*").replace(r"\?", "[^/]")
    return re.fullmatch(expression, path) is not None
