"""Writes the generated parts of README and docs anew, between <!-- begin NAME --> and <!-- end NAME -->.

What is generated: the table of commands, the table of options of each command, the table of parameters of each template,
the keys of a profile, the figures of a plan.
"""

import re
import sys
from collections.abc import Callable
from pathlib import Path

from pipelines.__main__ import COMMANDS
from pipelines.flags import table
from pipelines.launch import metadata, profile
from pipelines.launch.profile import JOBS
from pipelines.plan import figures


def commands() -> str:
    """The commands as a Markdown table."""
    rows = ["| command | what it does |", "|---|---|"]
    return "\n".join([*rows, *(f"| `penstock {name}` | {c.summary} |" for name, c in COMMANDS.items())])


def options() -> str:
    """The options of every command, each under its name."""
    return "\n\n".join(f"**penstock {name}**\n\n{table(command.options)}" for name, command in COMMANDS.items())


def parameters() -> str:
    """The parameters of every template, each under its job."""
    return "\n\n".join(f"**{job}**\n\n{metadata.table(job)}" for job in JOBS)


PAGES: dict[str, dict[str, Callable[[], str]]] = {
    "README.md": {"commands": commands, "options": options},
    "docs/flex-template.md": {"parameters": parameters},
    "docs/launch.md": {"profile": profile.table},
    "docs/plan.md": {"figures": figures.table},
}


def written(text: str, page: str = "README.md") -> str:
    """The text of a page with every generated part as it should be. Raises KeyError where a part has no place in it."""
    for name, part in PAGES[page].items():
        pattern = re.compile(rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
        if not pattern.search(text):
            raise KeyError(name)
        text = pattern.sub(lambda found: f"{found[1]}{part()}\n{found[2]}", text)  # noqa: B023
    return text


if __name__ == "__main__":
    for page in PAGES:
        before = Path(page).read_text()
        after = written(before, page)
        Path(page).write_text(after)
        print(f"{page} is up to date" if after == before else f"{page} was written anew")
    sys.exit(0)
