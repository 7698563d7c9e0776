"""docs/deploy.md and docs/plan.md: every penstock command parses as it stands, every file that they name is there, and what is told of cost adds up."""

import re
import shlex
from pathlib import Path

import pytest

from pipelines.__main__ import COMMANDS
from pipelines.flags import parse
from pipelines.plan import figures
from schemas.errors import Misconfigured

ROOT = Path(__file__).parent.parent
DEPLOY = (ROOT / "docs/deploy.md").read_text()
IMAGES = {"$STREAM_IMAGE": "europe-west4-docker.pkg.dev/p/r/penstock@sha256:" + "1" * 64, "$BATCH_IMAGE": "europe-west4-docker.pkg.dev/p/r/penstock@sha256:" + "2" * 64}
FENCED = [line for block in re.findall(r"```sh\n(.*?)```", DEPLOY, re.DOTALL) for line in block.splitlines() if line]
INLINE = [text for text in re.findall(r"`(penstock [^`]*--[^`]*)`", DEPLOY) if "..." not in text]


def parsed(line: str) -> object:
    """The options of a penstock command. Raises Misconfigured, or KeyError where there is no such command."""
    for name, image in IMAGES.items():
        line = line.replace(name, image)
    _, command, *arguments = shlex.split(line)
    return parse(COMMANDS[command].options, arguments)[0]


@pytest.mark.parametrize("line", [line for line in (*FENCED, *INLINE) if line.startswith("penstock ")])
def test_each_penstock_command_parses(line) -> None:
    assert parsed(line)


def test_a_command_that_is_wrong_would_be_noticed() -> None:
    for line in ("penstock launch run --job=stream --profil=prod.yaml", "penstock spec --job=stream --image=penstock:latest", "penstock check --job=streams --profile=x"):
        with pytest.raises(Misconfigured):
            parsed(line)


def test_the_way_is_whole() -> None:
    """Each command of a deployment is there, in an order in which it has what it needs."""
    said = [" ".join(line.split()[:2]) for line in FENCED]
    order = ["make install", "penstock plan", "gcloud projects", "terraform -chdir=infra", "penstock keys", "make image", "penstock spec", "penstock tables",
             "cp templates/profiles/prod.yaml", "penstock check", "penstock launch", "penstock publish", "penstock query"]
    assert [said.index(step) for step in order] == sorted(said.index(step) for step in order)
    assert "penstock launch drain --job=stream --profile=prod.yaml" in FENCED and "never applied" in DEPLOY


def test_each_file_that_it_names_is_there() -> None:
    named = set(re.findall(r"(?<![\w/-])((?:infra|templates|docs|pipelines|tests|schemas)/[\w./-]*\w)", DEPLOY + (ROOT / "docs/plan.md").read_text()))
    theirs = {"infra/prod.tfvars"}  # yours to write
    assert named >= {"infra/README.md", "templates/profiles/prod.yaml", "templates/Dockerfile"}
    assert not {name for name in named - theirs if not (ROOT / name).exists()}


def test_keys_that_it_has_one_make_here_are_not_committed() -> None:
    made = {words[2] for words in map(str.split, FENCED) if words[:2] == ["penstock", "keys"]}
    made |= {word.partition("=")[2] for line in FENCED if line.startswith("penstock keys") for word in line.split() if word.startswith("--secret=")}
    assert made == {"keys", "keys.json"} and made <= {line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines()}


def test_what_a_destruction_stops_at_is_told() -> None:
    held = {guard for file in (ROOT / "infra").glob("*.tf") for guard in re.findall(r"(prevent_destroy|deletion_protection) += true", file.read_text())}
    assert held == {"prevent_destroy", "deletion_protection"} and all(f"`{guard}`" in DEPLOY.split("## 11.")[1] for guard in held)


def test_a_second_image_needs_a_version_of_its_own() -> None:
    """artifacts.tf lets no tag be moved, and image.sh names an image by the version: who is not told is refused at the second push."""
    assert "immutable_tags = true" in (ROOT / "infra/artifacts.tf").read_text() and "tag=$image:$version-$job" in (ROOT / "templates/image.sh").read_text()
    assert "raise `version` in setup.py" in DEPLOY


def test_each_make_target_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {line.split()[1] for line in FENCED if line.startswith("make ")} <= targets


def test_names_are_those_that_infra_makes() -> None:
    text = "\n".join(path.read_text() for path in sorted((ROOT / "infra").glob("*.tf")))
    for found, made in (("--key=failures", 'google_kms_crypto_key" "failures"'), ("KMS key `tokens`", '"secrets", "storage", "tokens"]'),
                        ("secrets versions add penstock-keys", '"${var.name}-keys"'), ("penstock-worker@", '"${var.name}-${each.key}"'),
                        ("bq://my-project.penstock", 'each.key == "events" ? var.name')):
        assert found in DEPLOY and made in text


def test_what_a_worker_costs() -> None:
    """The figures of step 8, from the price table."""
    prices = figures.prices()

    def hour(kind: str) -> float:
        machine = figures.machine(kind, 0, "")
        return sum(amount * prices[name].price for name, amount in (
            ("worker_vcpu", machine.vcpus), ("worker_memory", machine.memory_gb), ("worker_disk", machine.disk_gb)))

    assert f"${hour('n2-standard-2'):.2f} an hour, ${hour('n2-standard-2') * 730:.0f} a month" in DEPLOY
    assert f"${2 * hour('n2-standard-4') * 730:.0f}" in DEPLOY
