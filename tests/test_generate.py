"""The generators against books that know nothing of them (census_books.py, recount.py)."""

import dataclasses
import json
import re
from collections import Counter
from datetime import date
from itertools import pairwise
from random import Random

import pytest

from pipelines.sources import gcs
from pipelines.tools import census_lines, generate
from pipelines.tools.damage import DAMAGES, broken, oversized
from pipelines.tools.options import GenerateOptions
from pipelines.tools.people import card, person
from schemas.contract import load, shipped
from schemas.errors import Misconfigured, Reason
from tests.census_books import CENSUS, REQUIRED, books, decoded
from tests.gcs_emulator import MISSING, emulator
from tests.recount import recount

OTHERS = sorted({*shipped()} - {"census"})


@pytest.fixture(scope="module")
def stream():
    return list(census_lines.events(20_000, 7))


def test_every_line_meets_the_fate_that_truth_gives_it(stream):
    fates, days, _ = books(e.line for e in stream)
    assert fates == Counter(e.fate for e in stream)
    assert days == Counter(str(e.day) for e in stream if e.day)


@pytest.mark.parametrize("rows", [0, 1, 2, 17, 999, 1_000, 1_999, 2_000, 3_001])
def test_exactly_so_many_lines_whose_books_are_right(rows):
    made = list(census_lines.events(rows, rows + 1))
    assert len(made) == rows
    fates, _, _ = books(e.line for e in made)
    assert fates == Counter(e.fate for e in made)
    assert fates["too_large"] == (1 if rows >= 1_000 else 0)
    assert not any(b"\n" in e.line or b"\r" in e.line or not e.line.strip() for e in made)


def test_one_seed_one_stream():
    assert list(census_lines.census(3_000, 5)) == list(census_lines.census(3_000, 5))
    assert list(census_lines.census(3_000, 5)) != list(census_lines.census(3_000, 6))


def test_the_sample_is_what_the_generator_makes():
    assert (CENSUS / "sample.ndjson").read_bytes() == b"".join(line + b"\n" for line in census_lines.census(200, 5))


def test_every_kind_occurs_from_2000_rows_on():
    fates = Counter(e.fate for e in census_lines.events(2_000, 11))
    assert fates.keys() == {"stored", "repeated", "conflict", "too_large", *map(str, DAMAGES)}
    assert all(fates[str(reason)] >= len(ways) for reason, ways in DAMAGES.items())


def test_rates(stream):
    fates = Counter(e.fate for e in stream)
    assert 0.027 < fates["repeated"] / 20_000 < 0.033
    assert 0.008 < sum(n for f, n in fates.items() if f not in ("stored", "repeated")) / 20_000 < 0.014
    assert fates["malformed"] > fates["wrong_type"] > fates["conflict"] > 0


def test_repeats_come_later_within_bounds_and_some_in_another_order(stream):
    at, distances, rewritten = {}, [], 0
    for position, event in enumerate(stream):
        if event.fate in ("stored", "repeated", "conflict"):
            number = json.loads(event.line)["application_id"]
            if event.fate == "stored":
                at[number] = position, event.line
            else:
                distances.append(position - at[number][0])
                rewritten += event.fate == "repeated" and event.line != at[number][1]
    assert 0 < min(distances) and 4_000 < max(distances) < 5_500
    assert rewritten > 20


def test_rows_refused_are_no_copies(stream):
    """Some ids stand in a broken line before their intact one."""
    broken_ids, later = set(), 0
    for event in stream:
        found = re.match(rb'\{"application_id":"(A\d{7}-[0-9a-f]{8})"', event.line)
        if found and event.fate == "stored":
            later += found[1] in broken_ids
        elif found and event.fate in map(str, DAMAGES):
            broken_ids.add(found[1])
    assert later > 20


@pytest.mark.parametrize("damage", [d for ways in DAMAGES.values() for d in ways], ids=lambda d: d.name)
def test_each_damage_has_its_reason(damage, stream):
    draw = iter([i / 40 for i in range(40)] * 2).__next__
    for event in [e for e in stream if e.fate == "stored"][:20]:
        assert decoded(broken(event.line.decode(), damage, draw)) == (None, str(damage.reason))


def test_oversized_is_just_a_row_that_is_too_long(stream):
    line = oversized(stream[0].line.decode(), 64_000)
    assert 64_000 < len(line) < 65_000 and json.loads(line).keys() >= set(REQUIRED)


def test_times_stay_in_their_days_and_come_from_many_zones():
    rows = books(census_lines.census(4_000, 3, date(2024, 2, 28), 3))[2]
    assert {str(r["submitted_at"].date()) for r in rows} == {"2024-02-28", "2024-02-29", "2024-03-01"}
    written = b"".join(census_lines.census(4_000, 3, date(2024, 2, 28), 3))
    assert set(re.findall(rb'"submitted_at":"[^"]{19,26}?(Z|[+-]\d\d:\d\d)"', written)) >= {b"Z", b"+00:00", b"+05:30", b"-08:00"}
    assert sum(r["submitted_at"] < q["submitted_at"] for q, r in pairwise(rows)) > 100


