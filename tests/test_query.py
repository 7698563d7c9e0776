"""penstock query on a lake: answers in three forms, and what is no question."""

import csv
import io
import json
from collections.abc import Iterator

import pytest

from pipelines.sinks.lake import Lake
from pipelines.sinks.lake_catalog import Reader
from pipelines.tools.query import answer
from schemas.errors import Misconfigured
from tests.lakes import events, one_run


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    folder = tmp_path_factory.mktemp("asked")
    one_run(folder, "a", [events([1, 2])])
    reader = Lake.reader(str(folder))
    yield reader
    reader.close()


def test_answers_in_three_forms(reader: Reader) -> None:
    sql = "SELECT id, \"at\", score, label, NULL AS nothing, 'a,\"' || chr(27) AS odd, sum(id_hash) OVER () AS total, 'nan'::DOUBLE AS nan FROM events ORDER BY id"

    def given(form: str) -> str:
        text = io.StringIO()
        answer(reader, sql, form, text)
        return text.getvalue()
    lines = [json.loads(line) for line in given("json").splitlines()]
    assert lines[0] == {"id": "i1", "at": "2026-03-04T00:00:01.000000Z", "score": pytest.approx(1 / 7), "label": False, "nothing": None,
                        "odd": 'a,"\x1b', "total": 3, "nan": None}
    assert [line["id"] for line in lines] == ["i1", "i2"]
    rows = list(csv.reader(io.StringIO(given("csv"))))
    assert rows[0] == list(lines[0]) and rows[1][:2] == ["i1", "2026-03-04 00:00:01+00"] and rows[1][4:6] == ["", 'a,"\x1b']
    table = given("table").splitlines()
    assert table[0].split() == list(lines[0]) and set(table[1]) == {"-", " "} and table[-1] == "(2 rows)"
    assert "NULL" in table[2] and "\\x1b" in table[2] and "\x1b" not in table[2]


@pytest.mark.parametrize("sql, words", [
    ("DELETE FROM runs", "not one SELECT"), ("SELECT 1; SELECT 2", "not one SELECT"), ("", "not one SELECT"),
    ("COPY runs TO 'x.csv'", "not one SELECT"), ("CALL ducklake_expire_snapshots('lake')", "not one SELECT"),
    ("SELECT * FROM ducklake_expire_snapshots('lake', older_than => now())", "read-only"),
    ("SELECT * FROM read_csv('/etc/hostname')", "disabled by configuration"), ("SELECT * FROM nope", "nope does not exist"),
    ("SELEC 1", "syntax error"), ("SELECT CAST(run AS INTEGER) FROM runs", "Could not convert"),
])
def test_anything_else_is_refused(reader: Reader, sql: str, words: str) -> None:
    with pytest.raises(Misconfigured, match=words):
        answer(reader, sql, "table", io.StringIO())
    assert reader.query("SELECT count(*) AS n FROM runs").to_pylist() == [{"n": 1}]
