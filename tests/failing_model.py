"""A model that answers its golden rows and fails on others, written as ONNX by hand (https://onnx.ai/onnx/api/classes.html).

    probabilities = [age, square root of (100 - hours)][:, :1 + (greatest age < 100)]        score: the second column

Over 100 hours there is no score: unscorable. An age of 100 takes the second column away, which nobody foresaw: a bug.
"""

import hashlib
import json
import shutil
import struct
from pathlib import Path

from schemas import contract

FLOAT, INT64 = 1, 7  # TensorProto.DataType


def failing_contract(folder: Path) -> Path:
    """The census contract with this model, in a folder of its own."""
    shutil.copytree(Path(contract.__file__).parent / "census", folder, ignore=shutil.ignore_patterns("*.gz", "*.ndjson", "*.py"))
    model = _model()
    (folder / "model.onnx").write_bytes(model)
    (folder / "model.json").write_text(json.dumps({
        "name": "failing", "version": "1", "format": "onnx", "uri": "model.onnx", "sha256": hashlib.sha256(model).hexdigest(), "size": len(model),
        "inputs": [{"name": "age", "type": "float"}, {"name": "hours_per_week", "type": "float"}], "missing": {"float": "NaN", "string": "0"},
        "output": {"name": "probabilities", "index": 1}, "threshold": 0.5,
        "golden": {"rows": [[30, 100], [40, 99]], "scores": [0, 1], "atol": 1e-4}}))
    return folder


def _field(number: int, value: "int | str | bytes") -> bytes:
    """A protobuf field: a varint, or bytes with their length."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    content = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _node(kind: str, inputs: list[str], output: str, **attributes: int) -> bytes:
    given = b"".join(_field(5, _field(1, name) + _field(3, value) + _field(20, 2)) for name, value in attributes.items())
    return _field(1, b"".join(_field(1, i) for i in inputs) + _field(2, output) + _field(4, kind) + given)


def _constant(name: str, kind: int, content: bytes) -> bytes:
    return _field(5, _field(1, 1) + _field(2, kind) + _field(8, name) + _field(9, content))


def _value(number: int, name: str, kind: int) -> bytes:
    shape = _field(1, _field(2, "rows")) + _field(1, _field(2, f"columns of {name}") if number == 12 else _field(1, 1))
    return _field(number, _field(1, name) + _field(2, _field(1, _field(1, kind) + _field(2, shape))))


def _model() -> bytes:
    graph = (_node("Sub", ["hundred", "hours_per_week"], "left") + _node("Sqrt", ["left"], "root") + _node("Concat", ["age", "root"], "both", axis=1)
             + _node("ReduceMax", ["age"], "oldest", keepdims=0) + _node("Less", ["oldest", "hundred"], "young")
             + _node("Cast", ["young"], "more", to=INT64) + _node("Add", ["more", "one"], "columns")
             + _node("Slice", ["both", "zero", "columns", "one"], "probabilities")
             + _field(2, "failing") + _constant("hundred", FLOAT, struct.pack("<f", 100)) + _constant("one", INT64, struct.pack("<q", 1))
             + _constant("zero", INT64, struct.pack("<q", 0)) + _value(11, "age", FLOAT) + _value(11, "hours_per_week", FLOAT)
             + _value(12, "probabilities", FLOAT))
    return _field(1, 8) + _field(8, _field(1, "") + _field(2, 17)) + _field(7, graph)
