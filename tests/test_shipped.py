"""What holds of every contract that is shipped."""

import pytest
from google.cloud.dlp_v2 import types

from pipelines.__main__ import main
from schemas.contract import load, shipped


def test_these_are_shipped() -> None:
    assert set(shipped()) == {"census", "contact_center", "gaming", "telemetry", "weblog"}


@pytest.mark.parametrize("name", shipped())
def test_it_is_described_names_its_owner_and_its_templates_are_dlps(name, capsys) -> None:
    contract = load(name)
    assert main(["describe", f"--contract={name}", "--format=markdown"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for field in contract.fields:
        assert any(line.startswith(f"| `{field.name}` |") and field.privacy in line and field.doc in line for line in lines)
    assert {"owner", "cost_center", "data_class"} == dict(contract.labels).keys()
    types.InspectTemplate.from_json(contract.inspect)
    types.DeidentifyTemplate.from_json(contract.deidentify)