def test_people_are_of_one_piece(stream):
    _, _, rows = books(e.line for e in stream)
    assert sum(r["email"] is None for r in rows) > 100 and sum(r["note"] is None for r in rows) > 500
    assert len({r["ssn"] for r in rows}) > 0.95 * len(rows)
    for r in rows:
        if r["ssn"]:
            assert re.fullmatch(r"(?!000|666|9)\d{3}-(?!00)\d\d-(?!0000)\d{4}", r["ssn"])
        if r["email"]:
            assert re.fullmatch(r"[a-z._0-9]+@[a-z.]*example\.(com|org|net)", r["email"])
    assert sum("?" in (r["workclass"], r["occupation"], r["native_country"]) for r in rows) > 500
    assert 550 < sum(len(e.line) for e in stream if e.fate == "stored") / len(rows) < 700


def test_a_third_of_the_notes_tell_something(stream):
    notes = [r["note"] for r in books(e.line for e in stream)[2] if r["note"]]
    told = Counter()
    for note in notes:
        told["email"] += "@example" in note or ".example." in note
        told["phone"] += re.search(r"555[ .-]\d{4}", note) is not None
        told["card"] += re.search(r"(\d{4}[ -]?){3}\d{4}", note) is not None
        told["born"] += re.search(r"(?i)\b(born|birth|dob|geboren)\b", note) is not None
    assert all(0.045 < told[kind] / len(notes) < 0.09 for kind in ("email", "phone", "card", "born")), told
    assert len(set(notes)) > 0.7 * len(notes) and any(ord(c) > 0xffff for note in notes for c in note)


def test_cards_pass_luhn():
    draw = Random(1).random
    for _ in range(200):
        digits = [int(d) for d in card(draw) if d.isdigit()]
        assert len(digits) == 16 and sum(sum(divmod(2 * d, 10)) if i % 2 == 0 else d for i, d in enumerate(digits)) % 10 == 0


def test_people_need_no_escapes():
    draw = Random(2).random
    assert all(json.loads(f'"{value}"') == value for _ in range(2_000) for value in person(draw))


def test_the_income_is_nowhere(stream):
    assert not any(b"50K" in e.line or b"income\"" in e.line for e in stream)


