"""The image as it is written down: the Dockerfile's rules, what may come into a build, and the script that chooses an engine. `make image-test` builds it."""

import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from pipelines.launch.profile import JOBS
from tests.dockerfiles import faults, let_through, sources, steps, variables

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "templates/Dockerfile").read_text()
IGNORE = (ROOT / ".dockerignore").read_text()


def package_files() -> list[str]:
    return [path.relative_to(ROOT).as_posix() for package in ("pipelines", "transforms", "schemas") for path in (ROOT / package).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts]


def test_the_dockerfile_keeps_its_rules() -> None:
    assert faults(DOCKERFILE) == set()


@pytest.mark.parametrize(("was", "planted", "rule"), [
    ("--require-hashes --no-build-isolation", "", "install without hashes"),
    ("--require-hashes --no-build-isolation", "--require-hashes", "build dependencies that no lock names"),
    ("--no-index --no-deps --no-build-isolation .", "--no-build-isolation .", "install without hashes"),
    (" && pip check", "", "pip check is missing"),
    ("PIP_NO_INDEX=1", "FLEX_TEMPLATE_PYTHON_REQUIREMENTS_FILE=/build/requirements.lock", "packages at start"),
    ("PIP_NO_INDEX=1", "FLEX_TEMPLATE_PYTHON_SETUP_FILE=/build/setup.py", "packages at start"),
    ("PIP_NO_INDEX=1", "PIP_QUIET=1", "pip may reach out at start"),
    ("RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1", "OTHER=1", "boot makes an environment of its own"),
    ("PIP_NO_INDEX=1", "PUBSUB_EMULATOR_HOST=localhost:8086", "an emulator rides along"),
    ('["/opt/apache/beam/boot"]', '["/opt/google/dataflow/python_template_launcher"]', "entry point"),
    ("_sdk:2.77.0", "_sdk", "base without a version"),
    ("_sdk:2.77.0", "_sdk:latest", "base without a version"),
    ("FROM ${LAUNCHER_IMAGE} AS launcher", "FROM python:3.11 AS launcher", "base that is not an argument"),
    (" && pip check", " && pip check && curl -O https://example.com/tool", "fetched at build"),
    ("ARG JOB=stream", "ARG JOB=stream\nARG API_TOKEN=", "secret as an argument"),
    ("org.opencontainers.image.revision=", "revision=", "labels"),
    ("COPY --from=bill /opt/penstock/sbom.cdx.json /opt/penstock/sbom.cdx.json", "", "bill of materials"),
    ("WORKDIR /home/penstock", "WORKDIR /home/penstock\nUSER penstock", "not Dataflow's user"),
])
def test_a_broken_rule_is_noticed(was: str, planted: str, rule: str) -> None:
    assert was in DOCKERFILE
    assert rule in faults(DOCKERFILE.replace(was, planted))


def test_the_worker_and_the_lock_file_are_of_one_beam() -> None:
    (base,) = re.findall(r"ARG BEAM_IMAGE=apache/beam_python(3\.\d+)_sdk:(\S+)", DOCKERFILE)
    (locked,) = set(re.findall(r"(?m)^apache-beam(?:\[.*\])?==(\S+)", (ROOT / "requirements.lock").read_text()))
    (launcher,) = re.findall(r"ARG LAUNCHER_IMAGE=\S+/python(\d)(\d+)-template-launcher-base:", DOCKERFILE)
    assert base == (".".join(launcher), locked)


def test_what_is_copied_is_there_and_comes_into_the_build() -> None:
    copied = sources(steps(DOCKERFILE))
    assert {"requirements.lock", "setup.py", "pyproject.toml", "schemas", "transforms", "pipelines", "LICENSE", "templates/main.py", "templates/sbom.lock"} == set(copied)
    for name in copied:
        assert (ROOT / name).exists() and let_through(IGNORE, name), name
    assert variables(steps(DOCKERFILE))["FLEX_TEMPLATE_PYTHON_PY_FILE"] == "/opt/penstock/main.py"


