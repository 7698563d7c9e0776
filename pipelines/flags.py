"""Options are declared once, as the fields of a frozen dataclass; flags, help and tables are derived from them here.

A flag is written --name=value; a bool field is a switch, --name. Every fault of a command line is told at once.
"""

import contextlib
import dataclasses
import difflib
import io
import logging
import re
import sys
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, TypeVar

from pipelines import forms
from pipelines.forms import Days as Days
from schemas.errors import Fault, Misconfigured

T = TypeVar("T")
GROUPS = ("Job", "Keys", "DLP", "BigQuery", "Cloud Storage", "Pub/Sub", "Output", "Beam")  # in the order of help and tables


@dataclass(frozen=True)
class Declared:
    """What an option says of itself: its help, group, the values it takes and how its value is named in help.

    pattern: in the syntax that forms.py names. picker: the ParameterType of the templates' metadata, where the type does not tell it.
    local: it says something on one machine only, and is no parameter of a template.
    """

    help: str
    group: str = "Job"
    choices: tuple[str, ...] = ()
    metavar: str = "TEXT"
    pattern: str | None = None
    minimum: int | None = None
    maximum: float | None = None
    positional: bool = False
    required: bool = False
    picker: str = ""
    local: bool = False

    def form(self, kind: Any) -> str | None:
        """The pattern that the text of a value of this type must match; None where any will do."""
        return forms.form(kind, self.choices, self.pattern, self.minimum)


def option(default: Any, help: str, **declared: Any) -> Any:
    """Declares a field of an options dataclass. `default` is its value where the flag is not given."""
    return dataclasses.field(default=default, metadata={"declared": Declared(help, **declared)})


def required(help: str, **declared: Any) -> Any:
    """Declares an option that must be given."""
    return dataclasses.field(default="", metadata={"declared": Declared(help, required=True, **declared)})


def declared(cls: type[Any]) -> list[tuple[str, Any, Any, Declared]]:
    """(flag, type, default, declaration) of every option of a job, by group; a field for_ is the flag --for, one without a declaration is none."""
    found = [(f.name.rstrip("_"), f.type, f.default, f.metadata["declared"]) for f in dataclasses.fields(cls) if "declared" in f.metadata]
    return sorted(found, key=lambda one: (GROUPS.index(one[3].group), not one[3].required))


def parse(cls: type[T], argv: list[str], beam: bool = False) -> tuple[T, list[str]]:
    """The options in argv, and what is left for Beam (with beam=True, flags that Beam knows may follow).

    Raises Misconfigured with every fault: unknown flags (with the nearest known one), values of the wrong form, missing ones.
    """
    options, rest, faults = attempt(cls, argv, beam)
    if faults:
        raise Misconfigured(faults)
    return options, rest


