"""Reads Terraform files (with python-hcl2), and holds their blocks against the arguments that the providers have: infra/provider_schema.json."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import hcl2

Body = dict[str, Any]
META = {"count", "for_each", "depends_on", "provider", "lifecycle", "dynamic", "provisioner", "connection"}
_REFERENCE = re.compile(r"(?<![\w.\"/-])((?:data\.)?google_\w+)\.(\w+)((?:\[[^\]]*\]|\.\w+|\.\*)*)")


class Block(NamedTuple):
    """One resource, data source, variable ...: kind, the words after it, and what stands in it. Strings have no quotes any more; expressions are ${...}."""

    kind: str
    type: str
    name: str
    body: Body

    def __str__(self) -> str:
        return ".".join(word for word in (self.kind if self.kind != "resource" else "", self.type, self.name) if word)


def read(*texts: str) -> list[Block]:
    """The blocks of files, given as text."""
    found = []
    for text in texts:
        for kind, entries in _plain(hcl2.loads(text)).items():
            for entry in entries:
                if kind in ("resource", "data"):
                    found += [Block(kind, name, inner, body) for name, named in entry.items() for inner, body in named.items()]
                elif kind in ("locals", "terraform"):
                    found.append(Block(kind, "", "", entry))
                else:
                    found += [Block(kind, name, "", body) for name, body in entry.items()]
    return found


def files(folder: Path) -> list[str]:
    """The text of a folder's files."""
    return [path.read_text() for path in sorted(folder.glob("*.tf"))]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {_plain(k): _plain(v) for k, v in value.items() if not (isinstance(k, str) and k.startswith("__"))}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, str) and len(value) > 1 and value[0] == value[-1] == '"':
        return value[1:-1].replace('\\"', '"')
    return value


def strings(value: Any) -> Iterator[str]:
    """Every string in a body, keys too."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from strings(inner)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
    elif isinstance(value, str):
        yield value


def locals_of(blocks: list[Block]) -> Body:
    """All locals."""
    return {name: value for block in blocks if block.kind == "locals" for name, value in block.body.items()}


def argument_faults(blocks: list[Block], schema: Body) -> list[str]:
    """Arguments that the providers do not have, that are missing, or that are of another kind; and references to what is not there."""
    faults = []
    for block in blocks:
        if block.kind in ("resource", "data"):
            known = schema[block.kind].get(block.type)
            if known is None:
                faults.append(f"{block}: {block.type} is no {block.kind} of these providers")
                continue
            if known["provider"] == "google-beta" and block.body.get("provider") not in ("${google-beta}", "google-beta"):
                faults.append(f"{block}: is google-beta's alone")
            faults += _arguments(str(block), block.body, known["arguments"], META)
    return [*faults, *_references(blocks, schema)]


def _arguments(where: str, body: Body, known: Body, meta: set[str]) -> Iterator[str]:
    dynamic = {name: inner for entry in _listed(body.get("dynamic", [])) for name, inner in entry.items()}
    for name in body.keys() - known.keys() - meta:
        yield f"{where}.{name}: no such argument"
    for name in dynamic.keys() - known.keys():
        yield f"{where}.{name}: no such block"
    for name, told in known.items():
        if told.get("required") and name not in body and name not in dynamic:
            yield f"{where}.{name}: is missing"
        given = [content for inner in _listed(dynamic.get(name, [])) for content in _listed(inner["content"])] + _listed(body.get(name, []))
        if "block" in told:
            if told["block"] == "one" and len(given) > 1:
                yield f"{where}.{name}: stands twice"
            for inner in given:
                if isinstance(inner, dict):
                    yield from _arguments(f"{where}.{name}", inner, told["arguments"], {"dynamic"})
                else:
                    yield f"{where}.{name}: is a block"
        elif name in body and not _fits(body[name], told["type"]):
            yield f"{where}.{name}: is no {told['type']}"


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _fits(value: Any, kind: str) -> bool:
    """Whether a value can be of a kind; an expression can be of any."""
    if value is None or isinstance(value, str) and value.startswith("${") and value.endswith("}"):
        return True
    outer, _, inner = kind.rpartition(" ")
    if outer == "list":
        return isinstance(value, list) and all(_fits(item, inner) for item in value)
    if outer == "map":
        return isinstance(value, dict) and all(_fits(item, inner) for item in value.values())
    return isinstance(value, {"string": str, "number": (int, float), "boolean": bool, "any": object}[inner]) and not (inner == "number" and isinstance(value, bool))


def _references(blocks: list[Block], schema: Body) -> Iterator[str]:
    there = {("data." if block.kind == "data" else "") + f"{block.type}.{block.name}": block for block in blocks if block.kind in ("resource", "data")}
    variables = {block.type for block in blocks if block.kind == "variable"}
    local = locals_of(blocks).keys()
    for block in blocks:
        for text in strings(block.body):
            if "${" not in text:
                continue
            for kind, name, rest in _REFERENCE.findall(text):
                found = there.get(f"{kind}.{name}")
                attribute = re.search(r"\.(\w+)", re.sub(r"\[[^\]]*\]", "", rest))
                if found is None:
                    yield f"{block}: {kind}.{name} is not there"
                elif attribute and attribute[1] not in schema[found.kind][found.type]["attributes"]:
                    yield f"{block}: {kind} has no {attribute[1]}"
                elif ("for_each" in found.body or "count" in found.body) and not rest.startswith("[") and attribute:
                    yield f"{block}: {kind}.{name} is many"
            yield from (f"{block}: var.{name} is not declared" for name in re.findall(r"\bvar\.(\w+)", text) if name not in variables)
            yield from (f"{block}: local.{name} is not declared" for name in re.findall(r"\blocal\.(\w+)", text) if name not in local)


def waits_for(blocks: list[Block], name: str) -> set[str]:
    """The resources and data sources that are made or read after one, by what they refer to, through locals too."""
    told = locals_of(blocks)

    def named(value: Any, seen: frozenset[str]) -> set[str]:
        text = " ".join(text for text in strings(value) if "${" in text)
        found = {f"{kind}.{inner}" for kind, inner, _ in _REFERENCE.findall(text)}
        for local in set(re.findall(r"\blocal\.(\w+)", text)) - seen:
            found |= named(told.get(local), seen | {local})
        return found

    after = {str(block): named(block.body, frozenset()) for block in blocks if block.kind in ("resource", "data")}
    found = {name}
    while more := {block for block, needs in after.items() if needs & found and block not in found}:
        found |= more
    return found - {name}