def test_every_file_of_the_packages_comes_into_the_build() -> None:
    files = package_files()
    assert len(files) > 200 and any(name.endswith(".onnx") for name in files) and any(name.endswith(".avsc") for name in files)
    assert {name for name in files if not let_through(IGNORE, name)} == {name for name in files if name.endswith("/train.py")}


def test_what_is_built_from_it_holds_every_file_of_the_packages(tmp_path) -> None:
    """The wheel, which the image installs, and the sdist: contracts, schemas, templates, models, lists."""
    tree, built = tmp_path / "tree", tmp_path / "built"
    shipped = {name for name in package_files() if not name.endswith("/train.py")}
    for name in [*shipped, "setup.py", "pyproject.toml"]:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tree / name)
    for build in ("build_wheel", "build_sdist"):
        subprocess.run([sys.executable, "-c", f"from setuptools import build_meta; build_meta.{build}({str(built)!r})"], cwd=tree, check=True, capture_output=True)
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert shipped - set(zipfile.ZipFile(wheel).namelist()) == set() == shipped - held


@pytest.mark.parametrize("path", [
    ".penstock/keys/master.key", ".penstock/keys/failures.private.pem", "schemas/census/.penstock/keys/master.key", "pipelines/failures.private.pem", "build/image/stream.sbom.json",
    ".git/config", ".env", "schemas/.env", "tests/secrets.py", "tests/data/adult.test.gz", "pipelines/__pycache__/graph.cpython-311.pyc", ".venv/bin/python", "templates/profiles/prod.yaml",
    "infra/terraform.tfstate", "README.md", "schemas/census/service-account.key", "requirements-dev.lock",
])
def test_what_has_no_business_in_an_image_stays_out(path: str) -> None:
    assert not let_through(IGNORE, path)


def test_the_bill_of_materials_tool_is_locked_with_hashes() -> None:
    lock = (ROOT / "templates/sbom.lock").read_text()
    pinned = re.findall(r"(?m)^\S+==\S+.*\\$", lock)
    asked = [line for line in (ROOT / "templates/sbom.in").read_text().split("\n") if line and not line.startswith("#")]
    assert asked and all(f"{line} \\" in lock for line in asked)
    assert len(pinned) == len(re.findall(r"(?m)^\S+==", lock)) and all("--hash=sha256:" in part for part in re.split(r"(?m)^\S+==", lock)[1:])


ENGINE = """#!/bin/sh
echo "{name} $*" >> {said}
case "$1 $2" in
  "info "*) exit {info} ;;
  *--digestfile*|"push "*) [ "$1" = push ] && [ "$2" = --digestfile ] && echo sha256:{hex} > "$3" ;;
  "image inspect") echo "{answer}" ;;
  "from "*) echo box ;;
  "run "*) echo '{{"bomFormat": "CycloneDX"}}' ;;
esac
exit 0
"""


