"""The README is run: its commands work as written, its generated parts are up to date, its links lead somewhere."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

from pipelines.tools.docs import written
from tests.pubsub_server import Broker

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_commands_run_as_they_stand(tmp_path) -> None:
    """Of the second block, the broker that its first line names is one of the test's own."""
    files, messages = ([line for line in block.splitlines() if line] for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL))
    assert len(files) >= 8 and messages.pop(0) == "export PUBSUB_EMULATOR_HOST=localhost:8086" and len(messages) == 4
    with Broker() as broker:
        for command in [*files, *messages]:
            program, *arguments = shlex.split(command)
            assert program == "penstock"
            done = subprocess.run([sys.executable, "-m", "pipelines", *arguments], cwd=tmp_path, capture_output=True, text=True,
                                  env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PUBSUB_EMULATOR_HOST": broker.host})
            assert done.returncode == 0, (command, done.stderr)
            assert done.stdout.strip(), command
    assert "3,052 windows written" in done.stdout


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
