"""penstock plan by the command line, what it measures of a contract, and the files that it reckons with."""

import json
import re
from datetime import date
from pathlib import Path

import pytest

from pipelines.__main__ import main
from pipelines.options import StreamOptions
from pipelines.plan import figures
from pipelines.plan import sample as plan_sample
from pipelines.plan.model import needed
from pipelines.tools.docs import written
from schemas.contract import load, shipped
from schemas.errors import Misconfigured
from transforms import gather

ROOT = Path(__file__).parent.parent
PROFILE = {
    "project": "my-project", "region": "europe-west4", "job_name": "census", "template": "gs://bucket/stream.json", "image": f"europe-docker.pkg.dev/p/r/penstock@sha256:{'0' * 64}",
    "staging": "gs://bucket/staging", "temp": "gs://bucket/temp", "subnetwork": "regions/europe-west4/subnetworks/workers",
    "service_account": "worker@my-project.iam.gserviceaccount.com", "kms_key": "none"}


def profile(tmp_path, **changes) -> str:
    path = tmp_path / "prod.yaml"
    path.write_text(json.dumps(PROFILE | changes))  # JSON is YAML
    return str(path)


def planned(capsys, *arguments: str) -> dict:
    assert main(["plan", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def by_name(plan: dict) -> dict[str, dict]:
    return {need["name"]: need for need in plan["needs"]}


@pytest.mark.parametrize("file", [figures.MEASURED, figures.QUOTAS, figures.PRICES])
def test_every_line_says_where_it_is_from(file) -> None:
    text = (ROOT / "pipelines" / "plan" / file).read_text()
    lines = figures.read(file)
    assert len(text.splitlines()) == len(lines) + 2  # one line each, so that a change of one is a change of one
    names = [(line["name"], line.get("contract"), line.get("write")) for line in lines]
    assert len(set(names)) == len(names)
    for origin in figures.origins(file):
        assert origin.kind in figures.KINDS and origin.source and date.fromisoformat(origin.date) <= date.today()
        if origin.kind in ("read", "secondary", "memory"):
            assert "https://" in origin.source
        if origin.kind == "measured":
            module = re.match(r"python -m benchmarks\.([a-z_]+)", origin.source)
            assert module and (ROOT / "benchmarks" / f"{module[1]}.py").is_file()
    for line in lines:
        assert (line["kind"] == "unknown") == (line.get("given", line.get("value", line.get("price"))) is None)


def test_constants_of_the_graph_are_those_of_the_code() -> None:
    constants = figures.measured("census", "storage_write", 64)
    assert StreamOptions(contract="-", subscription="-", output="-").shards == gather.SHARDS
    assert constants.batch == gather.Gather.__init__.__defaults__[2]  # most


def test_every_need_has_its_quota_and_every_cost_its_price(capsys, tmp_path) -> None:
    for write in ("storage_write", "insert_all", "exactly_once"):
        for engine in ("local", "dlp"):
            parameters = {"engine": engine, "write": write}
            plan = planned(capsys, "--contract=census", "--rate=10", f"--profile={profile(tmp_path, parameters=parameters)}")
            assert (plan["engine"], plan["write"]) == (engine, write)
            assert plan["usd"] == pytest.approx(sum(cost["usd"] for cost in plan["costs"]), abs=0.1)


@pytest.mark.parametrize("name", shipped())
def test_each_shipped_contract_can_be_planned(name, capsys) -> None:
    plan = planned(capsys, f"--contract={name}", "--rate=1000")
    lines = (Path(load(name).folder) / "sample.ndjson").read_bytes().splitlines()
    assert plan["event_bytes"] == pytest.approx(sum(map(len, lines)) / len(lines))
    assert plan["workers"] == 1 and plan["usd"] > 0


def test_a_million_a_second_gives_way_where_the_graph_does_unless_it_has_more_shards(capsys, tmp_path) -> None:
    plan = planned(capsys, "--contract=census", "--rate=1000000")
    assert plan["raise_first"][0]["name"] == "shards"  # 64 keys, each one thread
    assert plan["workers"] > 50
    more = planned(capsys, "--contract=census", "--rate=1000000", f"--profile={profile(tmp_path, parameters={'shards': 512}, max_workers=200)}")
    assert "shards" not in [need["name"] for need in more["raise_first"]]


def test_the_profile_says_what_there_is(capsys, tmp_path) -> None:
    path = profile(tmp_path, machine_type="n1-highmem-8", max_workers=3, disk_gb=50, quotas={"compute_cpus": 24, "kms_requests_per_minute": 4})
    plan = planned(capsys, "--contract=census", "--rate=250000", f"--profile={path}")
    found = by_name(plan)
    assert plan["machine_type"] == "n1-highmem-8" and found["compute_cpus"]["needed"] == plan["workers"] * 8
    assert found["compute_cpus"]["given"] == 24 and found["compute_disk_gb"]["needed"] == plan["workers"] * 50
    assert found["max_workers"]["given"] == 3 and found["kms_requests_per_minute"]["share"] > 1
    assert "max_workers" in {need["name"] for need in plan["raise_first"]}
    memory = next(cost for cost in plan["costs"] if cost["name"] == "worker_memory")
    assert memory["quantity"] == pytest.approx(plan["workers"] * 8 * 6.5 * 730)


def test_workers_that_never_go_are_paid(capsys, tmp_path) -> None:
    assert planned(capsys, "--contract=census", "--rate=1", f"--profile={profile(tmp_path, min_workers=4)}")["workers"] == 4


def test_the_page_has_every_figure() -> None:
    page = (ROOT / "docs/plan.md").read_text()
    assert written(page, "docs/plan.md") == page, "run `make docs`"
    assert all(origin.source in page for file in (figures.MEASURED, figures.QUOTAS, figures.PRICES) for origin in figures.origins(file))


def test_pubsub_gives_more_in_a_large_region(capsys, tmp_path) -> None:
    small = by_name(planned(capsys, "--contract=census", "--rate=1000", f"--profile={profile(tmp_path)}"))
    large = by_name(planned(capsys, "--contract=census", "--rate=1000"))
    assert large["pubsub_publish_bytes_per_minute"]["given"] == 20 * small["pubsub_publish_bytes_per_minute"]["given"]


@pytest.mark.parametrize("parameters, given", [
    ({"engine": "dlp"}, 600), ({"engine": "dlp", "dlp_endpoint": "dlp.europe-west4.rep.googleapis.com"}, 100), ({"engine": "dlp", "requests_per_minute": 5000}, 5000)])
def test_dlp_is_reckoned_where_it_de_identifies(parameters, given, capsys, tmp_path) -> None:
    plan = planned(capsys, "--contract=census", "--rate=5000", f"--profile={profile(tmp_path, parameters=parameters)}")
    need = by_name(plan)["dlp_requests_per_minute"]
    assert need["given"] == given
    assert need["needed"] == pytest.approx(64 / (1 + 64 / 5000) * 60)  # a request for each shard's batch, every second
    longer = planned(capsys, "--contract=census", "--rate=5000", f"--profile={profile(tmp_path, parameters=parameters | {'wait': '20s'})}")
    assert by_name(longer)["dlp_requests_per_minute"]["needed"] < need["needed"] / 10
    assert {"dlp_inspect", "dlp_transform"} <= {cost["name"] for cost in plan["costs"]}
    assert "dlp_requests_per_minute" not in by_name(planned(capsys, "--contract=census", "--rate=5000"))


def test_what_dlp_is_asked_is_near_what_the_benchmark_counted() -> None:
    share = plan_sample.measure(load("census")).dlp
    # benchmarks.dlp: 0.51 calls and 166,688 bytes of content for 1,000 rows, in batches of another length.
    assert share.requests * 1_000 == pytest.approx(0.51, rel=0.2)
    assert share.transformed_bytes * 1_000 == pytest.approx(166_688, rel=0.2)


def test_bytes_and_cpu_can_be_given(capsys) -> None:
    plan = planned(capsys, "--contract=census", "--rate=1000", "--bytes=1184", "--cpu=0.7")
    sample = planned(capsys, "--contract=census", "--rate=1000")
    assert plan["event_bytes"] == 1184 and plan["cpu_seconds_per_1000"] == pytest.approx(0.7) and plan["cpu_from"] == "--cpu"
    assert plan["stored_bytes"] == pytest.approx(sample["stored_bytes"] * 1184 / sample["event_bytes"])


def test_a_quota_of_nothing_is_told_in_json_that_everybody_reads(tmp_path, capsys) -> None:
    path = profile(tmp_path, quotas={"compute_cpus": 0})
    assert main(["plan", "--contract=census", "--rate=100", f"--profile={path}", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert (by_name(plan)["compute_cpus"]["given"], by_name(plan)["compute_cpus"]["share"], plan["raise_first"][0]["name"]) == (0, None, "compute_cpus")


@pytest.mark.parametrize("machine_type", ["n2-standard-0", "n2-standard-00", "n2-standard-1000", "custom-4-8192", "m1-megamem-96"])
def test_a_machine_whose_size_its_name_does_not_tell_is_refused(tmp_path, capsys, machine_type: str) -> None:
    assert main(["plan", "--contract=census", "--rate=100", f"--profile={profile(tmp_path, machine_type=machine_type)}"]) == 2
    assert "machine_type: is of a family whose size a plan does not know" in capsys.readouterr().err


def test_all_that_is_wrong_is_told_at_once(capsys, tmp_path) -> None:
    path = profile(tmp_path, machine_type="x9-mega-2", quotas={"cpus": 4}, parameters={"wait": "long"})
    assert main(["plan", "--contract=nothing", "--rate=5", f"--profile={path}"]) == 2
    told = capsys.readouterr().err
    for words in ("neither a shipped contract nor a folder", "machine_type", "quotas.cpus", "--wait"):
        assert words in told
    assert main(["plan", "--contract=census"]) == 2 and "--rate" in capsys.readouterr().err


def test_a_contract_without_a_sample_cannot_be_measured(tmp_path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    for file in Path(load("gaming").folder).iterdir():
        if file.name != "sample.ndjson":
            (folder / file.name).write_bytes(file.read_bytes())
    with pytest.raises(Misconfigured, match="missing or empty"):
        plan_sample.measure(load(str(folder)))
    (folder / "sample.ndjson").write_text('{"not": "an event"}\n')
    with pytest.raises(Misconfigured, match="no event that the contract takes"):
        plan_sample.measure(load(str(folder)))


def test_a_contract_that_no_benchmark_ran_is_taken_as_the_slowest() -> None:
    times = figures.measured_times()
    assert set(times) == set(shipped())
    ways = {line["write"]: line["value"] for line in figures.read(figures.MEASURED) if "write" in line}
    assert set(ways) == {"storage_write", "insert_all", "exactly_once"}
    for way, sink in ways.items():
        assert figures.measured("own", way, 64).cpu_seconds == pytest.approx((max(times.values()) + sink) / 1_000)
        assert figures.measured("census", way, 64).cpu_seconds == pytest.approx((times["census"] + sink) / 1_000)
    assert figures.measured("own", "insert_all", 64, 0.5).cpu_seconds == 0.0005


def test_the_words_show_the_figures(capsys, tmp_path) -> None:
    assert main(["plan", "--contract=census", "--rate=1000000", f"--profile={profile(tmp_path, max_workers=2)}"]) == 0
    told = capsys.readouterr().out
    assert "1,000,000 events/s of 592 bytes (its sample)" in told and "to raise first:" in told and "raise max_workers in the profile" in told
    assert "compute_cpus: vCPUs in the region" in told and "not counted" in told


def test_needed_names_are_quotas_of_a_plan() -> None:
    from tests.test_plan_model import MACHINE, MEASURED, PLAIN, SHARE, with_

    known = figures.quotas("europe-west1", {}, 5, 64, "here")
    for write in ("storage_write", "exactly_once", "insert_all"):
        assert needed(with_(PLAIN, dlp=SHARE, write=write), MEASURED, MACHINE).keys() <= known.keys()
