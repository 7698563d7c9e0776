"""The Arrow types of a contract: its fields as they are read, and the columns of its tables as they are stored."""

import pyarrow as pa

from schemas.contract import Contract
from schemas.tables import LINEAGE, Column
from schemas.templates import deidentify_template, stored_type

_TYPES = {"string": pa.string(), "int": pa.int32(), "long": pa.int64(), "float": pa.float32(), "double": pa.float64(), "boolean": pa.bool_(),
          "timestamp-micros": pa.timestamp("us", "UTC"), "date": pa.date32(), "bytes": pa.binary()}


def input_schema(contract: Contract) -> pa.Schema:
    """The contract's fields as they are read, in its order. Every column may hold nulls: what is required is checked by row."""
    return pa.schema([pa.field(f.name, _TYPES[f.type]) for f in contract.fields])


def stored_columns(contract: Contract) -> tuple[Column, ...]:
    """The columns of `events`: the contract's fields as stored, then the lineage."""
    template = deidentify_template(contract.deidentify, contract.folder)
    own = tuple(Column(f.name, stored_type(f, template), f.nullable, f.doc, f.privacy) for f in contract.fields)
    return own + LINEAGE


def arrow_schema(columns: tuple[Column, ...]) -> pa.Schema:
    """The Arrow schema of a table."""
    return pa.schema([pa.field(c.name, _TYPES[c.type]) for c in columns])
