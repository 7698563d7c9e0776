"""templates/main.py: what the launcher runs, and that the launcher's flags pass."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.__main__ import COMMANDS
from pipelines.flags import parse
from schemas.errors import Misconfigured

ROOT = Path(__file__).parents[1]
IMAGE = f"europe-west4-docker.pkg.dev/p/r/penstock@sha256:{'0f' * 32}"

LAUNCHER = [  # what Dataflow gives a Python template, and what an environment adds
    "--runner=DataflowRunner", "--project=p-12345", "--region=europe-west4", "--job_name=census-1", "--template_location=gs://b/template_launches/1/job_object",
    "--staging_location=gs://b/staging", "--temp_location=gs://b/tmp", "--service_account_email=worker@p-12345.iam.gserviceaccount.com",
    f"--sdk_container_image={IMAGE}", "--subnetwork=regions/europe-west4/subnetworks/dataflow", "--network=n", '--labels={"owner": "a", "data_class": "b"}',
    "--labels=goog-dataflow-provided-template-type=flex", "--no_use_public_ips", "--machine_type=n2-standard-2", "--worker_machine_type=n2-standard-2",
    "--num_workers=1", "--max_num_workers=10", "--disk_size_gb=30", "--worker_zone=europe-west4-a", "--worker_region=europe-west4",
    "--autoscaling_algorithm=THROUGHPUT_BASED", "--enable_streaming_engine", "--streaming", "--experiments=use_runner_v2", "--experiments=a=b",
    "--dataflow_service_options=enable_prime", "--flexrs_goal=COST_OPTIMIZED", "--number_of_worker_harness_threads=4", "--update",
    '--transform_name_mapping={"a": "b"}', "--dataflow_kms_key=projects/p/locations/europe-west4/keyRings/r/cryptoKeys/k"]
JOB = ["--contract=census", "--subscription=projects/p/subscriptions/s", "--output=bq://p-12345.ds"]


def test_the_launchers_flags_pass() -> None:
    options, rest = parse(COMMANDS["stream"].options, [*LAUNCHER, *JOB], beam=True)
    assert (options.runner, options.project) == ("DataflowRunner", "p-12345") and rest == LAUNCHER[2:]


def test_reserved_names_pass_by_their_names() -> None:
    given = ["--contract=census", "--output=bq://p.ds", "--sql=select 1", "--columns=a", "--purpose=b", "--destination=c"]
    options, _ = parse(COMMANDS["reidentify"].options, [*given, *LAUNCHER], beam=True)
    assert (options.output, options.sql) == ("bq://p.ds", "select 1")
    with pytest.raises(Misconfigured, match="stands twice|no place here"):
        parse(COMMANDS["reidentify"].options, ["out", *given], beam=True)


@pytest.mark.parametrize("flag", ["--max_workers=3", "--subscripton=x", "--worker_machine=n2"])
def test_what_looks_misspelt_is_refused(flag: str) -> None:
    with pytest.raises(Misconfigured, match=re.escape(flag.split("=")[0])):
        parse(COMMANDS["stream"].options, [*LAUNCHER, *JOB, flag], beam=True)


def test_a_flag_of_a_newer_launcher_is_told_and_not_used(capsys) -> None:
    options, _ = parse(COMMANDS["stream"].options, [*LAUNCHER, *JOB, "--zzz_novelty=secret"], beam=True)
    told = capsys.readouterr().err
    assert options.output == "bq://p-12345.ds" and "--zzz_novelty is not used" in told and "secret" not in told
    with pytest.raises(Misconfigured, match="zzz_novelty"):
        parse(COMMANDS["stream"].options, [*JOB, "--zzz_novelty=x"], beam=True)


@pytest.mark.parametrize(("job", "arguments", "told"), [
    ("stream", [*LAUNCHER, "--subscripton=x"], ["--subscripton", "did you mean --subscription", "--contract: is missing"]), ("", LAUNCHER, ["no such command"])])
def test_main_runs_the_images_job(job: str, arguments: list[str], told: list[str], tmp_path) -> None:
    """To its exit code; a launch to the job file is tests/test_launch.py's."""
    done = subprocess.run([sys.executable, str(ROOT / "templates" / "main.py"), *arguments], cwd=tmp_path, capture_output=True, text=True,
                          env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)} | ({"PENSTOCK_JOB": job} if job else {}))
    assert done.returncode == 2 and all(word in done.stderr for word in told), done.stderr


def test_templates_are_no_package() -> None:
    assert not list((ROOT / "templates").rglob("__init__.py"))
    lines = [line for line in (ROOT / "templates" / "main.py").read_text().splitlines() if line]
    assert len(lines) <= 6 and "pipelines" in lines[3], "nothing that a worker would have to unpickle"
