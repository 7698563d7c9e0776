"""Packed requests: never over a limit, every row exactly once, aligned by row id."""

import string
from datetime import date, datetime, timezone
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from google.cloud.dlp_v2 import types
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import Reason
from tests.dlp_contract import RULES, batch, contract, person, rule
from transforms.engines import wire
from transforms.engines.combinations import Combinations, combinations
from transforms.engines.dlp import DlpEngine, _overhead, _prototype
from transforms.engines.layout import ROW_ID, lay_out, unfit
from transforms.engines.packing import Answers, Limits, Packer, Unproven
from transforms.engines.proof import Proof, Reported

TEXT = st.one_of(st.none(), st.text(st.characters(exclude_categories=("Cs",)), max_size=12), st.text(string.digits, max_size=300))
ROW = st.fixed_dictionaries({}, optional={
    "name": TEXT, "email": TEXT, "ssn": TEXT, "phone": TEXT, "ip": TEXT, "note": TEXT, "age": st.integers(-(2**31), 2**31 - 1),
    "income": st.integers(-(2**31), 2**31 - 1), "grade": st.floats(allow_nan=False),
    "born": st.dates(date(1, 1, 1)), "id": st.text(string.ascii_letters, min_size=1, max_size=3)})


class Echo:
    """Believes all."""

    def cell(self, *asked: Any) -> None: ...
    def columns(self, changed: Any) -> None: ...


PLAIN = contract()
LAYOUT, PROTOTYPE = lay_out(PLAIN), _prototype(DlpEngine(PLAIN, "p"))
OVERHEAD = _overhead(PROTOTYPE, LAYOUT)


def packed(rows: list[dict[str, Any]], limits: Limits = Limits()) -> tuple[Packer, list[Combinations], list[Answers]]:
    listed = combinations(batch(rows, PLAIN), LAYOUT)
    answers = [Answers.none(c) for c in listed]
    return Packer(listed, [np.arange(len(c)) for c in listed], answers, LAYOUT, OVERHEAD, limits), listed, answers


def requests(packer: Packer, rate: float = 0.0) -> Any:
    start = 0
    while start < len(packer):
        end = packer.end(start, rate)
        request = type(PROTOTYPE)()
        request.CopyFrom(PROTOTYPE)
        packer.fill(request.item.table, start, end)
        yield start, end, request
        start = end


@settings(max_examples=200, deadline=None)
@given(rows=st.lists(ROW, max_size=40), room=st.integers(150, 3000), cells=st.integers(11, 200), findings=st.integers(1, 30),
       most_rows=st.integers(1, 30), rate=st.sampled_from([0.0, 0.01, 0.5]))
def test_no_limit_is_passed_and_every_row_is_sent_once(rows, room, cells, findings, most_rows, rate) -> None:
    limits = Limits(OVERHEAD + room, max(cells, len(LAYOUT.header)), findings, most_rows)
    packer, listed, answers = packed(rows, limits)
    for start, end, request in requests(packer, rate):
        table = request.item.table
        assert request.ByteSize() <= limits.bytes
        assert len(table.headers) * len(table.rows) <= limits.cells and len(table.rows) <= limits.rows
        assert packer.inspected_bytes(start, end) * rate <= limits.findings or end - start == 1
        assert [h.name for h in table.headers] == list(LAYOUT.header)
        packer.take(table, start, end, Echo())  # an echo answers each combination with what it holds
    for group, known in zip(listed, answers, strict=True):
        for name in group.group.transformed:
            sent = [None if v == "" and name not in LAYOUT.compared else v for v in group.cells[name].to_pylist()]
            for combination, (value, answer) in enumerate(zip(sent, known.values[name], strict=True)):
                if combination in known.refused:
                    assert known.refused[combination][0] is Reason.TOO_LARGE
                else:
                    assert answer == value
        read = batch(rows, PLAIN).select(list(group.group.columns)).to_pylist()
        held = group.batch().to_pylist()
        for row, number in zip(read, group.of_row.tolist(), strict=True):  # each row has the combination that it holds, or nothing to transform
            assert row == held[number] if number >= 0 else not any(row[n] not in (None, "") for n in group.group.transformed)


