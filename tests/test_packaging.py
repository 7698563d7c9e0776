"""The wheel holds three packages with all their data, and nothing else; installed alone it reads its contracts."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {"pipelines", "transforms", "schemas"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in PACKAGES:  # without what other processes of tests are compiling just now
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml"):
        shutil.copy(ROOT / name, source / name)
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation", "--wheel-dir", out,
                    str(source)], check=True)
    (built,) = out.glob("*.whl")
    return built


def test_three_packages_and_their_data(wheel) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {n.split("/")[0] for n in names if ".dist-info" not in n} == PACKAGES
    shipped = [p.relative_to(ROOT).as_posix() for package in PACKAGES for p in (ROOT / package).rglob("*")
               if p.is_file() and "__pycache__" not in p.parts]
    left = {f"schemas/{contract}/train.py" for contract in ("census", "contact_center", "telemetry")}
    assert set(shipped) - set(names) == left, "all but the scripts that train models"


def test_installed_alone_it_reads_its_contracts(wheel, tmp_path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    asked = ("import schemas, importlib.metadata as m; from schemas.contract import load, shipped; from transforms.detectors.tagger import Tagger; Tagger();"
             "print(schemas.__file__, [load(n).name for n in shipped()])")
    done = subprocess.run([sys.executable, "-c", asked], cwd=tmp_path, capture_output=True, text=True,
                          env={"PYTHONPATH": str(tmp_path / "site"), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path / "site")) and "census" in done.stdout
