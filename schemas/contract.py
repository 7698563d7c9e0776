"""A contract: a folder that says what an event is, what may leave, and how it is scored.

    contract.yaml     name, version, id, time, deduplicate, unknown_fields, max_row_bytes, model, labels,
                      windows (schemas.windows), disorder: how far event times may run behind the greatest one seen,
                      expiration: how long BigQuery keeps a day of events, of windows
    event.avsc        the Avro record of one event; every field has "doc" and "privacy"
    inspect.json      a DLP InspectTemplate, as the REST API takes it
    deidentify.json   a DLP DeidentifyTemplate, likewise
    model.json        the model's descriptor

It is read and checked whole: `read` raises Misconfigured with every fault in it. `load` finds the shipped ones and folders of this
machine; pipelines.contracts those in buckets too.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

from schemas import privacy, tables, templates
from schemas.durations import duration
from schemas.errors import Fault, Misconfigured
from schemas.fields import Field, read_fields
from schemas.model import Model, read_model
from schemas.place import Place, Shipped, content
from schemas.windows import Windowing, read_windowing

SHIPPED = Path(__file__).parent
MAX_BYTES = 5_000_000  # of each of the four files
_KEYS = {"name", "version", "description", "id", "time", "deduplicate", "unknown_fields", "max_row_bytes", "model", "labels", "tagger",
         "windows", "disorder", "expiration"}
_EXPIRING = {"events", "windows"}  # the tables that BigQuery keeps by the day


@dataclass(frozen=True)
class Contract:
    """A checked contract; plain data, so it can be pickled to a worker.

    place: where its files are; avsc, inspect and deidentify: the texts of event.avsc and of the DLP REST resources; horizon is how
    far apart in event time two rows with one id may lie and still be compared; policy_digest names both templates (SHA-256, hex);
    expiration: how long BigQuery keeps a day of a table;
    tagger: offline, names, places, organisations and addresses are looked for by the trained tagger too, not by patterns and lists alone.
    """

    name: str
    version: str
    description: str
    place: Place
    fields: tuple[Field, ...]
    id: str
    time: str
    horizon: timedelta
    unknown_fields: str
    max_row_bytes: int
    inspect: str
    deidentify: str
    model: Model | None
    labels: tuple[tuple[str, str], ...] = ()
    tagger: bool = True
    windows: Windowing | None = None
    disorder: timedelta = timedelta(seconds=60)
    avsc: str = ""
    expiration: tuple[tuple[str, timedelta], ...] = ()

    @property
    def folder(self) -> str:
        """What messages call its place."""
        return str(self.place)

    @property
    def policy_digest(self) -> str:
        parts = [json.dumps(json.loads(t), sort_keys=True) for t in (self.inspect, self.deidentify)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def field(self, name: str) -> Field:
        return next(f for f in self.fields if f.name == name)


def shipped() -> list[str]:
    """The names of the contracts that come with the package."""
    return sorted(p.parent.name for p in SHIPPED.glob("*/contract.yaml"))


def load(name_or_folder: str, allow_unwrapped_keys: bool = False) -> Contract:
    """Reads and checks a contract by its shipped name or its folder on this machine. Raises Misconfigured with all faults."""
    if re.fullmatch(r"[a-z][a-z0-9_]*", name_or_folder) and (SHIPPED / name_or_folder / "contract.yaml").is_file():
        return read(Shipped(name_or_folder), allow_unwrapped_keys)
    if not Path(name_or_folder).is_dir():
        raise Misconfigured([Fault("--contract", f"{name_or_folder} is neither a shipped contract nor a folder",
                                   f"give one of {', '.join(shipped())}, or a folder with a contract.yaml")])
    return read(Path(name_or_folder), allow_unwrapped_keys)


def read(folder: Place, allow_unwrapped_keys: bool = False) -> Contract:
    """Reads and checks the contract in a folder. Raises Misconfigured with all faults.

    allow_unwrapped_keys: take templates that hold a key in clear, for tests.
    """
    faults: list[Fault] = []
    texts = {f: text for f in ("contract.yaml", "event.avsc", "inspect.json", "deidentify.json") if (text := _text(folder / f, faults)) is not None}
    head = _head(texts["contract.yaml"], str(folder / "contract.yaml"), faults) if "contract.yaml" in texts else {}
    fields, found = read_fields(texts["event.avsc"], str(folder / "event.avsc")) if "event.avsc" in texts else ((), [])
    faults += found
    faults += _names(head, fields, folder)
    inspect, deidentify = texts.get("inspect.json", ""), texts.get("deidentify.json", "")
    if {"inspect.json", "deidentify.json"} <= texts.keys():
        faults += templates.check(inspect, deidentify, fields, str(folder), allow_unwrapped_keys)
        faults += privacy.check(deidentify, inspect, fields, str(head.get("id")), str(head.get("time")), str(folder))
    model = None
    if head.get("model"):
        model, found = read_model(folder, str(head["model"]), fields, deidentify)
        faults += found
    windows, found = read_windowing(head, fields, deidentify, folder, model) if fields else (None, [])
    faults += found
    if faults:
        raise Misconfigured(faults)
    return Contract(
        head["name"], str(head["version"]), head.get("description", ""), folder, fields, head["id"], head["time"],
        duration(head.get("deduplicate", {}).get("horizon", "7d")) or timedelta(days=7), head.get("unknown_fields", "refuse"),
        head.get("max_row_bytes", 1_000_000), inspect, deidentify, model,
        tuple(sorted((str(k), str(v)) for k, v in head.get("labels", {}).items())), head.get("tagger", True),
        windows, duration(head.get("disorder", "60s")) or timedelta(), texts["event.avsc"],
        tuple(sorted((str(table), duration(span) or timedelta()) for table, span in head.get("expiration", {}).items())))


def _text(file: Place, faults: list[Fault]) -> str | None:
    try:
        return content(file, MAX_BYTES).decode("utf-8")
    except FileNotFoundError:
        faults.append(Fault(str(file), "is missing", "a contract has contract.yaml, event.avsc, inspect.json and deidentify.json"))
    except (OSError, UnicodeDecodeError):
        faults.append(Fault(str(file), "cannot be read as UTF-8 text", "check the file and its permissions"))
    except Misconfigured as error:
        faults += error.faults
    return None


def _head(text: str, where: str, faults: list[Fault]) -> dict[str, Any]:
    try:
        head = yaml.safe_load(text)
    except yaml.YAMLError:
        head = None
    if not isinstance(head, dict):
        faults.append(Fault(where, "is not a YAML mapping", "write key: value lines"))
        return {}
    for key in sorted(map(str, head.keys() - _KEYS)):
        faults.append(Fault(f"{where}: {key}", "unknown key", f"use one of {', '.join(sorted(_KEYS))}"))
    if not isinstance(head.get("name"), str) or not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", head["name"]):
        faults.append(Fault(f"{where}: name", "is missing or not a name", "use lower case letters, digits and _, a letter first"))
    if not re.fullmatch(r"\d+(\.\d+){0,2}", str(head.get("version"))):
        faults.append(Fault(f"{where}: version", "is missing or not a version", 'give a number such as 1 or "1.2"'))
    if head.get("unknown_fields", "refuse") not in ("refuse", "drop"):
        faults.append(Fault(f"{where}: unknown_fields", "is neither refuse nor drop", "say refuse or drop"))
    deduplicate = head.get("deduplicate", {})
    if not isinstance(deduplicate, dict) or deduplicate.keys() - {"horizon"} or not duration(deduplicate.get("horizon", "7d")):
        faults.append(Fault(f"{where}: deduplicate", "is not {horizon: DURATION}", "give a horizon such as 7d, 12h or 30m"))
    if duration(head.get("disorder", "60s")) is None:
        faults.append(Fault(f"{where}: disorder", "is not a duration", "give a duration such as 60s: how far event times may run behind the greatest one"))
    expiration = head.get("expiration", {})
    if not isinstance(expiration, dict) or expiration.keys() - _EXPIRING or not all((duration(span) or timedelta()).days for span in expiration.values()):
        faults.append(Fault(f"{where}: expiration", "is not {events: DURATION, windows: DURATION}, of a day or more",
                            "give spans such as 400d; without one days are kept"))
    limit = head.get("max_row_bytes", 1_000_000)
    if type(limit) is not int or not 100 <= limit <= 10_000_000:
        faults.append(Fault(f"{where}: max_row_bytes", "is not between 100 and 10,000,000", "give the longest row in bytes"))
    if not isinstance(head.get("tagger", True), bool):
        faults.append(Fault(f"{where}: tagger", "is neither true nor false", "say true or false"))
    labels = head.get("labels", {})
    if not isinstance(labels, dict) or not all(isinstance(value, str | int | float) for value in labels.values()):
        faults.append(Fault(f"{where}: labels", "is not a mapping of names to texts", "give owner, cost_center, data_class as key: value"))
    elif len({str(name).lower() for name in labels}) < len(labels):
        faults.append(Fault(f"{where}: labels", "holds a name twice, in small letters and in others: Google's labels are in small ones", "give it once"))
    return head


def _names(head: dict[str, Any], fields: tuple[Field, ...], folder: Place) -> list[Fault]:
    """id and time name fields of the right type, and no field takes the name of a column of ours."""
    faults = []
    known = {f.name: f for f in fields}
    for key, types in (("id", ("string",)), ("time", ("timestamp-micros",))):
        field = known.get(str(head.get(key)))
        where = f"{folder / 'contract.yaml'}: {key}"
        if head and fields and field is None:
            faults.append(Fault(where, "names no field of event.avsc", "name the field that holds it"))
        elif field and (field.type not in types or field.nullable):
            faults.append(Fault(where, f"{field.name} is not a required {types[0]}", f"make it {types[0]} and not nullable"))
    for name in sorted(known.keys() & tables.RESERVED):
        faults.append(Fault(f"{folder / 'event.avsc'}: {name}", "is the name of a column of the events table", "rename the field"))
    return faults
