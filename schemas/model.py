"""The model's descriptor, model.json: which bytes score a row, what they are fed, and what they must answer.

    name, version        what is stamped on every row that it scored
    format, uri          "onnx", and the file beside the descriptor
    sha256, size         of that file's bytes; other bytes are refused
    inputs               [{"name", "type"}] in the order of the graph's inputs; type is "float" or "string"
    missing              what a null is fed as: {"float": "NaN", "string": "?"}
    output, threshold    {"name", "index"} of the probability; label = score > threshold
    classes              optional; what the columns of the output stand for. Then output is {"name"} alone, the score is the
                         greatest probability of a row and the label its class, null ("unsure") where score <= threshold
    golden               rows as they are stored (nulls are nulls), the scores that they must get within atol, and with
                         classes the class of the greatest probability, as "labels"
    drift, trained       frozen reference counts, and where the model comes from: for readers, not checked here

The golden rows are run by whoever loads the model; this module has no runtime to run them with.
"""

import hashlib
import json
import math
import re
from dataclasses import dataclass
from typing import Any

from schemas.errors import Fault, Misconfigured
from schemas.fields import Field
from schemas.place import Place, content

MAX_BYTES = 50_000_000
INPUTS = {"float": ("int", "long", "float", "double"), "string": ("string",)}
_NEEDED = ("name", "version", "format", "uri", "sha256", "size", "inputs", "missing", "output", "threshold", "golden")
_KNOWN = {*_NEEDED, "classes", "drift", "trained"}


@dataclass(frozen=True)
class Model:
    """A checked descriptor; plain data. `file` is where its bytes lie, `inputs` are (column, "float" or "string") in feed order.

    The score is column `index` of the graph's output `output`; with `classes` it is the greatest of its columns, one a
    class. A null is fed as NaN to a float input and as `missing_string` to a string input. `golden_rows` follow the order
    of `inputs`; `golden_labels` is empty without classes.
    """

    name: str
    version: str
    file: Place
    sha256: str
    inputs: tuple[tuple[str, str], ...]
    output: str
    index: int
    threshold: float
    missing_string: str
    golden_rows: tuple[tuple[float | str | None, ...], ...]
    golden_scores: tuple[float, ...]
    golden_atol: float
    classes: tuple[str, ...] = ()
    golden_labels: tuple[str, ...] = ()


def read_model(folder: Place, name: str, fields: tuple[Field, ...], deidentify_text: str) -> tuple[Model | None, list[Fault]]:
    """Reads and checks a folder's model.json against the contract's fields as stored. Answers the model, or None and every fault."""
    where = str(folder / name)
    try:
        raw = json.loads(content(folder / name, MAX_BYTES).decode("utf-8"))
    except Misconfigured as error:
        return None, list(error.faults)
    except OSError:
        return None, [Fault(where, "is missing or cannot be read", "add the descriptor, or take `model` out of contract.yaml")]
    except ValueError:
        return None, [Fault(where, "is not JSON", "write the descriptor as a JSON object")]
    if not isinstance(raw, dict):
        return None, [Fault(where, "is not a JSON object", "write the descriptor as a JSON object")]
    faults = [Fault(f"{where}: {k}", "unknown key", f"use one of {', '.join(sorted(_KNOWN))}") for k in sorted(raw.keys() - _KNOWN)]
    faults += [Fault(f"{where}: {k}", "is missing", "add it") for k in _NEEDED if k not in raw]
    checks = {"name": _name, "version": _name, "format": _format, "sha256": _sha256, "missing": _missing,
              "output": _matrix if "classes" in raw else _output, "classes": _classes, "threshold": _threshold}
    for key, check in checks.items():
        if key in raw:
            faults += check(f"{where}: {key}", raw[key])
    file = _file(folder, where, raw, faults)
    inputs: tuple[tuple[str, str], ...] = ()
    if "inputs" in raw:
        inputs = _inputs(f"{where}: inputs", raw["inputs"], fields, deidentify_text, faults)
    if "golden" in raw:
        faults += _golden(f"{where}: golden", raw["golden"], inputs, raw.get("classes"))
    if faults or file is None:
        return None, faults
    golden = raw["golden"]
    return Model(raw["name"], raw["version"], file, raw["sha256"], inputs, raw["output"]["name"], raw["output"].get("index", 0),
                 float(raw["threshold"]), raw["missing"]["string"], tuple(map(tuple, golden["rows"])),
                 tuple(map(float, golden["scores"])), float(golden["atol"]), tuple(raw.get("classes", ())),
                 tuple(golden.get("labels", ()))), []


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _unless(right: bool, where: str, problem: str, remedy: str) -> list[Fault]:
    return [] if right else [Fault(where, problem, remedy)]


