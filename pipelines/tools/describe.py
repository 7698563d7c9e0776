"""penstock describe: a contract's data dictionary, its table schemas, or its views."""

import json
from typing import Any

from pipelines.contracts import load
from pipelines.tools.options import DescribeOptions
from schemas import bigquery, views
from schemas.arrow import stored_columns, window_columns
from schemas.contract import Contract
from schemas.fields import PRIVACY, Field
from schemas.rules import kind, rules
from schemas.tables import FAILURES, REPLAYS, RUNS, Column
from schemas.templates import deidentify_template


def run(options: DescribeOptions) -> int:
    """Prints the dictionary as Markdown or JSON, BigQuery's Table resources as JSON, or the statements that make its views."""
    contract = load(options.contract, storage_endpoint=options.storage_endpoint)
    if options.format == "bigquery":
        print(json.dumps(bigquery.tables(contract), indent=2))
    elif options.format == "views":
        print("\n\n".join(f"{statement};" for statement in views.bigquery_ddl(contract, options.output.removeprefix("bq://"))))
    elif options.format == "json":
        print(json.dumps(dictionary(contract), indent=2))
    else:
        print(markdown(contract))
    return 0


def dictionary(contract: Contract) -> dict[str, Any]:
    """The contract's fields as read (type, privacy, domain, transformation) and the columns of its tables as stored."""
    transformed = _transformations(contract)
    return {
        "contract": contract.name, "version": contract.version, "description": contract.description, "id": contract.id, "time": contract.time,
        "horizon_seconds": contract.horizon.total_seconds(), "policy_digest": contract.policy_digest,
        "model": {"name": contract.model.name, "version": contract.model.version, "sha256": contract.model.sha256} if contract.model else None,
        "fields": [{"name": f.name, "type": f.type, "required": not f.nullable, "privacy": f.privacy, "transformation": transformed.get(f.name),
                    "domain": _domain(f), "doc": f.doc} for f in contract.fields],
        "tables": {name: [{"name": c.name, "type": c.type, "required": not c.nullable, "privacy": c.privacy, "doc": c.doc} for c in columns]
                   for name, columns in _tables(contract).items()},
    }


def markdown(contract: Contract) -> str:
    """The same as text."""
    transformed = _transformations(contract)
    lines = [f"# {contract.name} {contract.version}", "", contract.description, "",
             f"id `{contract.id}` · event time `{contract.time}` · repeats are looked for within {contract.horizon} · policy `{contract.policy_digest[:12]}`"
             + (f" · model {contract.model.name} {contract.model.version} `{contract.model.sha256[:12]}`" if contract.model else ""), "",
             "## Fields as read", "", "| field | type | privacy | transformation | domain | what it is |", "|---|---|---|---|---|---|"]
    lines += [f"| `{f.name}` | {f.type}{'' if f.nullable else ', required'} | {f.privacy} | {transformed.get(f.name, '')} | {_domain(f)} | {f.doc} |"
              for f in contract.fields]
    lines += ["", *(f"{name}: {meaning}." for name, meaning in PRIVACY.items())]
    for table, columns in _tables(contract).items():
        lines += ["", f"## Table {table}", "", "| column | type | what it is |", "|---|---|---|"]
        lines += [f"| `{c.name}` | {c.type}{'' if c.nullable else ', required'} | {c.doc} |" for c in columns]
    return "\n".join(lines)


def _tables(contract: Contract) -> dict[str, tuple[Column, ...]]:
    return {"events": stored_columns(contract), "failures": FAILURES, "runs": RUNS, "replays": REPLAYS} | (
        {"windows": window_columns(contract)} if contract.windows else {})


def _transformations(contract: Contract) -> dict[str, str]:
    """{field: what DLP calls the transformation}."""
    found: dict[str, str] = {}
    for rule in rules(deidentify_template(contract.deidentify, contract.folder)):
        name = _short(kind(rule.primitive)) if rule.primitive else "; ".join(
            f"{' '.join(part.info_types) or 'all infoTypes'}: {_short(kind(part.primitive))}" for part in rule.by_info_type)
        if rule.condition is not None:
            name += " (under a condition)"
        for field in rule.fields:
            found[field] = f"{found[field]}; {name}" if field in found else name
    return found


def _short(kind: str) -> str:
    return kind.removesuffix("Config")


def _domain(field: Field) -> str:
    parts = []
    if field.values is not None:
        parts.append(f"{len(field.values)} values")
    if field.minimum is not None or field.maximum is not None:
        parts.append(f"{'' if field.minimum is None else f'{field.minimum:,}'} to {'' if field.maximum is None else f'{field.maximum:,}'}")
    if field.pattern is not None:
        parts.append("pattern")
    if field.max_length is not None:
        parts.append(f"up to {field.max_length} characters")
    return ", ".join(parts)
