"""`--engine=dlp` by its real flags, against the DLP server of the tests."""

import json
import shutil
from pathlib import Path

import pytest
from google.cloud.dlp_v2 import types

from pipelines.__main__ import main
from pipelines.sinks.lake import Lake
from schemas.contract import load
from tests.dlp_server import Service, serve
from transforms.keys import Keys

INSPECT = "projects/penstock-demo/locations/europe-west1/inspectTemplates/note"
DEIDENTIFY = "projects/penstock-demo/locations/europe-west1/deidentifyTemplates/census"


@pytest.fixture
def dlp(key_folder):
    """(service, address)."""
    service = Service(Keys(str(key_folder)))
    server, address = serve(service)
    yield service, address
    service.stopping.set()
    server.stop(0)


@pytest.fixture
def named(tmp_path) -> Path:
    """The census contract as DLP hands its templates out: the resources with their names."""
    folder = tmp_path / "named"
    shutil.copytree(load("census").folder, folder)
    for file, name in (("inspect.json", INSPECT), ("deidentify.json", DEIDENTIFY)):
        template = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps({"name": name} | template))
    return folder


def run(contract, census, key_folder, address, output) -> int:
    return main(["batch", f"--contract={contract}", f"--input={census}/*.ndjson", f"--output={output}", f"--keys={key_folder}", "--engine=dlp",
                 "--project=penstock-demo", "--location=europe-west1", f"--dlp_endpoint={address}", "--requests_per_minute=100000", "--json"])


def test_inline_templates_store_what_the_local_engine_stores(dlp, census, key_folder, tmp_path, capsys) -> None:
    assert run("census", census, key_folder, dlp[1], tmp_path / "DLP") == 0
    by_dlp = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert main(["batch", "--contract=census", f"--input={census}/*.ndjson", f"--output={tmp_path}/LOCAL", f"--keys={key_folder}", "--json"]) == 0
    local = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert by_dlp["fingerprint"] == local["fingerprint"] and by_dlp["stored"] == local["stored"] > 3_000
    assert json.loads(by_dlp["engine"]) == {"engine": "dlp", "templates": {}}


def test_named_templates_stand_in_the_ledger_with_their_update_times(dlp, named, census, key_folder, tmp_path) -> None:
    service, address = dlp
    contract = load(str(named))
    service.add(INSPECT, types.InspectTemplate.from_json(contract.inspect))
    service.add(DEIDENTIFY, types.DeidentifyTemplate.from_json(contract.deidentify))
    assert run(named, census, key_folder, address, tmp_path / "OUT") == 0
    (row,) = Lake.reader(str(tmp_path / "OUT")).query("select engine, balanced from runs").to_pylist()
    templates = json.loads(row["engine"])["templates"]
    assert row["balanced"] and templates.keys() == {INSPECT, DEIDENTIFY} and all(t.startswith("2026-01-01") for t in templates.values())


def test_named_templates_that_are_missing_or_say_something_else_are_refused(dlp, named, census, key_folder, tmp_path, capsys) -> None:
    service, address = dlp
    other = types.InspectTemplate.from_json(load(str(named)).inspect)
    other.inspect_config.info_types.pop()
    service.add(INSPECT, other)
    assert run(named, census, key_folder, address, tmp_path / "OUT") == 2
    told = capsys.readouterr().err
    assert "says something else" in told and "cannot be read: NOT_FOUND" in told and not (tmp_path / "OUT").exists()
