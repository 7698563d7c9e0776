"""Command lines: what is taken, and that every fault is told at once."""

from datetime import date

import pytest

from pipelines.flags import parse, table, usage
from pipelines.options import BatchOptions, GenerateOptions, QueryOptions
from schemas.errors import Misconfigured

GOOD = ["--contract=census", "--input=a/*.ndjson", "--output=out"]


def faults(cls, argv, beam=False) -> list[str]:
    with pytest.raises(Misconfigured) as error:
        parse(cls, argv, beam)
    return [f.where for f in error.value.faults]


def test_values() -> None:
    options, rest = parse(BatchOptions, [*GOOD, "--partition=2026-03-05,2026-03-04", "--json"], beam=True)
    assert options.partition == (date(2026, 3, 4), date(2026, 3, 5)) and options.json and options.engine == "local" and rest == []
    assert options.runner == "DirectRunner"


def test_places() -> None:
    options, _ = parse(QueryOptions, ["out", "select 1 = 1", "--format=json"])
    assert (options.output, options.sql, options.format) == ("out", "select 1 = 1", "json")
    assert parse(GenerateOptions, ["census", "--rows=5", "--output=x"])[0].rows == 5


def test_beams_own_options_follow() -> None:
    _, rest = parse(BatchOptions, [*GOOD, "--job_name=x"], beam=True)
    assert rest == ["--job_name=x"]


@pytest.mark.parametrize(("argv", "where"), [
    ([], ["--contract", "--input", "--output"]),
    ([*GOOD, "--partition=2026-02-30"], ["--partition"]),
    ([*GOOD, "--partition=20260304"], ["--partition"]),
    ([*GOOD, "--engine=magic"], ["--engine"]),
    ([*GOOD, "--partitoin=2026-03-04"], ["--partitoin"]),
    ([*GOOD, "--json=maybe"], ["--json"]),
    ([*GOOD, "--output=twice"], ["--output"]),
    ([*GOOD, "stray"], ["command line"]),
    ([*GOOD, "--partition"], ["--partition"]),
    (["--contract=census", "--engine=x", "--nonsense=1", "--partition=y"], ["--engine", "--partition", "--nonsense", "--input", "--output"]),
])
def test_faults_all_at_once(argv, where) -> None:
    assert sorted(faults(BatchOptions, argv, beam=True)) == sorted(where)


def test_a_misspelt_option_is_answered_with_the_nearest() -> None:
    with pytest.raises(Misconfigured, match="did you mean --partition"):
        parse(BatchOptions, [*GOOD, "--partitoin=2026-03-04"], beam=True)


@pytest.mark.parametrize("rows", ["0", "-1", "1.5", "many", ""])
def test_numbers(rows) -> None:
    assert faults(GenerateOptions, ["census", f"--rows={rows}", "--output=x"]) == ["--rows"]


def test_help_and_table_hold_every_option() -> None:
    for name in ("contract", "input", "output", "partition", "engine", "keys", "json", "runner"):
        assert f"--{name}" in usage("batch", "", BatchOptions) and f"--{name}" in table(BatchOptions)
