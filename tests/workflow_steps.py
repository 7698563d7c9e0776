"""Runs a workflow of Google Cloud Workflows, as far as ours goes: assign, call, try with retry and except, switch, for, raise, return, next.

It is ours, not Google's: what it shows is that the steps do what they are for; not that Google reads them alike.
https://cloud.google.com/workflows/docs/reference/syntax
"""

import re
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any

Call = Callable[[str, dict[str, Any]], Any]


class Raised(Exception):
    """What a workflow raised: a text, or a map such as that of an HTTP fault, with its code."""

    def __init__(self, what: Any):
        self.what = what
        super().__init__(str(what))


class _Map(dict):
    """A map, whose values are attributes too."""

    def __getattr__(self, name: str) -> Any:
        if name not in self:
            raise Raised({"tags": ["KeyError"], "message": name})
        return self[name]


def steps(listed: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every step, those inside others too, with its name."""
    for entry in listed:
        ((name, body),) = entry.items()
        yield name, body
        for inner in (body, body.get("for") or {}, body.get("except") or {}, *body.get("switch", [])):
            yield from steps(inner.get("steps", []))


class Run:
    """One execution. call: what a call answers, by its name and arguments; it raises Raised. Nothing sleeps."""

    def __init__(self, call: Call, environment: dict[str, str], now: float):
        self.call, self.slept = call, 0.0
        self._names: dict[str, Any] = {
            "sys": SimpleNamespace(get_env=lambda name: environment[name], now=lambda: now), "int": int, "double": float, "math": SimpleNamespace(abs=abs),
            "default": lambda value, other: other if value is None else value, "null": None, "true": True, "false": False,
            "text": SimpleNamespace(substring=lambda text, first, last: text[first:last], replace_all=lambda text, was, becomes: text.replace(was, becomes)),
            "time": SimpleNamespace(format=lambda seconds: datetime.fromtimestamp(seconds, timezone.utc).isoformat()), "map": SimpleNamespace(get=_get),
            "http": SimpleNamespace(default_retry_predicate=_passing, default_retry={"predicate": _passing, "max_retries": 5})}

    def main(self, workflow: dict[str, Any], argument: dict[str, Any]) -> Any:
        """What the workflow returns. Raises Raised."""
        self._names[workflow["main"]["params"][0]] = _Map(argument)
        return (self._list(workflow["main"]["steps"]) or {}).get("return")

    def value(self, written: Any) -> Any:
        """What stands in the file, expressions evaluated."""
        if isinstance(written, dict):
            return _Map({key: self.value(inner) for key, inner in written.items()})
        if isinstance(written, list):
            return [self.value(inner) for inner in written]
        if not isinstance(written, str) or not (found := re.fullmatch(r"\$\{(.*)\}", written, re.DOTALL)):
            return written
        assert len(found[1]) <= 400, "Workflows takes no longer expression"
        return eval(found[1].strip(), {"__builtins__": {}}, self._names)

    def _list(self, listed: list[dict[str, Any]]) -> dict[str, Any] | None:
        """Runs steps; answers {"next": a step that is not among them} or {"return": value}, None at the end."""
        named = [next(iter(entry)) for entry in listed]
        at = 0
        while at < len(listed):
            left = self._step(listed[at][named[at]])
            at += 1
            if left is not None:
                if left.get("next") not in named:
                    return left
                at = named.index(left["next"])
        return None

    def _step(self, body: dict[str, Any]) -> dict[str, Any] | None:
        left = None
        if "assign" in body:
            for pair in body["assign"]:
                self._names.update({name: self.value(written) for name, written in pair.items()})
        elif "try" in body:
            left = self._try(body)
        elif "call" in body:
            self._call(body)
        elif "switch" in body:
            left = next((self._branch(case) for case in body["switch"] if self.value(case["condition"])), None)
        elif "for" in body:
            left = self._for(body["for"])
        if left is None:
            left = self._branch(body)
        return left

    def _branch(self, body: dict[str, Any]) -> dict[str, Any] | None:
        left = self._list(body.get("steps", []))
        if left is None and "raise" in body:
            raise Raised(self.value(body["raise"]))
        if left is None and "return" in body:
            return {"return": self.value(body["return"])}
        return {"next": body["next"]} if left is None and "next" in body else left

    def _for(self, body: dict[str, Any]) -> dict[str, Any] | None:
        for value in self.value(body["in"]):
            self._names[body["value"]] = value
            left = self._list(body["steps"])
            if left == {"next": "break"}:
                break
            assert left is None or left == {"next": "continue"} or "return" in left, "a loop is left by break alone"
        return None

    def _try(self, body: dict[str, Any]) -> dict[str, Any] | None:
        retry = self.value(body.get("retry", {}))
        for attempt in range(1 + retry.get("max_retries", 0)):
            try:
                self._call(body["try"])
                return None
            except Raised as raised:
                if attempt < retry.get("max_retries", 0) and retry["predicate"](raised.what):
                    continue
                if "except" not in body:
                    raise
                self._names[body["except"]["as"]] = _Map(raised.what) if isinstance(raised.what, dict) else raised.what
                return self._list(body["except"]["steps"])
        return None

    def _call(self, body: dict[str, Any]) -> None:
        given = self.value(body["args"])
        if body["call"] == "sys.sleep":
            self.slept += given["seconds"]
            return
        answer = self.call(body["call"], given)
        if "result" in body:
            self._names[body["result"]] = _mapped(answer)


def _mapped(value: Any) -> Any:
    if isinstance(value, dict):
        return _Map({key: _mapped(inner) for key, inner in value.items()})
    return [_mapped(inner) for inner in value] if isinstance(value, list) else value


def _get(found: Any, keys: Any) -> Any:
    for key in [keys] if isinstance(keys, str) else keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found


def _passing(fault: Any) -> bool:
    """https://cloud.google.com/workflows/docs/reference/stdlib/http/default_retry_predicate"""
    return isinstance(fault, dict) and fault.get("code") in (429, 502, 503, 504)
