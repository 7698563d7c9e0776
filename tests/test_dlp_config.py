"""What the dlp engine refuses before it starts, named templates, and the engine in a pipeline."""

import json
import pickle
from dataclasses import replace
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from google.cloud.dlp_v2 import types

from schemas.errors import Misconfigured
from schemas.templates import deidentify_template, inspect_template
from tests.dlp_contract import batch, contract, key, person
from transforms.deidentify import Deidentify
from transforms.engines import channel
from transforms.engines.dlp import DlpEngine
from transforms.engines.quota import Backoff

ROWS = [person(i) for i in range(600)]


@pytest.mark.parametrize(("endpoint", "good"), [
    ("", True), ("dlp.europe-west1.rep.googleapis.com", True), ("dlp.googleapis.com:443", True), ("localhost:8085", True), ("127.1.2.3:1", True),
    ("[::1]:8085", True), ("example.com:8085", False), ("10.0.0.1:8085", False), ("http://localhost:8085", False), ("0.0.0.0:8085", False),
    ("localhost.example.com", False), ("googleapis.com.example.com", False), ("evilgoogleapis.com", False), ("https://dlp.googleapis.com", False),
    ("dlp.googleapis.com@example.com", False)])
def test_endpoints(endpoint, good) -> None:
    assert (DlpEngine(contract(), "p", endpoint=endpoint).faults() == []) is good
    if not good:
        with pytest.raises(Misconfigured):
            channel.connect(endpoint)


@pytest.mark.parametrize(("changed", "where"), [
    ({"project": ""}, "--project"), ({"location": "Europe"}, "--location"), ({"requests_per_minute": 0}, "--requests_per_minute"),
    ({"workers": 0}, "--workers"), ({"in_flight": 0}, "--in_flight")])
def test_options(changed, where) -> None:
    assert [f.where for f in DlpEngine(**({"contract": contract(), "project": "p"} | changed)).faults()] == [where]


def test_policies_that_dlp_would_take_and_we_do_not() -> None:
    def config(text: str, inspect: str = contract().inspect, **changed: Any) -> DlpEngine:
        return DlpEngine(replace(contract(), deidentify=text, inspect=inspect), "p", **changed)

    whole = contract().deidentify
    unwrapped = whole.replace(json.dumps(key("hash")), '{"unwrapped": {"key": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="}}')
    transient = whole.replace(json.dumps(key("hash")), '{"transient": {"name": "t"}}')
    leaving = whole.replace('{"deidentifyConfig": {', '{"deidentifyConfig": {"transformationErrorHandling": {"leaveUntransformed": {}}, ')
    for text, part in ((unwrapped, "unwrapped"), (transient, "transient"), (leaving, "leaveUntransformed")):
        assert text != whole and [part in f.where for f in config(text).faults()] == [True]
    assert config(unwrapped, allow_unwrapped_keys=True).faults() == []
    assert config(whole, '{"inspectConfig": {}}').faults()
    words = json.dumps({"inspectConfig": {"infoTypes": [{"name": "EMAIL_ADDRESS"}], "customInfoTypes": [
        {"infoType": {"name": "W"}, "dictionary": {"wordList": {"words": ["word" * 1000] * 100}}}]}})
    assert ["no room" in f.problem for f in config(whole, words).faults()] == [True]


def test_named_templates(world) -> None:
    of = contract()
    names = {"inspect_template": "projects/p/locations/global/inspectTemplates/i", "deidentify_template": "projects/p/locations/global/deidentifyTemplates/d"}
    missing = world.config(of, **names).faults()
    assert [f.where for f in missing] == ["--inspect_template", "--deidentify_template"] and "NOT_FOUND" in missing[0].problem
    world.service.add(names["inspect_template"], inspect_template(of.inspect, ""))
    world.service.add(names["deidentify_template"], deidentify_template(of.deidentify, ""))
    config = world.config(of, **names)
    assert config.faults() == []
    assert [(v.name, v.updated[:10]) for v in config.lineage()] == [(n, "2026-01-01") for n in names.values()]
    world.service.add(names["deidentify_template"], types.DeidentifyTemplate())
    assert ["something else" in f.problem for f in config.faults()] == [True]
    with pytest.raises(Misconfigured):
        config.lineage()
    assert [f.problem for f in replace(config, inspect_template="i", deidentify_template="").faults()] == ["is not the name of a template"]


def test_in_a_pipeline(world) -> None:
    config = pickle.loads(pickle.dumps(world.config(requests_per_minute=None, backoff=Backoff(attempt=300.0))))
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        outputs = pipeline | beam.Create([_with_day(ROWS), _with_day([{"text": "p1@example.com"}])]) | Deidentify(contract(), config)
        _ = outputs.events | beam.Map(lambda b: b.num_rows) | "Stored" >> beam.Map(_is, 600)
        _ = outputs.refused | beam.Map(lambda b: b["field"].to_pylist()) | "Refused" >> beam.Map(_is, ["text"])
    counted = {m.key.metric.name: m.committed for m in pipeline.result.metrics().query()["counters"]}
    assert counted["dlp_calls"] == len(world.service.calls) == 1 and counted["dlp_bytes"] == world.service.calls[0][1]
    assert counted["dlp_retries"] == 0
    assert {m.key.metric.name: m.committed.count for m in pipeline.result.metrics().query()["distributions"]}["dlp_waited_ms"] == 2


def _is(found: Any, expected: Any) -> None:
    assert found == expected


def _with_day(rows: Any) -> Any:
    listed = batch(rows, contract())
    return listed.append_column("d", listed["at"].cast("date32"))
