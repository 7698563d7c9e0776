"""contract.yaml, and what its files say together: every fault is told, with its place, and nothing that is written there is a traceback."""

import json
import re
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas.contract import SHIPPED, Contract, read
from schemas.errors import Misconfigured

ODD = [None, 7, -1, 1.5, float("nan"), "", "x", "7d", "9" * 40 + "d", 10**30, True, [], ["x"], [None], {}, {"a": 1}, {1: 2}, {None: None}]
FILES = ("contract.yaml", "event.avsc", "inspect.json", "deidentify.json")

Change = Callable[..., Path]


@pytest.fixture
def changed(tmp_path: Path) -> Change:
    """A copy of the census contract; head: keys of its contract.yaml, None to leave one out."""
    folder = tmp_path / "own"
    shutil.copytree(SHIPPED / "census", folder)
    there = yaml.safe_load((folder / "contract.yaml").read_text("utf-8"))

    def change(**head: Any) -> Path:
        given = {key: value for key, value in (there | head).items() if value is not None}
        (folder / "contract.yaml").write_text(yaml.safe_dump(given), "utf-8")
        return folder

    return change


def faults(folder: Path) -> list[str]:
    with pytest.raises(Misconfigured) as caught:
        read(folder)
    return [str(fault).replace(f"{folder}/", "") for fault in caught.value.faults]


FAULTS = [
    ({"name": None}, "name: is missing or not a name"), ({"name": "Census"}, "name: is missing or not a name"), ({"name": "a" * 64}, "name: is missing"),
    ({"version": None}, "version: is missing or not a version"), ({"version": "1.2.3.4"}, "version: is missing or not a version"),
    ({"unknown_fields": "keep"}, "unknown_fields: is neither refuse nor drop"),
    ({"deduplicate": "7d"}, "deduplicate: is not {horizon: DURATION}"), ({"deduplicate": {"horizon": "0d"}}, "deduplicate: is not"),
    ({"deduplicate": {"horizon": "7d", "by": "id"}}, "deduplicate: is not {horizon: DURATION}"),
    ({"disorder": "soon"}, "disorder: is not a duration"),
    ({"expiration": {"events": "12h"}}, "expiration: is not"), ({"expiration": {"failures": "40d"}}, "expiration: is not"),
    ({"max_row_bytes": 99}, "max_row_bytes: is not between 100 and 10,000,000"), ({"max_row_bytes": True}, "max_row_bytes: is not between"),
    ({"tagger": "no"}, "tagger: is neither true nor false"),
    ({"labels": ["owner"]}, "labels: is not a mapping of names to texts"), ({"labels": {"owner": ["a", "b"]}}, "labels: is not a mapping of names to texts"),
    ({"labels": {"owner": ""} | {"Owner": "b"}}, "labels: holds a name twice"),
    ({"id": "nobody"}, "id: names no field of event.avsc"), ({"id": None}, "id: names no field of event.avsc"), ({"id": "age"}, "id: age is not a required string"),
    ({"time": "nobody"}, "time: names no field of event.avsc"), ({"time": "application_id"}, "time: application_id is not a required timestamp-micros"),
    ({"model": "nowhere.json"}, "nowhere.json"), ({"windows": "1h"}, "windows"), ({"primary_key": "id"}, "primary_key: unknown key"),
]


@pytest.mark.parametrize(("head", "told"), FAULTS)
def test_a_fault_is_told_with_its_place_and_a_remedy(changed: Change, head: dict[str, Any], told: str) -> None:
    found = faults(changed(**head))
    assert any(told in fault for fault in found) and all(re.fullmatch(r"[^;]+: .+; .+", fault) for fault in found)
    assert len(found) == 1 or "id" in head or "time" in head, "one thing is wrong"


def test_what_a_contract_says_is_in_it(changed: Change) -> None:
    folder = changed(labels={"owner": "me", "cost_center": 7}, deduplicate={"horizon": "36h"}, max_row_bytes=100, unknown_fields="drop", expiration={"events": "40d"})
    contract = read(folder)
    assert isinstance(contract, Contract) and contract.labels == (("cost_center", "7"), ("owner", "me"))
    assert contract.horizon.total_seconds() == 36 * 3600 and contract.max_row_bytes == 100 and contract.unknown_fields == "drop"
    assert [(table, span.days) for table, span in contract.expiration] == [("events", 40)]


def test_all_faults_come_at_once(changed: Change) -> None:
    folder = changed(name="", version="x", tagger=0, id="nobody", strange=1)
    (folder / "inspect.json").unlink()
    (folder / "deidentify.json").write_bytes(b"\xff\xfe")
    places = [fault.partition(": ")[0] for fault in faults(folder)]
    assert places.count("contract.yaml") == 5 and {"inspect.json", "deidentify.json"} <= set(places)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_none(changed: Change, name: str) -> None:
    folder = changed()
    for content in (b"", b"[", b"- 1\n", b"\x00", b"null"):
        (folder / name).write_bytes(content)
        assert any(fault.startswith(name) for fault in faults(folder)), content


def test_a_column_of_ours_is_no_field(changed: Change) -> None:
    folder = changed()
    schema = json.loads((folder / "event.avsc").read_text("utf-8"))
    schema["fields"].append({"name": "origin", "type": "int", "doc": "Where from.", "privacy": "public"})
    (folder / "event.avsc").write_text(json.dumps(schema), "utf-8")
    assert faults(folder) == ["event.avsc: origin: is the name of a column of the events table; rename the field"]


def test_whatever_stands_for_a_key_is_taken_or_told(changed: Change) -> None:
    """Never a traceback: read() raises Misconfigured or nothing."""
    keys = ("name", "version", "description", "id", "time", "deduplicate", "unknown_fields", "max_row_bytes", "model", "labels", "tagger", "windows", "disorder",
            "expiration", "strange")
    told = 0
    for key in keys:
        for value in ODD:
            told += _told(changed(**{key: value}))
    assert told > len(keys) * len(ODD) / 2


@pytest.mark.parametrize("name", ["event.avsc", "inspect.json", "deidentify.json", "model.json"])
def test_whatever_stands_in_a_file_is_taken_or_told(changed: Change, name: str) -> None:
    folder = changed()
    whole = json.loads((folder / name).read_text("utf-8"))
    told = 0
    for number, path in enumerate(_places(whole)):
        (folder / name).write_text(json.dumps(_put(whole, path, ODD[number % len(ODD)])), "utf-8")
        told += _told(folder)
    assert told > 10


def _told(folder: Path) -> bool:
    try:
        read(folder)
    except Misconfigured as error:
        return bool(str(error))
    return False


def _places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The first 120 places below one, itself first; of a list those in its first three items."""
    inside = node.items() if isinstance(node, dict) else enumerate(node[:3]) if isinstance(node, list) else ()
    return [path, *(below for key, value in inside for below in _places(value, (*path, key)))][:120]


def _put(whole: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy = deepcopy(whole)
    node = copy
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return copy
