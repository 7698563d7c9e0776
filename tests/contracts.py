"""Contracts that tests build by hand."""

import json
from datetime import timedelta
from pathlib import Path

from schemas.contract import Contract
from schemas.fields import Field

INSPECT = json.dumps({"inspectConfig": {"infoTypes": [{"name": "EMAIL_ADDRESS"}]}})
DEIDENTIFY = json.dumps({"deidentifyConfig": {"recordTransformations": {"fieldTransformations": []}}})


def plain_contract(fields: tuple[Field, ...] = (), **changed: object) -> Contract:
    """id, at, text: nothing to de-identify; fields replaces or adds, changed sets attributes of the contract."""
    own = {f.name: f for f in (Field("id", "string", False, "sensitive", "The id.", pattern="[a-z0-9-]+"),
                               Field("at", "timestamp-micros", False, "public", "When."),
                               Field("text", "string", True, "public", "Text.", max_length=50))}
    own |= {f.name: f for f in fields}
    given = {"name": "plain", "version": "1", "description": "", "place": Path("plain"), "fields": tuple(own.values()), "id": "id", "time": "at",
             "horizon": timedelta(hours=1), "unknown_fields": "refuse", "max_row_bytes": 1000, "inspect": INSPECT, "deidentify": DEIDENTIFY,
             "model": None}
    return Contract(**(given | changed))  # type: ignore[arg-type]
