"""`penstock inspect`, its pure part."""

import io
import json

import pytest
from google.cloud.dlp_v2.types import InspectConfig

from pipelines.__main__ import main
from pipelines.tools.inspect import report
from schemas.errors import Misconfigured

CONFIG = InspectConfig(info_types=[{"name": "EMAIL_ADDRESS"}, {"name": "US_SOCIAL_SECURITY_NUMBER"}])
TEXTS = ["😀 jane@x.org", "clean", "ssn 123-45-6789 or bob@x.org", "\ud800 eve@x.org"]


def test_json_is_one_object_a_row() -> None:
    out = io.StringIO()
    assert report(CONFIG, TEXTS, "json", False, out) == 0
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["row"] for line in lines] == [0, 1, 2, 3]
    assert lines[0] == {"row": 0, "findings": [{"info_type": "EMAIL_ADDRESS", "likelihood": "VERY_LIKELY", "start": 2, "end": 12}]}
    assert lines[1]["findings"] == []
    assert [f["info_type"] for f in lines[2]["findings"]] == ["US_SOCIAL_SECURITY_NUMBER", "EMAIL_ADDRESS"]
    assert lines[3]["findings"][0]["start"] == 2


@pytest.mark.parametrize("form", ["json", "table"])
def test_quotes_only_where_asked(form: str) -> None:
    for quote in (False, True):
        out = io.StringIO()
        report(CONFIG, TEXTS, form, quote, out)  # type: ignore[arg-type]
        assert ("123-45-6789" in out.getvalue()) == quote


def test_table_ends_with_sums() -> None:
    out = io.StringIO()
    report(CONFIG, iter(TEXTS * 1000), "table", False, out)
    assert "4,000 rows, 3,000 with findings, 4,000 findings" in out.getvalue()
    assert "   3,000  EMAIL_ADDRESS" in out.getvalue()


def test_a_config_that_cannot_run_says_so_before_any_row() -> None:
    out = io.StringIO()
    with pytest.raises(Misconfigured):
        report(InspectConfig(), TEXTS, "json", False, out)
    assert out.getvalue() == ""


def test_command(tmp_path, capsys) -> None:
    rows = ['{"note": "mail jane@example.com"}', "broken", '{"note": "nothing"}', '{"note": null}']
    (tmp_path / "rows.ndjson").write_text("\n".join(rows) + "\n")
    assert main(["inspect", "--contract=census", f"--input={tmp_path}/rows.ndjson", "--field=note", "--format=json", "--quote"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["row"], [(f["info_type"], f["quote"]) for f in line["findings"]]) for line in lines] == [
        (0, [("EMAIL_ADDRESS", "jane@example.com")]), (1, []), (2, []), (3, [])]


def test_command_lists_the_info_types(capsys) -> None:
    assert main(["inspect", "--list"]) == 0
    assert {"EMAIL_ADDRESS", "PERSON_NAME", "CREDIT_CARD_NUMBER"} <= set(capsys.readouterr().out.split())


def test_command_tells_every_fault(capsys) -> None:
    assert main(["inspect"]) == 2
    told = capsys.readouterr().err
    assert "--inspect_template" in told and "--input" in told and "--field" in told