@pytest.mark.parametrize(("rows", "rate", "expected"), [
    ([{"note": "n" * 400_000}] + [{"note": f"note {i}", "name": f"name {i}"} for i in range(3000)], 0.0, "bytes"),
    ([{"note": f"abc{i:07}"} for i in range(5000)], 0.3, "findings"),
    ([{"income": i} for i in range(9000)], 0.0, "cells"),
    ([{}] * 5000, 0.0, "none"),
    ([person(i) for i in range(4000)], 1 / 40, "mixed"),
])
def test_real_limits(rows, rate, expected) -> None:
    packer, listed, answers = packed(rows)
    sent = list(requests(packer, rate))
    assert all(r.ByteSize() <= 480_000 and len(r.item.table.rows) * len(LAYOUT.header) <= 50_000 for *_, r in sent)
    assert sum(end - start for start, end, _ in sent) == sum(map(len, listed)) and not any(a.refused for a in answers)
    if expected == "findings":  # three a cell: 10 bytes a note, 0.3 findings a byte
        assert [end - start for start, end, _ in sent] == [800] * 6 + [200]
    elif expected == "bytes":
        assert len(sent) == 2 and sent[0][2].ByteSize() > 440_000
    elif expected == "cells":
        assert max(len(r.item.table.rows) for *_, r in sent) == 50_000 // len(LAYOUT.header)
    elif expected == "none":
        assert not sent


def test_requests_are_full() -> None:
    packer, _, _ = packed([person(i) | {"name": f"{i:0200}"} for i in range(5000)])
    *full, _ = [r.ByteSize() for *_, r in requests(packer)]
    assert len(full) > 2 and min(full) > 0.95 * 480_000


def test_a_value_that_alone_is_too_large_is_refused_alone() -> None:
    packer, _, answers = packed([{"note": "n" * 480_000, "name": "a"}, {"note": "ok", "name": "b"}])
    assert [a.refused for a in answers if a.refused] == [{0: (Reason.TOO_LARGE, "note")}]
    sent = [v.string_value for *_, r in requests(packer) for row in r.item.table.rows for v in row.values if v.string_value]
    assert sorted(sent) == ["a", "b", "ok"]


def test_groups_follow_contexts_and_conditions() -> None:
    groups = {g.columns: g for g in LAYOUT.groups}
    assert set(groups) == {("name",), ("email",), ("ssn",), ("phone",), ("ip",), ("id", "born"), ("income",), ("age", "grade"), ("note",)}
    assert groups["id", "born"].transformed == ("born",)
    assert {g.columns[-1] for g in groups.values() if g.lasting} == {"name", "email", "ssn", "born"}
    assert LAYOUT.header == (ROW_ID, "id", "name", "email", "ssn", "phone", "ip", "born", "income", "age", "grade", "note")


def test_suppressions_make_rows_of_events() -> None:
    condition = {"expressions": {"conditions": {"conditions": [{"field": {"name": "text"}, "operator": "EXISTS"}]}}}
    layout = lay_out(contract(suppressed=[condition]))
    assert [g.columns for g in layout.groups] == [tuple(n for n in contract_names() if n not in ("at", "seen"))]
    assert not layout.groups[0].lasting
    assert [len(c) for c in combinations(batch([{}, {}], PLAIN), layout)] == [2]  # their ids differ


def contract_names() -> list[str]:
    return [f.name for f in PLAIN.fields]


def test_draws_are_not_shared() -> None:
    drawn = contract([rule("born", dateShiftConfig={"lowerBoundDays": -5, "upperBoundDays": 5}), RULES[0]])
    rows = batch([{"born": date(1999, 1, 1), "name": "x"}] * 3, drawn)
    assert {c.group.columns: len(c) for c in combinations(rows, lay_out(drawn))} == {("born",): 3, ("name",): 1}