def _name(where: str, value: Any) -> list[Fault]:
    return _unless(isinstance(value, str) and bool(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", value)), where,
                   "is not a name", "give a string of letters, digits, dot, dash and _ (up to 63)")


def _format(where: str, value: Any) -> list[Fault]:
    return _unless(value == "onnx", where, "is not onnx", "export the model to ONNX: a pickle runs code when it is loaded")


def _sha256(where: str, value: Any) -> list[Fault]:
    return _unless(isinstance(value, str) and bool(re.fullmatch(r"[0-9a-f]{64}", value)), where,
                   "is not a SHA-256 digest", "give 64 lower case hexadecimal digits")


def _missing(where: str, value: Any) -> list[Fault]:
    right = isinstance(value, dict) and value.keys() == {"float", "string"} and value["float"] == "NaN" and isinstance(value["string"], str)
    return _unless(right, where, "does not say what a null is fed as", 'give {"float": "NaN", "string": STRING}')


def _output(where: str, value: Any) -> list[Fault]:
    right = (isinstance(value, dict) and value.keys() == {"name", "index"} and isinstance(value["name"], str)
             and type(value["index"]) is int and value["index"] >= 0)
    return _unless(right, where, "is not an output", 'give {"name": the graph\'s output, "index": the column of the probability}')


def _matrix(where: str, value: Any) -> list[Fault]:
    right = isinstance(value, dict) and value.keys() == {"name"} and isinstance(value["name"], str)
    return _unless(right, where, "is not an output of classes", 'give {"name": the graph\'s output, with a column for each class}')


def _classes(where: str, value: Any) -> list[Fault]:
    right = (isinstance(value, list) and len(value) > 1 and all(isinstance(c, str) and re.fullmatch(r"[ -~]{1,100}", c) for c in value)
             and len(set(value)) == len(value))
    return _unless(right, where, "is not a list of classes", "give two or more different strings of printable ASCII, in the order of the output's columns")


def _threshold(where: str, value: Any) -> list[Fault]:
    return _unless(_number(value) and 0 <= value <= 1, where, "is not between 0 and 1", "give the score over which the label is true")


def _file(folder: Place, descriptor: str, raw: dict[str, Any], faults: list[Fault]) -> Place | None:
    """The model's file; its place, size and digest are checked."""
    uri, where = raw.get("uri"), f"{descriptor}: uri"
    if "uri" not in raw:
        return None
    if not isinstance(uri, str) or not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", uri):
        faults.append(Fault(where, "is not the name of a file beside the descriptor", "put the model into the contract's folder"))
        return None
    file = folder / uri
    try:
        found = content(file, MAX_BYTES)
    except Misconfigured as error:
        faults += error.faults
        return None
    except OSError:
        faults.append(Fault(where, "names a file that is missing or cannot be read", "put the model into the contract's folder"))
        return None
    size = raw.get("size", len(found))
    if type(size) is not int or size != len(found):
        faults.append(Fault(f"{descriptor}: size", "is not the size of the file", "write the descriptor anew from the model's bytes"))
    if "sha256" in raw and not _sha256("", raw["sha256"]) and hashlib.sha256(found).hexdigest() != raw["sha256"]:
        faults.append(Fault(f"{descriptor}: sha256", "is not the digest of the file", "restore the file, or write the descriptor anew"))
    return file


def _inputs(where: str, raw: Any, fields: tuple[Field, ...], deidentify_text: str, faults: list[Fault]) -> tuple[tuple[str, str], ...]:
    """The inputs as (name, type). Each must be a stored column of that type which does not name a person; free text is fed
    as it is stored, after what was found in it was transformed."""
    if not isinstance(raw, list) or not raw or not all(
            isinstance(i, dict) and i.keys() == {"name", "type"} and isinstance(i["name"], str) and i["type"] in tuple(INPUTS)
            for i in raw):
        faults.append(Fault(where, "is not a list of inputs", 'give [{"name": COLUMN, "type": "float" or "string"}, ...]'))
        return ()
    known = {f.name: f for f in fields}
    inputs = tuple((i["name"], i["type"]) for i in raw)
    if len({name for name, _ in inputs}) < len(inputs):
        faults.append(Fault(where, "names a column twice", "remove one"))
    for number, (name, kind) in enumerate(inputs):
        at = f"{where}[{number}] ({name})"
        if name not in known:
            faults.append(Fault(at, "is no field of event.avsc", "name a field of the contract"))
        elif known[name].privacy == "identifier":
            faults.append(Fault(at, "is identifier", "take it out: a model sees de-identified rows and no identifiers"))
        elif (stored := _stored_type(known[name], deidentify_text)) and stored not in INPUTS[kind]:
            faults.append(Fault(at, f"is {kind}, the column is stored as {stored}", "train the model on the columns as they are stored"))
    return inputs


def _stored_type(field: Field, deidentify_text: str) -> str | None:
    """Type of the stored column, or None where deidentify.json cannot be read; the contract reports that by itself."""
    if not deidentify_text:
        return None
    from schemas import templates  # here, because the DLP types take a second to import
    from schemas.errors import Misconfigured

    try:
        template = templates.deidentify_template(deidentify_text, "deidentify.json")
    except Misconfigured:
        return None
    return str(templates.stored_type(field, template))


def _golden(where: str, raw: Any, inputs: tuple[tuple[str, str], ...], classes: Any) -> list[Fault]:
    lists = ("rows", "scores") if classes is None else ("rows", "scores", "labels")
    if not (isinstance(raw, dict) and raw.keys() == {*lists, "atol"} and all(isinstance(raw[k], list) for k in lists) and raw["rows"]
            and all(isinstance(r, list) for r in raw["rows"])):
        shape = ", ".join(f'"{k}": [...]' for k in lists)
        return [Fault(where, "is not golden rows", f'give {{{shape}, "atol": NUMBER}}')]
    faults = []
    if len(raw["rows"]) != len(raw["scores"]):
        faults.append(Fault(where, "has not one score for each row", "score the golden rows anew"))
    if classes is not None and not (len(raw["labels"]) == len(raw["rows"]) and isinstance(classes, list) and all(c in classes for c in raw["labels"])):
        faults.append(Fault(f"{where}.labels", "are not one of the classes for each row", "score the golden rows anew"))
    if not all(_number(s) and 0 <= s <= 1 for s in raw["scores"]):
        faults.append(Fault(f"{where}.scores", "are not probabilities", "give numbers between 0 and 1"))
    if not (_number(raw["atol"]) and 0 < raw["atol"] <= 0.01):
        faults.append(Fault(f"{where}.atol", "is not over 0 and at most 0.01", "give the difference that is allowed, such as 1e-4"))
    for number, row in enumerate(raw["rows"] if inputs else ()):
        right = len(row) == len(inputs) and all(
            v is None or (isinstance(v, str) if kind == "string" else _number(v)) for v, (_, kind) in zip(row, inputs, strict=True))
        faults += _unless(right, f"{where}.rows[{number}]", "does not fit the inputs", "give one value or null for each input, of its type")
    return faults
