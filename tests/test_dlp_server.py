"""The DLP server of the tests is tested itself: limits, quotas, answers and faults, by Google's own client."""

from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud.dlp_v2 import types

from tests.dlp_contract import Addresses, key
from tests.dlp_faults import ANSWERS, STATUSES, FaultPlan
from tests.dlp_server import Service, serve
from transforms.engines.channel import connect

FIND = {"info_types": [{"name": "EMAIL_ADDRESS"}]}
HASH = {"crypto_hash_config": {"crypto_key": types.CryptoKey.from_json(str(key("h")).replace("'", '"'))}}


@pytest.fixture
def dlp(ring):
    """(service, client)."""
    service = Service(ring, inspector=lambda config: Addresses())
    server, address = serve(service)
    yield service, connect(address)
    service.stopping.set()
    server.stop(0)


def table(columns: dict[str, list[str]]) -> dict[str, Any]:
    rows = [{"values": [{"string_value": v} for v in row]} for row in zip(*columns.values(), strict=True)]
    return {"table": {"headers": [{"name": n} for n in columns], "rows": rows}}


def records(name: str, primitive: dict[str, Any], times: int = 1, **more: Any) -> dict[str, Any]:
    fields = [{"fields": [{"name": f"{name}{i or ''}"}], "primitive_transformation": primitive} for i in range(times)]
    return {"record_transformations": {"field_transformations": fields, **more}}


def findings(name: str) -> dict[str, Any]:
    parts = {"transformations": [{"primitive_transformation": {"replace_with_info_type_config": {}}}]}
    return {"record_transformations": {"field_transformations": [{"fields": [{"name": name}], "info_type_transformations": parts}]}}


def ask(client: Any, item: dict[str, Any], config: dict[str, Any], **more: Any) -> types.DeidentifyContentResponse:
    request = {"parent": "projects/p/locations/global", "item": item, "deidentify_config": config, "inspect_config": FIND, **more}
    return client.deidentify_content(request=request, retry=None, timeout=300)


def cells(answer: Any) -> list[list[str]]:
    return [[v.string_value for v in row.values] for row in answer.item.table.rows]


def test_transforms_records_and_findings(dlp) -> None:
    _, client = dlp
    answer = ask(client, table({"a": ["x", "y"], "b": ["1", "2"]}), records("a", {"redact_config": {}}))
    assert cells(answer) == [["", "1"], ["", "2"]]
    answer = ask(client, table({"a": ["to p@example.com now", "none"]}), findings("a"))
    assert cells(answer) == [["to [EMAIL_ADDRESS] now"], ["none"]]
    summary, = answer.overview.transformation_summaries
    assert (summary.info_type.name, summary.field.name, [(r.count, r.code) for r in summary.results]) == ("EMAIL_ADDRESS", "a", [(1, 1)])


def test_text(dlp) -> None:
    _, client = dlp
    parts = {"info_type_transformations": {"transformations": [{"primitive_transformation": {"replace_with_info_type_config": {}}}]}}
    assert ask(client, {"value": "to p@example.com"}, parts).item.value == "to [EMAIL_ADDRESS]"


def test_suppressed_rows_are_left_out(dlp) -> None:
    _, client = dlp
    condition = {"expressions": {"conditions": {"conditions": [{"field": {"name": "b"}, "operator": "EQUAL_TO", "value": {"string_value": "2"}}]}}}
    config = records("a", {"redact_config": {}}, record_suppressions=[{"condition": condition}])
    assert cells(ask(client, table({"a": ["x", "y", "z"], "b": ["1", "2", "3"]}), config)) == [["", "1"], ["", "3"]]


@pytest.mark.parametrize(("item", "config", "message"), [
    (table({"a": ["x" * 524_288]}), records("a", {"redact_config": {}}), "payload size exceeds"),
    (table({"a": ["x"] * 25_001, "b": ["x"] * 25_001}), records("a", {"redact_config": {}}), "Too many table values: 50002"),
    (table({"a": ["p@example.com " * 10] * 301}), findings("a"), "Too many findings to de-identify. Retry with a smaller request."),
    (table({"a": ["x"]}), records("a", {"redact_config": {}}, times=101), "Too many transformations: 101"),
    (table({"a": ["12345", "no digits"]}), records("a", {"crypto_replace_ffx_fpe_config": {"common_alphabet": "NUMERIC", **HASH["crypto_hash_config"]}}),
     "Cannot transform a value of field a"),
    (table({"a": ["x"]}), records("a", {"crypto_hash_config": {}}), "names no key"),
])
def test_limits_and_faults_of_values(dlp, item, config, message) -> None:
    _, client = dlp
    with pytest.raises(exceptions.InvalidArgument, match=message) as caught:
        ask(client, item, config)
    assert "no digits" not in caught.value.message


