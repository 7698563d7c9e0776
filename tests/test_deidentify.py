"""Deidentify: originals beside what is stored, refusals sealed from the row as it was read."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timezone

import apache_beam as beam
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from apache_beam.testing.util import assert_that

from schemas.errors import Fault, Misconfigured, Reason
from schemas.fields import Field
from tests.contracts import plain_contract
from transforms.batch import CONTENT_HASH, DAY, ID_HASH, LINEAGE, ORIGIN, RAW, REFUSED, Refusal, keep, with_column
from transforms.deidentify import Deidentify, deidentify
from transforms.rows import as_json

CONTRACT = plain_contract((Field("age", "int", True, "sensitive", "Years."),))
SCHEMA = pa.schema([pa.field("id", pa.string()), pa.field("at", pa.timestamp("us", "UTC")), pa.field("text", pa.string()), pa.field("age", pa.int32()), *LINEAGE])
NOW = datetime(2026, 3, 4, 5, 6, 7, 89, tzinfo=timezone.utc)


def batch(*texts: str | None) -> pa.RecordBatch:
    rows = [{"id": f"r{n}", "at": NOW, "text": text, "age": n, ORIGIN: f"f:{n}", DAY: date(2026, 3, 4), ID_HASH: n, CONTENT_HASH: -n} for n, text in enumerate(texts)]
    return pa.RecordBatch.from_pylist(rows, SCHEMA)


class Upper:
    """Writes `text` in capitals, and refuses the rows that say no."""

    ready = False

    def setup(self) -> None:
        self.ready = True

    def deidentify(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, list[Refusal]]:
        assert self.ready
        out = [n for n, text in enumerate(batch["text"].to_pylist()) if text == "no"]
        return keep(with_column(batch, "text", pc.utf8_upper(batch["text"])), out), [Refusal(n, Reason.NOT_DEIDENTIFIED, "text") for n in out]


@dataclass(frozen=True)
class UpperConfig:
    found: tuple[Fault, ...] = ()

    def faults(self) -> list[Fault]:
        return list(self.found)

    def start(self) -> Upper:
        return Upper()


def ready() -> Upper:
    engine = Upper()
    engine.setup()
    return engine


def test_survivors_carry_their_originals_and_their_lineage() -> None:
    stored, refused = deidentify(batch("a", "no", None, "b"), ready())
    assert refused == [Refusal(1, Reason.NOT_DEIDENTIFIED, "text")]
    assert stored.schema.names == [*SCHEMA.names, RAW]
    assert stored["text"].to_pylist() == ["A", None, "B"] and stored[ID_HASH].to_pylist() == [0, 2, 3]
    assert stored[RAW].to_pylist() == [{"id": f"r{n}", "at": NOW, "text": text, "age": n} for n, text in ((0, "a"), (2, None), (3, "b"))]


def test_a_batch_that_is_refused_whole_is_empty() -> None:
    stored, refused = deidentify(batch("no", "no"), ready())
    assert stored.num_rows == 0 and [r.position for r in refused] == [0, 1]


@pytest.mark.parametrize("wrong", [lambda b: b.slice(1), lambda b: b.take(pa.array([1, 0])), lambda b: b.take(pa.array([0, 0]))])
def test_an_engine_that_answers_other_rows_stops_the_job(wrong: Callable[[pa.RecordBatch], pa.RecordBatch]) -> None:
    class Wrong(Upper):
        def deidentify(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, list[Refusal]]:
            return wrong(batch), []
    with pytest.raises(RuntimeError, match="other rows"):
        deidentify(batch("a", "b"), Wrong())


def test_rows_as_json_are_the_named_columns_with_offsets_on_times() -> None:
    first, second = as_json(batch("a", "é👍", None), ["id", "at", "text", "age"], [2, 1])
    assert json.loads(first) == {"id": "r2", "at": "2026-03-04T05:06:07.000089+00:00", "text": None, "age": 2}
    assert orjson.loads(second)["text"] == "é👍" and as_json(batch("a"), ["id"], []) == []
    naive = pa.RecordBatch.from_arrays([pa.array([datetime(2026, 3, 4)]), pa.array([date(2026, 3, 4)])], ["at", "d"])
    assert as_json(naive, ["at", "d"], [0]) == [b'{"at":"2026-03-04T00:00:00+00:00","d":"2026-03-04"}']


def test_the_transform_emits_batches_and_refused_rows_and_nothing_empty() -> None:
    def stored(batches: list[pa.RecordBatch]) -> None:
        assert sorted(b["text"].to_pylist() for b in batches) == [["A", "B"], ["C"]]
        assert all(RAW in b.schema.names for b in batches)

    def refused(batches: list[pa.RecordBatch]) -> None:
        rows = sorted((row for b in batches for row in b.to_pylist()), key=lambda r: str(r["row"]))
        assert len(batches) == 2 and all(b.schema == REFUSED for b in batches)
        assert [(r["stage"], r["reason"], r["field"], r["origin"], r["attempt"], r["d"]) for r in rows] == [
            ("deidentify", "not_deidentified", "text", f"f:{n}", 1, date(2026, 3, 4)) for n in (0, 1)]
        assert [orjson.loads(r["row"]) for r in rows] == [
            {"id": f"r{n}", "at": "2026-03-04T05:06:07.000089+00:00", "text": "no", "age": n} for n in (0, 1)]

    pipeline = beam.Pipeline(runner="FnApiRunner")
    batches = pipeline | beam.Create([batch("a", "no", "b"), batch("no"), batch("c"), batch()], reshuffle=False)
    out = batches | Deidentify(CONTRACT, UpperConfig())
    assert_that(out.events, stored, label="stored")
    assert_that(out.refused, refused, label="refused")
    result = pipeline.run()
    result.wait_until_finish()
    counters = {c.key.metric.name: c.committed for c in result.metrics().query()["counters"] if c.key.metric.namespace == "penstock"}
    assert counters == {"refused": 2}


def test_both_outputs_are_typed() -> None:
    out = beam.Pipeline(runner="FnApiRunner") | beam.Create([batch("a")]) | Deidentify(CONTRACT, UpperConfig())
    assert out.events.element_type == pa.RecordBatch and out.refused.element_type == pa.RecordBatch


def test_what_the_engine_cannot_do_stops_the_job_while_it_is_built() -> None:
    fault = Fault("deidentify.json", "cannot be done", "do another")
    with pytest.raises(Misconfigured, match="cannot be done"):
        Deidentify(CONTRACT, UpperConfig((fault,)))
