"""Stand-ins of the image's two bases, made where neither registry is reached: a Debian with Python 3.11 and Beam's own boot program, built
from Beam's source; and a launcher that starts what FLEX_TEMPLATE_PYTHON_PY_FILE names with the arguments it was given, as Google's does.
What they do not have: the packages of Beam's image (ours do not come from there), and the closed launcher's own logging."""

import shutil
import subprocess
from pathlib import Path

BEAM, LAUNCHER = "localhost/penstock-stand-in-beam:{version}", "localhost/penstock-stand-in-launcher:1"
_DEBIAN = "bookworm"  # whose python3 is 3.11
_BOOT = "github.com/apache/beam/sdks/v2/python/container@v{version}"
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_START = '#!/bin/sh\nexec python "$FLEX_TEMPLATE_PYTHON_PY_FILE" "$@"\n'


def make(folder: Path, version: str) -> tuple[str, str]:
    """Makes both in buildah's store, unless they are there; answers their names. folder keeps the Debian and the boot program between runs."""
    folder.mkdir(parents=True, exist_ok=True)
    beam = BEAM.format(version=version)
    if not _there(beam):
        box = _run("buildah", "from", "scratch")
        _run("buildah", "add", "--quiet", box, str(_debian(folder)), "/")
        _run("buildah", "add", "--quiet", "--chmod", "755", box, str(_boot(folder, version)), "/opt/apache/beam/boot")
        _run("buildah", "add", "--quiet", box, str(_CERTIFICATES), str(_CERTIFICATES))
        _run("buildah", "config", "--entrypoint", '["/opt/apache/beam/boot"]', box)
        _run("buildah", "commit", "--quiet", "--rm", box, beam)
    if not _there(LAUNCHER):
        start = folder / "python_template_launcher"
        start.write_text(_START)
        box = _run("buildah", "from", "scratch")
        _run("buildah", "add", "--quiet", "--chmod", "755", box, str(start), "/opt/google/dataflow/python_template_launcher")
        _run("buildah", "commit", "--quiet", "--rm", box, LAUNCHER)
    return beam, LAUNCHER


def missing() -> list[str]:
    """The programs that this needs and that are not here."""
    return [name for name in ("buildah", "mmdebstrap", "go") if not shutil.which(name)]


def _debian(folder: Path) -> Path:
    made = folder / f"{_DEBIAN}.tar"
    if not made.exists():
        _run("mmdebstrap", "--quiet", "--variant=minbase", "--include=ca-certificates,python3,python3-venv,python-is-python3", _DEBIAN, str(folder / "new.tar"))
        Path(str(folder / "new.tar")).rename(made)
    return made


def _boot(folder: Path, version: str) -> Path:
    made = folder / f"boot-{version}"
    if not made.exists():
        _run("env", f"GOBIN={folder.resolve()}", "CGO_ENABLED=0", "go", "install", "-p", "2", _BOOT.format(version=version))
        (folder / "container").rename(made)
    return made


def _there(image: str) -> bool:
    return subprocess.run(["buildah", "inspect", "--type", "image", image], capture_output=True).returncode == 0


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
