"""Writes the generated parts of the README anew, between <!-- begin NAME --> and <!-- end NAME -->.

What is generated: the table of commands, and the table of options of each command.
"""

import re
import sys
from pathlib import Path

from pipelines.__main__ import COMMANDS
from pipelines.flags import table

README = Path("README.md")


def commands() -> str:
    """The commands as a Markdown table."""
    rows = ["| command | what it does |", "|---|---|"]
    return "\n".join([*rows, *(f"| `penstock {name}` | {c.summary} |" for name, c in COMMANDS.items())])


def options() -> str:
    """The options of every command, each under its name."""
    return "\n\n".join(f"**penstock {name}**\n\n{table(command.options)}" for name, command in COMMANDS.items())


PARTS = {"commands": commands, "options": options}


def written(text: str) -> str:
    """The text with every generated part as it should be. Raises KeyError where a part has no place in it."""
    for name, part in PARTS.items():
        pattern = re.compile(rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
        if not pattern.search(text):
            raise KeyError(name)
        text = pattern.sub(lambda found: f"{found[1]}{part()}\n{found[2]}", text)  # noqa: B023
    return text


if __name__ == "__main__":
    before = README.read_text()
    after = written(before)
    README.write_text(after)
    print("README.md is up to date" if after == before else "README.md was written anew")
    sys.exit(0)
