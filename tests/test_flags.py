"""Command lines: what is taken, and that every fault is told at once."""

from datetime import date, timedelta

import pytest

from pipelines.__main__ import main
from pipelines.flags import parse, table, usage
from pipelines.options import BatchOptions, StreamOptions
from pipelines.tools.options import GenerateOptions, PublishOptions, QueryOptions
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


@pytest.mark.parametrize(("argv", "where"), [
    (["--streaming=true"], ["--streaming"]), (["--num_workers=many"], ["--num_workers"]),
    (["--no_use_public_ips", "--worker_machine_type=n2"], []), (["--additional-experiments=a"], ["--additional_experiments"])])
def test_beam_says_what_it_takes(argv, where, capsys, caplog) -> None:
    if where:
        assert faults(BatchOptions, [*GOOD, *argv], beam=True) == where
    else:
        assert parse(BatchOptions, [*GOOD, *argv], beam=True)[1] == argv
    assert capsys.readouterr().err == caplog.text == "", "nothing is quoted"


@pytest.mark.parametrize(("written", "taken"), [("--dry-run", "--dry_run=true"), ("--dry_run", "--dry_run=true"), ("--dry-run=true", "--dry_run=true"),
                                                ("--num-workers=3", "--num_workers=3"), ("--no-use-public-ips", "--no_use_public_ips"),
                                                ("--labels=a=b-c", "--labels=a=b-c"), ("--labels=", "--labels=")])
def test_hyphens_are_underscores_to_beam_too(written, taken) -> None:
    """Beam drops --dry-run without a word: the job would be launched."""
    assert parse(BatchOptions, [*GOOD, written], beam=True)[1] == [taken]


@pytest.mark.parametrize("dry", ["--dry_run", "--dry-run", "--dry_run=true"])
def test_nothing_runs_on_one_machine_that_was_to_be_dry(dry, tmp_path, capsys) -> None:
    (tmp_path / "a.ndjson").write_text("")
    assert main(["batch", "--contract=census", f"--input={tmp_path}/a.ndjson", f"--output={tmp_path}/out", f"--keys={tmp_path}/keys", dry]) == 2
    assert "--dry_run: dry-runs the graph of Dataflow" in capsys.readouterr().err and sorted(p.name for p in tmp_path.iterdir()) == ["a.ndjson"]


def test_what_has_a_place_may_be_named() -> None:
    assert parse(QueryOptions, ["--sql=select 1", "out"])[0] == parse(QueryOptions, ["out", "select 1"])[0] == parse(QueryOptions, ["--output=out", "select 1"])[0]
    assert faults(QueryOptions, ["out", "select 1", "--sql=select 2"]) == ["--sql"]


def test_a_misspelt_option_is_answered_with_the_nearest() -> None:
    with pytest.raises(Misconfigured, match="did you mean --partition"):
        parse(BatchOptions, [*GOOD, "--partitoin=2026-03-04"], beam=True)


@pytest.mark.parametrize("rows", ["0", "-1", "1.5", "many", ""])
def test_numbers(rows) -> None:
    assert faults(GenerateOptions, ["census", f"--rows={rows}", "--output=x"]) == ["--rows"]


PUBLISH = ["gaming", "--topic=projects/p/topics/t"]


@pytest.mark.parametrize(("text", "span"), [("200ms", timedelta(milliseconds=200)), ("60s", timedelta(seconds=60)), ("0s", timedelta(0)), ("1.5m", timedelta(seconds=90)),
                                            ("1h", timedelta(hours=1)), ("2d", timedelta(days=2)), ("0.25s", timedelta(milliseconds=250))])
def test_spans_of_time(text, span) -> None:
    assert parse(PublishOptions, [*PUBLISH, f"--disorder={text}"])[0].disorder == span


@pytest.mark.parametrize("text", ["60", "1w", "-1s", "s", "1 s", "1e3s", "", "1h30m", "12345678s"])
def test_what_is_no_span(text) -> None:
    assert faults(PublishOptions, [*PUBLISH, f"--disorder={text}"]) == ["--disorder"]


@pytest.mark.parametrize(("text", "share"), [("0", 0.0), ("1", 1.0), ("0.05", 0.05), ("1.0", 1.0), ("0.000000001", 1e-9)])
def test_shares(text, share) -> None:
    assert parse(PublishOptions, [*PUBLISH, f"--late={text}"])[0].late == share


@pytest.mark.parametrize("text", ["1.01", "2", "-0.1", ".5", "5%", "nan", "inf", "1e-3", ""])
def test_what_is_no_share(text) -> None:
    assert faults(PublishOptions, [*PUBLISH, f"--late={text}"]) == ["--late"]


def test_a_field_whose_name_python_keeps_is_a_flag_all_the_same() -> None:
    given = ["--contract=gaming", "--subscription=projects/p/subscriptions/s", "--output=o"]
    assert parse(StreamOptions, [*given, "--for=60s"])[0].for_ == timedelta(seconds=60)
    assert faults(StreamOptions, [*given, "--for_=60s"]) == ["--for_"]


def test_defaults_are_shown_as_they_are_written() -> None:
    assert "(default: 1s)" in usage("stream", "", StreamOptions) and "| `1s` |" in table(StreamOptions)
    assert "0:00" not in usage("publish", "", PublishOptions) + table(PublishOptions)


def test_help_and_table_hold_every_option() -> None:
    for name in ("contract", "input", "output", "partition", "engine", "keys", "json", "runner"):
        assert f"--{name}" in usage("batch", "", BatchOptions) and f"--{name}" in table(BatchOptions)