def test_just_inside_the_limits(dlp) -> None:
    _, client = dlp
    ask(client, table({"a": ["x"] * 25_000, "b": ["x"] * 25_000}), records("a", {"redact_config": {}}))
    ask(client, table({"a": ["p@example.com " * 10] * 300}), findings("a"))


def test_quota(ring) -> None:
    seconds = [100.0]
    service = Service(ring, requests_per_minute=3, clock=lambda: seconds[0])
    server, address = serve(service)
    client = connect(address)
    answers = []
    for number in range(7):
        seconds[0] += 60 if number == 5 else 1
        try:
            answers.append(ask(client, table({"a": ["x"]}), records("a", {"redact_config": {}})))
        except exceptions.ResourceExhausted as error:
            answers.append(error.code)
    server.stop(0)
    assert len(service.calls) == 7 and [answer == 429 for answer in answers] == [False] * 3 + [True] * 2 + [False] * 2


def test_templates(dlp) -> None:
    service, client = dlp
    name = "projects/p/locations/global/deidentifyTemplates/t"
    service.add(name, types.DeidentifyTemplate(deidentify_config=records("a", {"redact_config": {}})))
    assert client.get_deidentify_template(name=name).update_time.year == 2026
    with pytest.raises(exceptions.NotFound):
        client.get_inspect_template(name="projects/p/locations/global/inspectTemplates/none", retry=None)
    # A template and what stands in the request are merged.
    answer = ask(client, table({"a": ["x"], "b": ["y"]}), records("b", {"redact_config": {}}), deidentify_template_name=name)
    assert cells(answer) == [["", ""]]


def test_inspect(dlp) -> None:
    _, client = dlp
    request = {"parent": "projects/p", "item": {"value": "é p@example.com"}, "inspect_config": {**FIND, "include_quote": True}}
    finding, = client.inspect_content(request=request).result.findings
    location = finding.location
    assert (finding.quote, location.codepoint_range.start, location.byte_range.start, location.byte_range.end) == ("p@example.com", 2, 3, 16)
    many = client.inspect_content(request={**request, "item": {"value": "p@example.com " * 3001}}).result
    assert len(many.findings) == 3000 and many.findings_truncated


def test_reidentify(dlp) -> None:
    _, client = dlp
    config = records("a", {"crypto_deterministic_config": HASH["crypto_hash_config"]})
    tokens = cells(ask(client, table({"a": ["x", "y"]}), config))
    request = {"parent": "projects/p", "item": table({"a": [t for t, in tokens]}), "reidentify_config": config}
    assert cells(client.reidentify_content(request=request)) == [["x"], ["y"]]
    with pytest.raises(exceptions.InvalidArgument, match="cannot be reversed"):
        client.reidentify_content(request={**request, "reidentify_config": records("a", HASH)})


@pytest.mark.parametrize("kind", sorted(STATUSES))
def test_statuses(dlp, kind) -> None:
    service, client = dlp
    service.plan = FaultPlan(kind, calls=1)
    with pytest.raises(exceptions.GoogleAPICallError) as caught:
        ask(client, table({"a": ["x"]}), records("a", {"redact_config": {}}))
    assert caught.value.grpc_status_code is STATUSES[kind][0]
    ask(client, table({"a": ["x"]}), records("a", {"redact_config": {}}))


@pytest.mark.parametrize("kind", sorted(ANSWERS))
def test_answers_are_spoilt(dlp, kind) -> None:
    service, client = dlp
    item, config = table({"a": ["x", "y", "z"], "b": ["1", "2", "3"]}), records("a", HASH)
    whole = ask(client, item, config)
    service.plan = FaultPlan(kind, calls=1)
    assert ask(client, item, config) != whole
    assert ask(client, item, config) == whole


def test_hangs(dlp) -> None:
    service, client = dlp
    service.plan = FaultPlan("hang", seconds=60)
    request = {"parent": "projects/p", "item": table({"a": ["x"]}), "deidentify_config": records("a", {"redact_config": {}})}
    with pytest.raises(exceptions.DeadlineExceeded):
        client.deidentify_content(request=request, retry=None, timeout=0.1)


def test_share_of_calls() -> None:
    plan = FaultPlan("503", share=0.1)
    assert 70 < sum(plan.next() == "503" for _ in range(1000)) < 130
