"""The form that marks a token in free text, so that it can be found and turned back: NAME(length):token.

https://cloud.google.com/sensitive-data-protection/docs/reference/rest/v2/InspectConfig#surrogatetype
"""

import re


def mark(token: str, name: str) -> str:
    """The token under the name of its surrogate infoType; as it is where there is no name."""
    return f"{name}({len(token)}):{token}" if name else token


def unmark(marked: str, name: str) -> str | None:
    """The token inside; None where the name or the length is not the one that `mark` would have written."""
    if not name:
        return marked
    found = re.match(r"\(([0-9]{1,9})\):", marked[len(name):]) if marked.startswith(name) else None
    if not found:
        return None
    token = marked[len(name) + found.end():]
    return token if mark(token, name) == marked else None
