"""Builds the image on stand-ins of its bases and uses it as Dataflow would: make image-test.

    1 build, by templates/image.sh         2 what it is: labels, environment, bill of materials
    3 launch from inside, without a network, and onto Dataflow as far as the job file
    4 the worker of a real pipeline, whose runner stands outside
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests import image_bases, image_box, image_dataflow, image_worker, launcher

ROOT = Path(__file__).parent.parent
ROWS, BOOKS = 5000, ("read", "stored", "repeated", "refused")
POOL = "localhost:50000"  # boot's worker pool knows no other port


def locked(path: Path) -> dict[str, set[str]]:
    """Versions that a lock file allows, by the package's normal name."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"(?m)^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;]+)", path.read_text()):
        found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), set()).add(version)
    return found


def main() -> int:
    lacking = image_bases.missing()
    if lacking:
        print(f"make image-test needs {', '.join(lacking)} (on Debian: apt-get install buildah mmdebstrap golang)", file=sys.stderr)
        return 2
    (version,) = locked(ROOT / "requirements.lock")["apache-beam"]
    told("bases", lambda: image_bases.make(ROOT / "build/image/bases", version))
    image = told("build", lambda: build(version))
    checked(image)
    with tempfile.TemporaryDirectory(prefix="penstock-image-") as name:
        shared = Path(name)
        shared.chmod(0o777)
        with image_box.opened(image, shared) as box:
            print(f"size: {box.size() / 1e6:,.0f} MB unpacked")
            inside(box)
            told("launch from inside, without a network", lambda: launch(box))
            told("launch onto Dataflow from inside, to the job file", lambda: dataflow(box))
            told("worker of a pipeline whose runner stands outside", lambda: worker(box))
    return 0


def told(what, do):
    started = time.monotonic()
    answer = do()
    print(f"{what}: {time.monotonic() - started:.1f} s", flush=True)
    return answer


def build(version: str) -> str:
    """Builds the image of the batch job; its name."""
    beam, launching = image_bases.make(ROOT / "build/image/bases", version)
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as conf:
        conf.write("[global]\n" + "".join(f"{k[4:].lower().replace('_', '-')} = {v}\n" for k, v in os.environ.items() if k in ("PIP_CERT", "PIP_INDEX_URL", "PIP_DEFAULT_TIMEOUT")))
        conf.flush()
        subprocess.run([ROOT / "templates/image.sh", f"--build-arg=BEAM_IMAGE={beam}", f"--build-arg=LAUNCHER_IMAGE={launching}"], check=True,
                       env=os.environ | {"ENGINE": "buildah", "JOB": "batch", "IMAGE": "penstock-test", "PIP_CONF": conf.name}, stdout=subprocess.DEVNULL)
    return next(name for name in subprocess.run(["buildah", "images", "--format", "{{.Name}}:{{.Tag}}"], check=True, stdout=subprocess.PIPE, text=True).stdout.split()
                if "penstock-test:" in name and name.endswith("-batch"))


def checked(image: str) -> None:
    """Labels, environment, entry point, and the bill of materials against the lock file."""
    config = image_box.config(image)
    environment = dict(pair.split("=", 1) for pair in config["Env"])
    assert config["Entrypoint"] == ["/opt/apache/beam/boot"], config["Entrypoint"]
    assert environment["FLEX_TEMPLATE_PYTHON_PY_FILE"] == "/opt/penstock/main.py" and environment["PENSTOCK_JOB"] == "batch"
    assert not [name for name in environment if name.startswith("FLEX_TEMPLATE") and name != "FLEX_TEMPLATE_PYTHON_PY_FILE" or "EMULATOR" in name]
    assert config["Labels"]["org.opencontainers.image.base.name"] and config["Labels"]["org.opencontainers.image.revision"] != "unknown"
    bill = json.loads((ROOT / "build/image/batch.sbom.json").read_text())
    allowed = locked(ROOT / "requirements.lock")
    parts = {re.sub(r"[-_.]+", "-", c["name"]).lower(): c["version"] for c in bill["components"]}
    strange = {n: v for n, v in parts.items() if n not in ("pip", "penstock") and v not in allowed.get(n, ())}
    assert bill["bomFormat"] == "CycloneDX" and bill["specVersion"] == "1.6" and "penstock" in parts and len(parts) > 100 and not strange, strange
    print(f"bill of materials: {len(parts)} packages, each as the lock file has it")


def inside(box: image_box.Box) -> None:
    """Nothing of ours can be changed by the user, pip can fetch nothing, and what is installed fits together."""
    assert box.run("find", "/opt/penstock", "/opt/google", "-perm", "/o+w", "-not", "-type", "l") == ""
    assert box.run("find", "/opt/penstock", "-path", "*/venv/*", "-prune", "-o", "-name", "*.pem", "-print") == ""
    assert "No broken requirements" in box.run("pip", "check")
    assert subprocess.run(box.command("pip", "download", "six", network=True), capture_output=True).returncode != 0
    assert box.run("python", "-c", "import pipelines; print(pipelines.__file__)").startswith("/opt/penstock/venv/")


def launch(box: image_box.Box) -> None:
    """The launcher starts the job that the image names, as the user without rights; the books balance."""
    events, tables = box.shared / "launched/events", box.shared / "launched/tables"
    box.run("mkdir", str(box.shared / "launched"))
    box.run("penstock", "generate", "census", f"--rows={ROWS}", "--seed=7", f"--output={events}")
    out = box.run("/opt/google/dataflow/python_template_launcher", "--contract=census", f"--input={events}/*.ndjson", f"--output={tables}",
                  f"--keys={box.shared}/launched/keys", "--json")
    row = json.loads(out.splitlines()[-1])
    assert row["balanced"] and row["read"] == ROWS and row["stored"] > 0.9 * ROWS, row
    shutil.copytree(events, box.shared / "events")
    print("  " + " ".join(f"{name}={row[name]:,}" for name in BOOKS))
    (box.shared / "launched/row.json").write_text(json.dumps(row))


def dataflow(box: image_box.Box) -> None:
    """The job file names the image for the workers, and nothing was staged that a worker would have to install."""
    keys = box.shared / "launched/keys"
    job, staged = image_dataflow.job_file(box, keys, box.shared / "events")
    (pool,) = job["environment"]["workerPools"]
    assert pool["workerHarnessContainerImage"] == launcher.IMAGE and pool["ipConfiguration"] == "WORKER_IP_PRIVATE", pool
    installed = [name for name in staged if re.search(r"\.(whl|tar\.gz|zip)$|requirements\.txt$|extra_packages|workflow", name)]
    assert staged and not installed, installed
    print("  staged: " + ", ".join(sorted({Path(name).name for name in staged})))


def worker(box: image_box.Box) -> None:
    """Boot's worker pool in the image, the runner outside: the same books as the launched job's."""
    pool = subprocess.Popen(box.command("/opt/apache/beam/boot", "--worker_pool", user=0, network=True), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                            stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        row = image_worker.run(box.shared, ROOT / "schemas/census", POOL)
    finally:
        os.killpg(pool.pid, 15)
        pool.wait(timeout=30)
    launched = json.loads((box.shared / "launched/row.json").read_text())
    assert row.balanced and all(getattr(row, name) == launched[name] for name in BOOKS), row


if __name__ == "__main__":
    sys.exit(main())
