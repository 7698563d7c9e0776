"""Where an error happened, without what it says: the text of an exception may hold a row."""

import re
import traceback


def frames(error: BaseException, most: int = 8) -> str:
    """The error's type, its causes' types, and the innermost places in the code, file:line function."""
    types: list[str] = []
    seen: BaseException | None = error
    while seen is not None and len(types) < 5:
        types.append(type(seen).__name__)
        seen = seen.__cause__ or seen.__context__
    places = [f"{_short(f.filename)}:{f.lineno} {f.name}"
              for f in traceback.extract_tb(error.__traceback__)]
    return f"{' from '.join(types)} at {' < '.join(reversed(places[-most:]))}"


def _short(path: str) -> str:
    return re.sub(r".*/(pipelines|transforms|schemas|apache_beam)/", r"\1/", path)
