"""The weblog contract as it is shipped: its log is the published one, its visits are the known ones, and no identifier is stored in clear."""

import gzip
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import islice, pairwise

import orjson
import pyarrow as pa
import pytest

from pipelines.__main__ import main
from pipelines.tools.samples.weblog import events
from schemas.contract import SHIPPED, load, shipped
from transforms.columns import Typing
from transforms.engines.local import LocalEngine
from transforms.partials import partials
from transforms.window import windows

FOLDER = SHIPPED / "weblog"
MINUTE, HOUR, DAY = 60_000_000, 3_600_000_000, 86_400_000_000
GAP = 30 * MINUTE


def requests(rows: Iterable[dict]) -> pa.RecordBatch:
    """Rows as columns; every one is a request inside the contract's domain."""
    typing = Typing(load("weblog"))
    batch, refused = typing.columns(list(rows))
    assert refused == [] and typing.outside(batch) == []
    return batch


@pytest.fixture(scope="module")
def log() -> pa.RecordBatch:
    return requests(s.row for s in events(10_000, 1))


@pytest.fixture(scope="module")
def store(ring) -> Callable[[pa.RecordBatch], pa.RecordBatch]:
    engine = LocalEngine(load("weblog"), ring)
    assert engine.faults() == []
    local = engine.start()
    local.setup()

    def stored(batch: pa.RecordBatch) -> pa.RecordBatch:
        rows, refused = local.deidentify(batch)
        assert refused == []
        return rows

    return stored


@pytest.fixture(scope="module")
def kept(log, store) -> pa.RecordBatch:
    return store(log)


def visits(keys: Iterable[str], times: Iterable[int], ends: Callable[[int], bool]) -> int:
    """The definition, row by row: a visit ends where its client is quiet for long enough."""
    by_key: dict[str, list[int]] = {}
    for key, time in zip(keys, times, strict=True):
        by_key.setdefault(key, []).append(time)
    return sum(1 + sum(ends(b - a) for a, b in pairwise(sorted(times))) for times in by_key.values())


def micros(batch: pa.RecordBatch) -> list[int]:
    return batch["requested_at"].cast(pa.int64()).to_pylist()


def test_the_log_is_the_published_one() -> None:
    raw = gzip.decompress((FOLDER / "apache_logs.txt.gz").read_bytes())
    assert hashlib.sha256(raw).hexdigest() == "f15c31e905f86c7b4b6ab44aee74d0a2086dce89f010187d983edea7ef0364ef"
    assert raw.count(b"\n") == 10_000


def test_the_contract_loads_and_says_what_its_files_say() -> None:
    contract = load("weblog")
    assert "weblog" in shipped() and (contract.id, contract.time, contract.model, contract.tagger) == ("request_id", "requested_at", None, False)
    assert {f.name: f.privacy for f in contract.fields if f.privacy not in ("public", "sensitive")} == {
        "ip": "identifier", "user_agent": "identifier", "query": "free_text", "referrer": "free_text"}
    windows = contract.windows
    assert windows is not None and (windows.kind, windows.key) == ("session", ("ip",))
    assert (windows.gap.total_seconds(), windows.max_length.total_seconds(), contract.disorder.total_seconds()) == (1800, 86_400, 60)
    assert [(m.name, m.kind, m.field) for m in windows.measures] == [
        ("requests", "count", None), ("bytes_sent", "sum", "bytes"), ("pages", "distinct", "path"), ("worst_status", "max", "status"),
        ("first_page", "first", "path"), ("last_page", "last", "path")]


@pytest.mark.parametrize("form, words", [("markdown", "first_page"), ("json", '"weblog"'), ("bigquery", '"query"')])
def test_it_is_described(form, words, capsys) -> None:
    assert main(["describe", "--contract=weblog", f"--format={form}"]) == 0
    assert words in capsys.readouterr().out


def test_every_line_of_the_log_is_an_event_in_the_order_of_time(log) -> None:
    samples = list(events(10_000, 1))
    assert [s.time for s in samples] == sorted(s.time for s in samples) == micros(log)
    assert [s.id for s in samples] == log["request_id"].to_pylist() and len({s.id for s in samples}) == log.num_rows == 10_000
    assert len(set(log["ip"].to_pylist())) == 1_753
    assert sum(b or 0 for b in log["bytes"].to_pylist()) == 2_747_282_740 and log["bytes"].null_count == 669
    lines = gzip.decompress((FOLDER / "apache_logs.txt.gz").read_bytes()).decode().splitlines()
    for sample in islice(samples, 0, 10_000, 499):
        line, row = lines[int(sample.id.split("-")[1])], sample.row
        assert line.startswith(f"{row['ip']} - - [") and f'"{row["method"]} {row["path"]}' in line and f'" {row["status"]} ' in line


@pytest.mark.parametrize("ends", [lambda quiet: quiet >= GAP, lambda quiet: quiet > GAP], ids=[">=", ">"])
def test_visits_by_address_and_by_token_are_the_known_ones(ends, log, kept) -> None:
    assert visits(log["ip"].to_pylist(), micros(log), ends) == 3_052
    assert visits(kept["ip"].to_pylist(), micros(kept), ends) == 3_052


