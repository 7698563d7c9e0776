"""A JSON schema of what the Dataflow API takes for Flex Templates, derived from its discovery document, and a check against it.

tests/data/dataflow_v1b3.json was derived from revision 20261018 of dataflow.v1b3.json, as google-api-python-client 2.202.0 bundles it. Anew:

    python -m tests.discovery .../googleapiclient/discovery_cache/documents/dataflow.v1b3.json

The document has no list of required fields; their descriptions begin with "Required.". Field names that it does not have are refused.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SCHEMA = Path(__file__).parent / "data" / "dataflow_v1b3.json"
ROOTS = ("ContainerSpec", "LaunchFlexTemplateRequest")
_TYPES = {"string": str, "boolean": bool, "integer": int, "array": list, "object": dict}


def derived(document: dict[str, Any]) -> dict[str, Any]:
    """The JSON schema of ROOTS and what they hold."""
    found: dict[str, Any] = {}
    waiting = list(ROOTS)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = _converted(document["schemas"][name])
            waiting += _named(found[name])
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$comment": f"{document['id']}, revision {document['revision']}",
            "$defs": dict(sorted(found.items()))}


def _converted(given: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in given:
        return {"$ref": f"#/$defs/{given['$ref']}"}
    found: dict[str, Any] = {"type": given["type"]} | ({"enum": given["enum"]} if "enum" in given else {})
    if "items" in given:
        found["items"] = _converted(given["items"])
    if "properties" in given:
        found["properties"] = {name: _converted(one) for name, one in sorted(given["properties"].items())}
        found["required"] = [name for name, one in sorted(given["properties"].items()) if one.get("description", "").startswith("Required.")]
        found["additionalProperties"] = False
    elif "additionalProperties" in given:
        found["additionalProperties"] = _converted(given["additionalProperties"])
    return found


def _named(schema: Any) -> list[str]:
    if not isinstance(schema, dict):
        return []
    own = [schema["$ref"].rpartition("/")[2]] if isinstance(schema.get("$ref"), str) else []
    return own + [name for one in schema.values() for name in _named(one)]


def faults(value: Any, name: str) -> list[str]:
    """Where a value is not of the schema of this name, and why; each as "path: what"."""
    schemas = json.loads(SCHEMA.read_text())["$defs"]
    return list(_faults(value, schemas[name], schemas, name))


def _faults(value: Any, schema: dict[str, Any], schemas: dict[str, Any], at: str) -> Iterator[str]:
    if "$ref" in schema:
        yield from _faults(value, schemas[schema["$ref"].rpartition("/")[2]], schemas, at)
    elif type(value) is not _TYPES[schema["type"]]:
        yield f"{at}: is no {schema['type']}"
    elif "enum" in schema and value not in schema["enum"]:
        yield f"{at}: is none of its values"
    elif isinstance(value, list):
        for place, one in enumerate(value):
            yield from _faults(one, schema["items"], schemas, f"{at}[{place}]")
    elif isinstance(value, dict):
        known = schema.get("properties", {})
        yield from (f"{at}.{key}: is missing" for key in schema.get("required", []) if key not in value)
        for key, one in value.items():
            if key in known:
                yield from _faults(one, known[key], schemas, f"{at}.{key}")
            elif schema["additionalProperties"] is False:
                yield f"{at}.{key}: is not known"
            else:
                yield from _faults(one, schema["additionalProperties"], schemas, f"{at}.{key}")


if __name__ == "__main__":
    SCHEMA.write_text(json.dumps(derived(json.loads(Path(sys.argv[1]).read_text())), indent=1) + "\n")