def test_each_combination_once() -> None:
    rows = [{"age": 95, "grade": 1.0}, {"age": 95, "grade": 2.0}, {"age": None, "grade": 1.0}, {"age": 95, "grade": 1.0}, {}]
    found = next(c for c in combinations(batch(rows, PLAIN), LAYOUT) if "age" in c.group.columns)
    assert found.of_row.tolist() == [0, 1, 2, 0, -1]
    assert found.batch().to_pylist() == [{"age": 95, "grade": 1.0}, {"age": 95, "grade": 2.0}, {"age": None, "grade": 1.0}]


def changed(table: Any, how: str) -> Any:
    answer = type(table).FromString(table.SerializeToString())
    if how == "header":
        answer.headers[1].name = "other"
    elif how == "fewer headers":
        del answer.headers[-1]
    elif how == "missing":
        del answer.rows[0]
    elif how == "twice":
        answer.rows[1].values[0].integer_value = 0
    elif how == "strange id":
        answer.rows[1].values[0].integer_value = 99
    elif how == "no id":
        answer.rows[0].values[0].Clear()
    elif how == "text id":
        answer.rows[0].values[0].string_value = "0"
    elif how == "short":
        del answer.rows[0].values[-1]
    elif how == "context":
        answer.rows[0].values[1].string_value = "other"
    elif how == "unchanged":
        answer.rows[0].values[2].string_value = "Person 0"
    elif how == "no value":
        answer.rows[0].values[2].Clear()
    elif how == "reordered":
        rows = list(answer.rows)
        kept = [type(r).FromString(r.SerializeToString()) for r in rows]
        del answer.rows[:]
        answer.rows.extend(reversed(kept))
    return answer


@pytest.mark.parametrize("how", ["header", "fewer headers", "missing", "twice", "strange id", "no id", "text id", "short", "context",
                                 "unchanged", "no value", "reordered", "well"])
def test_answers_that_prove_nothing(how) -> None:
    packer, listed, answers = packed([{"name": f"Person {i}", "born": date(1999, 1, 1)} for i in range(3)])
    (start, end, request), = requests(packer)
    for row in request.item.table.rows:
        row.values[2].string_value += "#"
        row.values[LAYOUT.header.index("born")].date_value.day += 1
    answer = changed(request.item.table, how)
    if how in ("reordered", "well"):
        packer.take(answer, start, end, Reported(Proof(LAYOUT, listed), LAYOUT, {}))
        assert answers[0].values["name"] == ["Person 0#", "Person 1#", "Person 2#"]
    else:
        with pytest.raises(Unproven):
            packer.take(answer, start, end, Reported(Proof(LAYOUT, listed), LAYOUT, {}))
        assert answers[0].values["name"] == [None] * 3


@pytest.mark.parametrize(("type_", "values"), [
    (pa.string(), ["", "a", "é" * 70, "x" * 16_400, "y" * 2_100_000]), (pa.int32(), [0, -1, 2**31 - 1]), (pa.int64(), [-(2**63), 2**63 - 1]),
    (pa.float32(), [0.0, 1.5]), (pa.float64(), [-1e300]), (pa.bool_(), [True, False]), (pa.date32(), [date(1, 1, 1), date(9999, 12, 31)]),
    (pa.timestamp("us", "UTC"), [datetime(1970, 1, 1, tzinfo=timezone.utc), datetime(1, 1, 1, tzinfo=timezone.utc),
                                 datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=timezone.utc)])])
def test_cells_are_measured_and_read_back(type_, values) -> None:
    column = pa.array([*values, None], type_)
    for value, size in zip(column.to_pylist(), wire.sizes(column).tolist(), strict=True):
        row = types.Table.Row.pb(types.Table.Row())
        cell = row.values.add()
        if value is not None:
            wire.writer(type_)(cell, value)
        assert row.ByteSize() == size if type_ in (pa.string(), pa.int32(), pa.int64()) or value is None else row.ByteSize() <= size
        assert wire.read(cell) == value


def test_what_fpe_cannot_take_is_known_before() -> None:
    assert {name: [text for text in ("12-3", "n/a", "1", "12") if test(text)] for name, test in unfit(LAYOUT).items()} == {
        "ssn": ["n/a", "1"]}