@pytest.mark.parametrize("most", [10_000, 777])
def test_windows_are_the_visits_whatever_the_batches(most, kept) -> None:
    windowing = load("weblog").windows
    told = kept.append_column("id_hash", pa.array(range(kept.num_rows), pa.int64())).append_column(
        "watermark", pa.nulls(kept.num_rows, pa.timestamp("us", "UTC")))
    mixed = told.take(pa.array(sorted(range(told.num_rows), key=lambda i: i * 7_919 % 10_007)))
    found = windows([partials(mixed.slice(at, most), windowing, "requested_at")[0] for at in range(0, 10_000, most)], windowing).to_pylist()
    assert len(found) == 3_052 and {type(w["key"]) for w in found} == {str}
    by_visit = defaultdict(list)
    for row in told.to_pylist():
        by_visit[row["ip"], row["requested_at"].replace(minute=0, second=0)].append(row)  # all requests of a visit stand in one hour
    assert len(by_visit) == 3_052
    for window in found:
        rows = by_visit[window["key"], window["window_start"].replace(minute=0, second=0)]
        first, last = min(r["requested_at"] for r in rows), max(r["requested_at"] for r in rows)
        assert (window["window_start"], window["window_end"]) == (first, last + windowing.gap)
        assert (window["requests"], window["worst_status"]) == (len(rows), max(r["status"] for r in rows))
        assert (window["bytes_sent"] or 0) == sum(r["bytes"] or 0 for r in rows) and window["pages"] == len({r["path"] for r in rows})
        assert window["first_page"] in {r["path"] for r in rows if r["requested_at"] == first}
        assert window["last_page"] in {r["path"] for r in rows if r["requested_at"] == last}


def test_no_visit_is_near_the_edge_of_a_rule(log) -> None:
    """So neither the gap's exact end nor max_length decides about any: other data must test those."""
    by_ip: dict[str, list[int]] = {}
    for ip, time in zip(log["ip"].to_pylist(), micros(log), strict=True):
        by_ip.setdefault(ip, []).append(time)
    assert [q for times in by_ip.values() for a, b in pairwise(times) if 57 * 1_000_000 < (q := b - a) < 59 * MINUTE] == []


def test_further_rounds_are_the_log_again_with_other_ids_and_no_visit_across() -> None:
    samples = list(events(20_500, 1))
    first, second = samples[:10_000], samples[10_000:20_000]
    assert {b.time - a.time for a, b in zip(first, second, strict=True)} == {5 * DAY} and len({s.id for s in samples}) == 20_500
    assert [s.time for s in samples] == sorted(s.time for s in samples)
    assert all({**a.row, "request_id": b.id, "requested_at": b.row["requested_at"]} == b.row for a, b in zip(first, second, strict=True))
    assert visits((str(s.row["ip"]) for s in samples[:20_000]), (s.time for s in samples[:20_000]), lambda quiet: quiet >= GAP) == 6_104
    assert samples == list(events(20_500, 2)) and samples[:70] == list(events(70, 1))


def test_the_shipped_sample_is_what_the_generator_makes() -> None:
    written = (FOLDER / "sample.ndjson").read_bytes()
    assert len(written) < 100_000 and written == b"".join(orjson.dumps(s.row) + b"\n" for s in events(150, 1))


def test_no_address_and_no_user_agent_of_the_log_is_stored(log, kept) -> None:
    addresses, agents = set(log["ip"].to_pylist()), {a for a in log["user_agent"].to_pylist() if a}
    for name in kept.schema.names:
        for text in kept[name].to_pylist() if pa.types.is_string(kept[name].type) else ():
            assert text is None or not (addresses.intersection(re.findall(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])", text)) or text in agents)
    assert len(set(kept["ip"].to_pylist())) == 1_753 and kept["user_agent"].null_count == log["user_agent"].null_count


def test_of_the_log_one_referrer_is_changed_and_no_path(log, kept) -> None:
    """Pages and searches are what visits are measured by: the detectors leave them."""
    for name, changed in (("path", 0), ("query", 0), ("referrer", 1)):
        pairs = [(a, b) for a, b in zip(log[name].to_pylist(), kept[name].to_pylist(), strict=True) if a != b]
        assert len(pairs) == changed and all("bs=60.191.124.236" in a and "bs=[IP_ADDRESS]" in b for a, b in pairs)


@pytest.mark.parametrize("field, text, secret", [
    ("query", "mail=jane.roe@example.com&x=1", "jane.roe"), ("query", "mail=jane.roe%40example.com&x=1", "jane.roe"),
    ("query", "card=4111 1111 1111 1111", "4111"), ("query", "tel=+1 212 555 0143", "555"), ("query", "ssn=123-45-6789", "6789"),
    ("query", "password=hunter2horse", "hunter2"), ("query", "from=203.0.113.77", "203.0.113"), ("query", "iban=DE89370400440532013000", "3704004405"),
    ("query", "jwt=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U", "dozjg"),
    ("referrer", "http://mail.example.com/read?to=jane.roe@example.com", "jane.roe"), ("referrer", "http://10.20.30.40:8080/wiki/x", "10.20.30"),
    ("path", "/host/203.0.113.77/status", "203.0.113"), ("path", "/pay/4111-1111-1111-1111/done", "1111"), ("path", "/call/212-555-0143", "0143"),
    ("path", "/of/123-45-6789", "6789"),     ("ip", "203.0.113.77", "203.0.113"), ("ip", "2001:db8::77", "2001:db8"), ("user_agent", "Jane's own browser 1.0", "Jane"),
])
def test_a_planted_secret_is_not_stored(field, text, secret, store) -> None:
    row = {**next(iter(events(1, 1))).row, field: text}
    (stored,) = store(requests([row])).to_pylist()
    assert stored[field] != text and secret not in json.dumps(stored, default=str)


@pytest.mark.parametrize("path", ["/user/jane@example.com", "/user/jane%40example.com", "/card/4111111111111111", "/tel/12125550143", "/a b", "user", "/ä", ""])
def test_a_path_that_could_carry_more_is_outside_the_domain(path) -> None:
    typing = Typing(load("weblog"))
    batch, refused = typing.columns([{**next(iter(events(1, 1))).row, "path": path}])
    assert refused == [] and [(r.reason, r.field) for r in typing.outside(batch)] == [("out_of_range", "path")]