def attempt(cls: type[T], argv: list[str], beam: bool = False) -> tuple[T, list[str], list[Fault]]:
    """As parse, and the faults; an option at fault has its default, so that the others can be looked at all the same."""
    options = {name: (kind, spec) for name, kind, _, spec in declared(cls)}
    places = [name for name, (_, spec) in options.items() if spec.positional]
    values: dict[str, Any] = {}
    rest: list[str] = []
    faults: list[Fault] = []
    for argument in argv:
        match = re.fullmatch(r"--([A-Za-z0-9_-]+)(?:=(.*))?", argument, re.DOTALL)
        if not match:
            free = [name for name in places if name not in values]
            if free and not argument.startswith("-"):
                values[free[0]] = argument
            else:
                faults.append(Fault("command line", "an argument has no place here", "write every option as --name=value"))
            continue
        name, text = match[1].replace("-", "_"), match[2]
        if name not in options:
            rest.append(_beams_way(name, text) if beam else argument)
        elif name in values:
            faults.append(Fault(f"--{name}", "stands twice", "give it once"))
        else:
            values[name] = _value(name, options[name], text, faults)
    faults += _unknown(rest, list(options), beam)
    for name, (kind, spec) in options.items():
        if spec.required and (name not in values or values[name] == ""):
            where = name.upper() if spec.positional else f"--{name}"
            faults.append(Fault(where, "is missing", f"give {_form(name, kind, spec)}: {spec.help}"))
    fields = {f.name.rstrip("_"): f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    return cls(**{fields[name]: value for name, value in values.items() if value is not None}), rest, faults


def written(options: Any) -> list[str]:
    """The arguments that say what these options say, but for defaults: `parse` takes them back."""
    found = []
    for name, _, default, spec in declared(type(options)):
        value = getattr(options, name if hasattr(options, name) else f"{name}_")
        if value != default:
            found.append(_argument(value) if spec.positional else f"--{name}={_argument(value)}")
    return found


def _argument(value: Any) -> str:
    if isinstance(value, timedelta):
        return f"{value / timedelta(milliseconds=1):g}ms"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _value(name: str, declared: tuple[Any, Declared], text: str | None, faults: list[Fault]) -> Any:
    kind, spec = declared
    where = f"--{name}"
    if kind is bool and text is None:
        return True
    if text is None:
        faults.append(Fault(where, "has no value", f"write --{name}={spec.metavar}"))
        return None
    pattern = spec.form(kind)
    taken = pattern is None or re.fullmatch(pattern, text)
    value: Any = forms.value(kind, text) if taken else None
    if not taken or (spec.maximum is not None and value > spec.maximum):
        faults.append(Fault(where, *_rule(name, kind, spec)))
        return None
    return value


def _rule(name: str, kind: Any, spec: Declared) -> tuple[str, str]:
    """What is wrong with a value that has not its form, and what to do."""
    if kind is int:
        return "is not a number that it takes", f"give a whole number{'' if spec.minimum is None else f', at least {spec.minimum}'}"
    if kind is float:
        return "is not a number that it takes", f"give a number such as 0.05{'' if spec.maximum is None else f', at most {spec.maximum:g}'}"
    if spec.choices:
        return "is none of its values", f"give one of {', '.join(spec.choices)}"
    rules = {
        bool: ("is a switch", f"write --{name}, or --{name}=false"),
        timedelta: ("is not a span of time", "give a number and a unit: 200ms, 60s, 5m, 1h or 2d"),
        date: ("is not a day", "write it as 2026-03-04"),
        Days: ("is not a list of days", "write days as 2026-03-04, several with commas between")}
    return rules.get(kind, ("has not the form that it takes", f"give {_form(name, kind, spec)}: {spec.help}"))


def _beams_way(name: str, text: str | None) -> str:
    """An argument as Beam takes it: it drops --dry-run without a word, and runs the job; and this one of its switches needs a value."""
    text = "true" if name == "dry_run" and text is None else text
    return f"--{name}" if text is None else f"--{name}={text}"


def _unknown(rest: list[str], ours: list[str], beam: bool) -> list[Fault]:
    names = list(dict.fromkeys(argument[2:].split("=")[0].replace("-", "_") for argument in rest))
    known, strange, faults = _beams(rest) if beam and rest else (set(), set(names), [])
    for name in names:
        if name in strange:
            near = difflib.get_close_matches(name, [*ours, *known], 1)
            if "template_location" in names and not near:  # Dataflow's launcher may bring flags that this Beam does not know yet
                print(f"penstock: --{name} is not used: neither this command nor this Beam knows it", file=sys.stderr)
                continue
            faults.append(Fault(f"--{name}", "is not an option of this command", f"did you mean --{near[0]}" if near else "see --help"))
    return faults


def _beams(arguments: list[str]) -> tuple[set[str], set[str], list[Fault]]:
    """The names of Beam's options, those of these arguments that are none of them, and a fault where Beam does not take a value.

    Beam only warns of a misspelt option, so it is asked. A flag may set an option of another name: --no_use_public_ips sets use_public_ips.
    """
    from apache_beam.options.pipeline_options import PipelineOptions

    logging.getLogger("apache_beam.options.pipeline_options").setLevel(logging.ERROR)  # the warning quotes values
    given, said = PipelineOptions(list(arguments)), io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            known = set(given.get_all_options())
            return known, {name.replace("-", "_") for name in given.get_all_options(retain_unknown_options=True).keys() - known}, []
    except SystemExit:  # so argparse ends, with a page of usage
        found = re.search("error: argument (--[a-z0-9_]+)", said.getvalue())
        return set(), set(), [Fault(found[1] if found else "command line", "has a value that Beam does not take",
                                    "see Beam's own options; a switch of Beam's takes no value")]


def usage(command: str, summary: str, cls: type[Any]) -> str:
    """The help text of a command."""
    rows = declared(cls)
    places = " ".join(spec.metavar for _, _, _, spec in rows if spec.positional)
    lines = [f"penstock {command}{' ' + places if places else ''} [--name=value ...]", "", summary, ""]
    for group in dict.fromkeys(spec.group for _, _, _, spec in rows):
        lines.append(f"{group}:")
        for name, kind, default, spec in rows:
            if spec.group == group:
                lines += [f"  {_form(name, kind, spec)}", f"      {_told(spec)}{_ending(kind, default, spec)}"]
    return "\n".join(lines)


def table(cls: type[Any]) -> str:
    """The options as a Markdown table, for the README."""
    rows = ["| option | what it says | default |", "|---|---|---|"]
    for name, kind, default, spec in declared(cls):
        shown = "required" if spec.required else f"`{_shown(default)}`" if _shown(default) else ""
        rows.append(f"| `{_form(name, kind, spec)}` | {_told(spec)} | {shown} |")
    return "\n".join(rows)


def _told(spec: Declared) -> str:
    return f"{spec.help} On one machine only." if spec.local else spec.help


def _form(name: str, kind: Any, spec: Declared) -> str:
    if spec.positional:
        return spec.metavar
    return f"--{name}" if kind is bool else f"--{name}={'|'.join(spec.choices) if spec.choices and spec.metavar == 'TEXT' else spec.metavar}"


def _ending(kind: Any, default: Any, spec: Declared) -> str:
    if spec.required:
        return " (required)"
    return "" if kind is bool or not _shown(default) else f" (default: {_shown(default)})"


def _shown(default: Any) -> str:
    """A default as it would be written, "" where there is none to speak of."""
    if isinstance(default, timedelta):
        return f"{default.total_seconds():g}s" if default else ""
    return "" if default in ("", None, False, ()) else str(default)