def test_files_and_truth_are_written(tmp_path):
    (tmp_path / "events-00000-of-00009.ndjson").write_text("old")
    (tmp_path / "mine.ndjson").write_text("kept")
    truth = generate.write("census", 2_500, 4, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["events-00000-of-00001.ndjson", "mine.ndjson", "truth.json"]
    lines = (tmp_path / "events-00000-of-00001.ndjson").read_bytes().split(b"\n")
    assert lines.pop() == b"" and len(lines) == 2_500 == truth.read
    fates, days, _ = books(lines)
    written = json.loads((tmp_path / "truth.json").read_text())
    reasons = {k: n for k, n in fates.items() if k not in ("stored", "repeated")}
    assert written == {"read": 2_500, "stored": fates["stored"], "repeated": fates["repeated"], "refused": sum(reasons.values()), "reasons": reasons,
                       "stored_by_day": days, "rows": 2_500, "seed": 4, "contract": "census", "version": "1.0"}
    assert truth.read == truth.stored + truth.repeated + truth.refused


def test_files_are_cut_and_repeats_cross_them(tmp_path):
    truth = generate.write("census", 2_500, 4, tmp_path / "cut", rows_a_file=1_000)
    files = sorted((tmp_path / "cut").glob("*.ndjson"))
    assert [f.name for f in files] == [f"events-0000{i}-of-00003.ndjson" for i in range(3)]
    assert [f.read_bytes().count(b"\n") for f in files] == [1_000, 1_000, 500]
    whole = b"".join(f.read_bytes() for f in files)
    assert whole == b"".join(line + b"\n" for line in census_lines.census(2_500, 4)) and truth.read == 2_500
    seen = [set(re.findall(rb'"application_id": ?"([^"]+)"', f.read_bytes())) for f in files]
    assert seen[0] & seen[1] and seen[1] & seen[2]


def test_of_each_day_its_own_lines(tmp_path, capsys):
    days = (date(2026, 11, 1), date(2026, 11, 2))
    given = GenerateOptions(contract="census", output=str(tmp_path), rows=300, seed=2, partition=days)
    assert generate.run(given) == 0
    told = capsys.readouterr().out
    ids = []
    for day in days:
        books = json.loads((tmp_path / str(day) / "truth.json").read_text())
        assert books["stored_by_day"].keys() == {str(day)} and books["read"] == 300 and f"300 lines in {tmp_path}/{day};" in told
        ids.append(set(re.findall(rb'"application_id": ?"([^"]+)"', (tmp_path / str(day) / "events-00000-of-00001.ndjson").read_bytes())))
    assert not ids[0] & ids[1]
    with pytest.raises(Misconfigured) as raised:
        generate.run(dataclasses.replace(given, contract="gaming"))
    assert raised.value.faults[0].where == "--partition"


def test_lines_go_to_a_bucket(tmp_path, capsys):
    with emulator() as bucket:
        if bucket is None:
            pytest.skip(MISSING)
        given = GenerateOptions(contract="census", output="gs://raw/a/", rows=300, seed=2, partition=(date(2026, 11, 1),), storage_endpoint=bucket.url)
        assert generate.run(given) == 0 and "300 lines in gs://raw/a/2026-11-01;" in capsys.readouterr().out
        found = gcs.matching(gcs.client(bucket.url), "gs://raw/a/2026-11-01/*")
        assert [o.path.rpartition("/")[2] for o in found] == ["events-00000-of-00001.ndjson", "truth.json"]
        generate.write("census", 300, 2, tmp_path, day=date(2026, 11, 1))
        content = (tmp_path / "events-00000-of-00001.ndjson").read_bytes()
        assert gcs.fetched(gcs.client(bucket.url), found[0].path, found[0].generation, 0, found[0].size) == content
        with pytest.raises(Misconfigured, match="gs://other/.* cannot be written"):
            generate.run(dataclasses.replace(given, output="gs://other/a"))


@pytest.mark.parametrize("contract, rows, faults", [("nothing", 10, 1), ("census", 0, 1), ("census", -1, 1), ("../census", 10**9, 2)])
def test_what_cannot_be_generated_is_said_at_once(contract, rows, faults, tmp_path):
    with pytest.raises(Misconfigured) as raised:
        generate.write(contract, rows, 1, tmp_path / "out")
    assert len(raised.value.faults) == faults and not (tmp_path / "out").exists()


def test_reasons_are_those_of_the_failures_table():
    assert set(DAMAGES) < set(Reason)


def test_the_command_says_what_it_wrote(tmp_path, capsys):
    assert generate.run(GenerateOptions(contract="census", output=str(tmp_path), rows=300, seed=2)) == 0
    truth = json.loads((tmp_path / "truth.json").read_text())
    assert f"300 lines in {tmp_path}; truth.json: {truth['stored']} stored + {truth['repeated']} repeated + {truth['refused']} refused" in capsys.readouterr().out


@pytest.mark.parametrize("name", OTHERS)
def test_every_contract_has_its_lines_and_their_books(name, tmp_path):
    contract, truth = load(name), generate.write(name, 3_000, 4, tmp_path, rows_a_file=2_000)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["events-00000-of-00002.ndjson", "events-00001-of-00002.ndjson", "truth.json"]
    lines = b"".join(p.read_bytes() for p in sorted(tmp_path.glob("*.ndjson"))).split(b"\n")
    assert lines.pop() == b"" and len(lines) == 3_000 == truth.read == truth.stored + truth.repeated + truth.refused
    fates, days = recount(contract, lines)
    reasons = {k: n for k, n in fates.items() if k not in ("stored", "repeated")}
    assert json.loads((tmp_path / "truth.json").read_text()) == {
        "read": 3_000, "stored": fates["stored"], "repeated": fates["repeated"], "refused": sum(reasons.values()), "reasons": reasons,
        "stored_by_day": days, "rows": 3_000, "seed": 4, "contract": name, "version": contract.version}
    assert 60 < truth.repeated < 120 and 15 < truth.refused < 60 and {"conflict", "malformed", "wrong_type", "missing_field"} <= reasons.keys()


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("rows", [1, 2, 17, 150])
def test_exactly_so_many_lines_of_every_contract(name, rows):
    made = list(generate.events(load(name), rows, 9))
    assert made == list(generate.events(load(name), rows, 9)) and len(made) == rows and made[0].fate == "stored"
    fates, days = recount(load(name), [e.line for e in made])
    assert fates == Counter(e.fate for e in made) and days == Counter(str(e.day) for e in made if e.day)


def test_copies_of_a_contract_come_within_bounds():
    at, distances = {}, []
    for position, event in enumerate(generate.events(load("gaming"), 20_000, 1)):
        number = re.search(rb'"play_id":"([^"]+)"', event.line)
        if event.fate == "stored":
            at[number[1]] = position
        elif event.fate == "repeated":
            distances.append(position - at[number[1]])
    assert 0 < min(distances) and 800 < max(distances) < 1_200
