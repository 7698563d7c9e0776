"""Every option of every command stands in its flags, its help, the README and, for a template, in metadata, spec and docs: with one help and one form of its values."""

import json
import os
import re
import subprocess
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
import re2
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pipelines import forms
from pipelines.__main__ import COMMANDS, main
from pipelines.flags import Days, declared, parse, usage
from pipelines.launch.metadata import LAUNCHERS, metadata
from pipelines.launch.profile import JOBS
from pipelines.tools.docs import written
from schemas.errors import Misconfigured

ROOT = Path(__file__).parents[1]
IMAGE = f"europe-west4-docker.pkg.dev/p/r/penstock@sha256:{'0f' * 32}"
PARAMETERS = [(job, *one) for job in JOBS for one in declared(COMMANDS[job].options) if not one[3].local and one[0] not in LAUNCHERS]
FORMS = sorted({p["regexes"][0] for job in JOBS for p in metadata(job)["parameters"] if "regexes" in p})


# Where an option stands

def section(text: str, command: str) -> str:
    """What stands under the command's name, up to the next bold name."""
    return text.split(f"**{command}**\n")[1].split("\n**")[0].split("<!--")[0]


def rows(text: str, command: str) -> dict[str, str]:
    """The second to last cell of a table's rows, by the first."""
    cells = [line[2:-2].split(" | ") for line in section(text, command).splitlines() if line.startswith("| `")]
    return {one[0].strip("`"): one[-2] for one in cells}


def spoken(command: str, name: str, spec) -> str:
    return f"{spec.help} On one machine only." if spec.local else spec.help


def form(name: str, kind, spec) -> str:
    if spec.positional:
        return spec.metavar
    return f"--{name}" if kind is bool else f"--{name}={'|'.join(spec.choices) if spec.choices and spec.metavar == 'TEXT' else spec.metavar}"


@pytest.mark.parametrize("command", COMMANDS)
def test_flags_help_and_readme(command: str) -> None:
    options = declared(COMMANDS[command].options)
    table, told = rows((ROOT / "README.md").read_text(), f"penstock {command}"), usage(command, "", COMMANDS[command].options).splitlines()
    assert table == {form(name, kind, spec): spoken(command, name, spec) for name, kind, _, spec in options}
    for name, kind, _, spec in options:
        (line,) = (i for i, line in enumerate(told) if line.strip() == form(name, kind, spec))
        assert told[line + 1].strip().startswith(spoken(command, name, spec))


@settings(max_examples=5, deadline=None)
@given(st.data())
def test_every_flag_is_taken_with_what_its_form_says(data) -> None:
    for command in COMMANDS:
        for name, kind, _, spec in declared(COMMANDS[command].options):
            pattern = spec.form(kind)
            text = data.draw(st.from_regex(pattern, fullmatch=True)) if pattern and spec.maximum is None else "0.5" if kind is float else "text"
            assert accepted(command, name, text), f"{command} --{name}={text}"


@pytest.mark.parametrize("job", JOBS)
def test_metadata_spec_and_docs(job: str, capsys) -> None:
    wanted = {name: spec.help for one, name, _, _, spec in PARAMETERS if one == job}
    assert main(["spec", f"--job={job}", f"--image={IMAGE}"]) == 0
    printed = json.loads(capsys.readouterr().out)["metadata"]
    assert printed == metadata(job)
    assert {p["name"]: p["helpText"] for p in printed["parameters"]} == wanted
    assert rows((ROOT / "docs" / "flex-template.md").read_text(), job).keys() == wanted.keys()
    for line in section((ROOT / "docs" / "flex-template.md").read_text(), job).splitlines():
        name = re.match(r"\| `(\w+)` \| [A-Z_]+ \| (.*) \| [^|]*\|$", line)
        assert not name or name[2] == wanted[name[1]]


def test_the_page_is_up_to_date() -> None:
    page = (ROOT / "docs" / "flex-template.md").read_text()
    assert written(page, "docs/flex-template.md") == page, "run `make docs`"


@pytest.mark.parametrize("job", JOBS)
def test_what_is_left_out_of_metadata_is_said_to_be_of_one_machine_or_given_by_the_launcher(job: str) -> None:
    everything = {name: spec for name, _, _, spec in declared(COMMANDS[job].options)}
    left = everything.keys() - {p["name"] for p in metadata(job)["parameters"]}
    assert left == {name for name, spec in everything.items() if spec.local} | (everything.keys() & LAUNCHERS)
    assert not [name for name in left if everything[name].required], "what must be given must be a parameter"


