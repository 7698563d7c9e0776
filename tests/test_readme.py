"""The README is run: its commands work as written, its generated parts are up to date, its links lead somewhere."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.tools.docs import written
from tests import emulators, gcs_emulator
from tests.pubsub_clients import Clock
from tests.pubsub_server import Broker

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
FILES, MESSAGES, CLOUD = ([line for line in block.splitlines() if line] for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL))


def test_commands_run_as_they_stand(tmp_path) -> None:
    """Of the second block, the broker that its first line names is one of the test's own, whose clock stands still: no message comes twice."""
    assert len(FILES) >= 8 and MESSAGES[0] == "export PUBSUB_EMULATOR_HOST=localhost:8086" and len(MESSAGES) == 5
    with Broker(clock=Clock()) as broker:
        *_, last = ran([*FILES, *MESSAGES[1:]], tmp_path, {"PUBSUB_EMULATOR_HOST": broker.host})
    assert "3,052 windows written" in last


def test_the_cloud_shaped_commands_run_as_they_stand(tmp_path) -> None:
    """The emulators are those of `make emulators`, on ports of the test's own, with our broker, as above; the block's first line names theirs."""
    if not gcs_emulator.installed():
        pytest.skip(gcs_emulator.MISSING)
    head, *commands = CLOUD
    ports = dict(re.findall(r"(\w+)=\S*?(\d+)(?= |$)", head.removeprefix("export ")))
    assert ports == dict(zip(["PUBSUB_EMULATOR_HOST", "STORAGE_EMULATOR_HOST", "BIGQUERY_EMULATOR_HOST", "BIGQUERY_STORAGE_EMULATOR_HOST"],
                             map(str, emulators.PORTS.values())))
    with emulators.cloud(own_broker=True, clock=Clock()) as found:
        assert found.exports.keys() == ports.keys()
        told = dict(zip(commands, ran(commands, tmp_path, found.exports)))
    (runs,) = (text for command, text in told.items() if "fingerprint" in command)
    prints = [line.split()[-1] for line in runs.splitlines() if '["2026-11-01"]' in line]
    assert len(prints) == 2 and prints[0] == prints[1], "the day that was replaced by the same rows has the same fingerprint"
    assert re.findall(r"^(\w+) +(\d+)", told[commands[-1]], re.MULTILINE) == [("batch", "8000"), ("replay", "28"), ("stream", "5161")], told[commands[-1]]
    (days,) = (text for command, text in told.items() if "avg(score)" in command)
    assert re.findall(r"^2026-11-0\d", days, re.MULTILINE) == ["2026-11-01", "2026-11-02", "2026-11-03"]


def ran(commands: list[str], folder: Path, environment: dict[str, str]) -> list[str]:
    """What each of them printed, run one after the other in the folder."""
    told = []
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "penstock"
        done = subprocess.run([sys.executable, "-m", "pipelines", *arguments], cwd=folder, capture_output=True, text=True,
                              env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(folder), **environment})
        assert done.returncode == 0, (command, done.stderr)
        assert done.stdout.strip(), command
        told.append(done.stdout)
    return told


def test_generated_parts_are_up_to_date() -> None:
    assert written(README) == README, "run `make docs`"


def test_make_help_explains_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    explained = re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE)
    assert sorted(phony.split()) == sorted(explained)
    assert {"demo", "test", "install"} <= set(explained)


def test_links_lead_to_files() -> None:
    for page in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_pythons_are_those_of_setup() -> None:
    named = re.findall(r"Python 3\.(\d+), 3\.(\d+), 3\.(\d+) and 3\.(\d+)", README)
    (span,) = re.findall(r'python_requires=">=3\.(\d+),<3\.(\d+)"', (ROOT / "setup.py").read_text())
    assert named == [tuple(str(minor) for minor in range(int(span[0]), int(span[1])))]