@pytest.mark.parametrize(("engines", "push", "chosen", "printed"), [
    ({"docker": 0, "podman": 0, "buildah": 0}, "", "docker", "not pushed"),
    ({"docker": 1, "podman": 0, "buildah": 0}, "", "podman", "not pushed"),  # a client without an engine
    ({"docker": 1, "buildah": 0}, "", "buildah", "not pushed"),
    ({"docker": 0}, "1", "docker", "image: host/p/r/penstock@sha256:" + 64 * "a"),
    ({"podman": 0}, "1", "podman", "image: host/p/r/penstock@sha256:" + 64 * "a"),
    ({"buildah": 0}, "1", "buildah", "image: host/p/r/penstock@sha256:" + 64 * "a"),
    ({"docker": 1}, "", None, "apt-get install buildah"),
])
def test_the_engine_that_works_is_chosen_and_the_digest_printed(tmp_path, engines: dict[str, int], push: str, chosen: str | None, printed: str) -> None:
    said, tree, programs = tmp_path / "said", tmp_path / "tree", tmp_path / "bin"
    (tree / "templates").mkdir(parents=True)
    programs.mkdir()
    (tree / "templates/image.sh").write_text((ROOT / "templates/image.sh").read_text())
    (tree / "setup.py").write_text((ROOT / "setup.py").read_text())
    (tree / "requirements.lock").write_text("")
    for name, info in engines.items():
        program = programs / name
        program.write_text(ENGINE.format(name=name, said=said, info=info, hex=64 * "a", answer="host/p/r/penstock@sha256:" + 64 * "a"))
        program.chmod(stat.S_IRWXU)
    for tool in ("bash", "sh", "sed", "mkdir", "cat", "head", "dirname", "git", "sha256sum"):
        (programs / tool).symlink_to(f"/usr/bin/{tool}")
    done = subprocess.run(["bash", tree / "templates/image.sh", "--build-arg=BEAM_IMAGE=x@sha256:0"], capture_output=True, text=True,
                          env={"PATH": str(programs), "IMAGE": "host/p/r/penstock", "JOB": "replay", "PUSH": push, "HOME": os.environ.get("HOME", "/")})
    assert printed in done.stdout + done.stderr
    assert done.returncode == (0 if chosen else 2), done.stderr
    if chosen:
        (built,) = [line for line in said.read_text().splitlines() if re.match(r"\w+ build ", line)]
        assert built.startswith(chosen) and "--build-arg JOB=replay" in built and "--tag host/p/r/penstock:0.1.0-replay" in built
        assert "LOCK=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" in built and "BEAM_IMAGE=x@sha256:0" in built
        assert (tree / "build/image/replay.sbom.json").read_text() == '{"bomFormat": "CycloneDX"}\n'


@pytest.mark.parametrize(("environment", "told"), [
    ({"PUSH": "1"}, "PUSH needs IMAGE=HOST/PATH"), ({"IMAGE": "host.dev/p/r/penstock:1"}, "holds a tag or a digest"),
    ({"IMAGE": f"host.dev/p/r/penstock@sha256:{64 * 'a'}"}, "holds a tag or a digest"), ({"ENGINE": "nerdctl"}, "ENGINE=nerdctl is none of docker, podman, buildah")])
def test_what_an_image_cannot_be_made_of_is_told_before_it_is_built(environment: dict[str, str], told: str) -> None:
    done = subprocess.run([ROOT / "templates/image.sh"], capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", **environment})
    assert (done.returncode, done.stdout) == (2, "") and told in done.stderr


def test_an_image_whose_digest_nobody_knows_is_not_told_as_pushed(tmp_path) -> None:
    (tmp_path / "templates").mkdir()
    for file in ("templates/image.sh", "setup.py", "requirements.lock"):
        (tmp_path / file).write_text((ROOT / file).read_text())
    program = tmp_path / "docker"
    program.write_text(ENGINE.format(name="docker", said=tmp_path / "said", info=0, hex="", answer="another/image@sha256:0"))
    program.chmod(stat.S_IRWXU)
    done = subprocess.run(["bash", tmp_path / "templates/image.sh"], capture_output=True, text=True,
                          env={"PATH": f"{tmp_path}:/usr/bin:/bin", "IMAGE": "host/p/r/penstock", "PUSH": "1", "ENGINE": "docker"})
    assert done.returncode == 1 and "image: " not in done.stdout and "digest" in done.stderr


def test_an_image_is_of_a_job_that_there_is() -> None:
    (taken,) = re.findall(r"(?m)^  ([\w |]+)\) ;;$", (ROOT / "templates/image.sh").read_text())
    assert taken.split(" | ") == sorted(JOBS, key=taken.index) and len(JOBS) == taken.count("|") + 1
    done = subprocess.run([ROOT / "templates/image.sh"], capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "JOB": "strem"})
    assert done.returncode == 2 and "JOB=strem is no job" in done.stderr