@pytest.mark.parametrize("job", JOBS)
def test_no_option_of_ours_takes_one_of_beams_but_on_purpose(job: str) -> None:
    """An option of Beam's that has the same name would never reach Beam. project: the job passes it on; runner: it says which graph is built."""
    from apache_beam.options.pipeline_options import PipelineOptions

    ours = {name for name, _, _, spec in declared(COMMANDS[job].options) if not spec.local}
    assert ours & set(PipelineOptions([]).get_all_options()) <= {"project", "runner"}


# What a value may look like

def accepted(job: str, name: str, text: str) -> bool:
    """What the option's own validation says."""
    try:
        parse(COMMANDS[job].options, [f"--{name}={text}"], beam=True)
    except Misconfigured as error:
        return f"--{name}" not in {fault.where for fault in error.faults}
    return True


def by_grep(regex: str, texts: list[str]) -> set[str]:
    """Of texts without line breaks, those that grep -E takes."""
    found = subprocess.run(["grep", "-aE", "-e", regex], input="".join(f"{text}\n" for text in texts).encode(), capture_output=True,
                           env={"LC_ALL": "C", "PATH": os.environ["PATH"]})
    assert found.returncode in (0, 1) and not found.stderr, (regex, found.stderr)
    return set(found.stdout.decode().split("\n")[:-1])


STRANGE = ["", " ", "0", "00", "007", "-0", "-1", "+1", "1_000", "1e3", "1.5", "1" * 18, "1" * 19, "٣", "１２", " 1", "1 ", "true", "True", "false", "1s", "0.5h",
           "200ms", "1.s", "1 s", "60", "2026-03-04", "2026-02-29", "2024-02-29", "1900-02-29", "2000-02-29", "2026-04-31", "2026-13-01", "2026-3-4", "0001-01-01",
           "2026-03-04,2026-03-05", "2026-03-04,", ",", "2026-03-04T10:00:00Z", "2026-03-04 10:00:00.5+02:00", "2026-03-04T24:00:00Z", "2026-03-04T10:00:00",
           "2026-03-04T10:00:00.Z", "local", "dlp", "localdlp", "local|dlp", "LOCAL", "projects/p/subscriptions/s", "projects//subscriptions/s",
           "projects/p/subscriptions/s/t", "projects/p/subscriptions/s\n", "x" * 100, "x" * 101, "-x", "_x", "x y", "$", "^", "\\d", ".*", "é"]


@st.composite
def near(draw) -> str:
    """What a form takes, whole or with one letter less, more or other."""
    text = draw(st.from_regex(draw(st.sampled_from(FORMS))[1:-1], fullmatch=True))
    at, new = draw(st.integers(0, len(text))), draw(st.sampled_from(["", "0", "9", "-", "a", "٣", " ", "\n", "/", "é", ",", "."]))
    return draw(st.sampled_from([text, text[:at] + new + text[at:], text[:at] + new + text[at + 1:]]))


TEXTS = st.lists(st.one_of(near(), near(), st.text(max_size=12)), min_size=30, max_size=60)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])  # shrinking would start grep for minutes
@given(TEXTS)
def test_regexes_take_what_the_options_take(texts: list[str]) -> None:
    """By grep -E and by RE2: the API says POSIX egrep, and its engine is not known."""
    texts = list(dict.fromkeys(STRANGE + texts))
    lines = [text for text in texts if "\n" not in text and "\x00" not in text]
    judged: dict[tuple, set[str]] = {}
    tried = 0
    for job in JOBS:
        for parameter in metadata(job)["parameters"]:
            if "regexes" not in parameter:
                continue
            (regex,), key = parameter["regexes"], (parameter["name"], *parameter["regexes"])
            taken = judged.setdefault(key, {text for text in texts if accepted(job, parameter["name"], text)})
            assert {text for text in texts if re2.search(regex, text)} == taken, parameter["name"]
            assert by_grep(regex, lines) == taken & set(lines), parameter["name"]
            tried += 1
    assert tried >= 15


@pytest.mark.parametrize(("job", "name", "kind", "default", "spec"), PARAMETERS, ids=lambda one: one if isinstance(one, str) else "")
def test_a_parameter_is_of_a_type_and_its_default_is_taken(job: str, name: str, kind, default, spec) -> None:
    (found,) = (p for p in metadata(job)["parameters"] if p["name"] == name)
    if "defaultValue" in found:
        assert all(re2.search(regex, found["defaultValue"]) for regex in found.get("regexes", []))
        assert forms.value(kind, found["defaultValue"]) == default
    assert spec.maximum is None, "no regex says that a number has a limit above"
    if "parentName" in found:
        (parent,) = (p for p in metadata(job)["parameters"] if p["name"] == found["parentName"])
        assert set(found["parentTriggerValues"]) <= {choice["value"] for choice in parent["enumOptions"]}


