"""The Arrow types of a contract: its fields as they are read, and the columns of its tables as they are stored."""

import pyarrow as pa

from schemas.contract import Contract
from schemas.tables import LINEAGE, WINDOW_LINEAGE, WINDOWS, Column
from schemas.templates import deidentify_template, stored_type
from schemas.windows import Measure

_TYPES = {"string": pa.string(), "int": pa.int32(), "long": pa.int64(), "float": pa.float32(), "double": pa.float64(), "boolean": pa.bool_(),
          "timestamp-micros": pa.timestamp("us", "UTC"), "date": pa.date32(), "bytes": pa.binary()}


def input_schema(contract: Contract) -> pa.Schema:
    """The contract's fields as they are read, in its order. Every column may hold nulls: what is required is checked by row."""
    return pa.schema([pa.field(f.name, _TYPES[f.type]) for f in contract.fields])


def stored_columns(contract: Contract) -> tuple[Column, ...]:
    """The columns of `events`: the contract's fields as stored, then the lineage. A model with classes makes label a string."""
    template = deidentify_template(contract.deidentify, contract.folder)
    own = tuple(Column(f.name, stored_type(f, template), f.nullable, f.doc, f.privacy) for f in contract.fields)
    if contract.model is None or not contract.model.classes:
        return own + LINEAGE
    label = Column("label", "string", True, f"The class of the score, one of {len(contract.model.classes)}; null (unsure) where the score is not over "
                   "the model's threshold.", "sensitive")
    return own + tuple(label if c.name == "label" else c for c in LINEAGE)


def window_columns(contract: Contract) -> tuple[Column, ...]:
    """The columns of `windows`, whose contract has some. A measure and the key are as private as what they tell of."""
    windowing = contract.windows
    if windowing is None:
        raise ValueError("the contract has no windows")
    known = {c.name: c for c in stored_columns(contract)}
    ranks = ("public", "sensitive", "free_text", "identifier")
    key = WINDOWS[0]._replace(privacy=max((known[name].privacy for name in windowing.key), key=ranks.index, default="public"))
    measures = tuple(Column(m.name, m.type, m.kind not in ("count", "distinct"), _told(m, known), known[m.field].privacy if m.field else "public")
                     for m in windowing.measures)
    return (key, *WINDOWS[1:], *measures, *WINDOW_LINEAGE)


def _told(measure: Measure, known: dict[str, Column]) -> str:
    if measure.field is None:
        return "Rows in the window."
    kind = {"sum": "Sum", "mean": "Mean", "min": "Least", "max": "Greatest", "distinct": "Number of distinct values (within some 3 % above 1,023)",
            "quantile": f"The {measure.at} quantile (within 1 %)", "first": "Earliest value", "last": "Latest value"}[measure.kind]
    return f"{kind} of {measure.field}: {known[measure.field].doc}"


def arrow_type(name: str) -> pa.DataType:
    """The Arrow type of one of schemas.fields.TYPES, or "bytes"."""
    return _TYPES[name]


def arrow_schema(columns: tuple[Column, ...]) -> pa.Schema:
    """The Arrow schema of a table."""
    return pa.schema([pa.field(c.name, _TYPES[c.type]) for c in columns])