# One syntax for Python and POSIX

_ATOM = r"(?:[A-Za-z0-9_/:=,@%~ -]|\\[][.*+?(){}|^$\\]|\[(?:[A-Za-z0-9_.~+%:@/=,*Tt ]-[A-Za-z0-9]|[A-Za-z0-9_.~+%:@/=,* ])+-?\]|[()|])"
_PORTABLE = re.compile(rf"(?:{_ATOM}(?:[*+?]|\{{[0-9]{{1,3}}(?:,[0-9]{{0,3}})?\}})?)+")


def portable(pattern: str) -> bool:
    """True where a pattern says the same to Python, POSIX and RE2: no classes by name, no dots and no lists of what is not taken (a line break
    would be in them for some), no anchors, nothing lazy, nothing behind (?."""
    repeats = [int(n) for n in re.findall(r"[{,]([0-9]+)(?=[,}])", pattern)]
    return bool(_PORTABLE.fullmatch(pattern)) and not re.search(r"[(|][*+?{]|\{,", pattern) and max(repeats, default=0) <= 255


def test_forms_are_written_in_what_python_and_posix_share() -> None:
    for _, name, kind, _, spec in PARAMETERS:
        pattern = spec.form(kind)
        assert pattern is None or portable(pattern), f"--{name}: {pattern}"
    assert all(portable(regex[1:-1]) for regex in FORMS)


@pytest.mark.parametrize("pattern", [r"\d+", r"\w", r"\bx", "(?:a)", "(?P<n>a)", "(?=x)a", "(?i)a", "a*?", "a+?", "a++", "[^/]+", "a.b", "[[:alpha:]]", "^a", "a$",
                                     r"[\d]", r"[\w-]", "a{,3}", "a{1,1000}", r"\Aa", r"a\Z", r"(a)\1", "(*a)", "a||*"])
def test_what_only_python_reads_so_is_refused(pattern: str) -> None:
    assert not portable(pattern)


# The forms themselves, against what Python's own types say

def is_whole(text: str) -> bool:
    return text.isascii() and text.removeprefix("-").isdigit() and len(text.removeprefix("-")) <= 18 and str(abs(int(text))) == text.removeprefix("-")


def is_day(text: str) -> bool:
    try:
        return text == datetime.strptime(text, "%Y-%m-%d").date().isoformat() and "1000" <= text[:4] <= "2999"
    except ValueError:
        return False


def is_moment(text: str) -> bool:
    day, time = text[:10], text[10:].upper().replace("Z", "+00:00", 1)
    if not time:
        return is_day(day)
    try:
        shape = "%H:%M:%S.%f%z" if "." in time else "%H:%M:%S%z"
        return (is_day(day) and time[0] in "T " and len(time.split("+")[0].split("-")[0]) in (9, *range(11, 17)) and len(re.split("[+-]", time)[-1]) == 5
                and datetime.strptime(time[1:], shape) is not None and text.isascii())
    except ValueError:
        return False


def is_span(text: str) -> bool:
    unit = next((unit for unit in ("ms", "s", "m", "h", "d") if text.endswith(unit)), "")
    whole, dot, part = text.removesuffix(unit).partition(".")
    return bool(unit) and text.isascii() and whole.isdigit() and len(whole) <= 7 and ((part.isdigit() and len(part) <= 6) if dot else not part)


ORACLES = [(forms.form(int), is_whole), (forms.form(date), is_day), (forms.form(Days), lambda text: all(map(is_day, text.split(",")))),
           (forms.MOMENT, is_moment), (forms.form(timedelta), is_span),
           *((forms.form(int, minimum=least), lambda text, least=least: is_whole(text) and text[0] != "-" and int(text) >= least) for least in (0, 1, 2, 90, 199, 1000))]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_forms_are_what_the_types_take(data) -> None:
    pattern, oracle = data.draw(st.sampled_from(ORACLES))
    text = data.draw(st.one_of(st.from_regex(pattern, fullmatch=True), near(), st.sampled_from(STRANGE), st.integers(-10, 20_000).map(str),
                               st.dates(date(980, 1, 1), date(3010, 1, 1)).map(str), st.datetimes(datetime(990, 1, 1)).map(lambda moment: f"{moment.isoformat()}Z")))
    assert bool(re.fullmatch(pattern, text)) == oracle(text), text
