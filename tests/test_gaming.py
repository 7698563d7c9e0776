"""The gaming contract as it is shipped: nothing stays in clear, tokens count players as names do, and who leads an hour is known."""

import json
import re
from collections import Counter
from datetime import datetime, timedelta, timezone

import pyarrow as pa
import pytest

from pipelines.tools.samples import gaming
from schemas.contract import SHIPPED, load
from transforms.columns import Typing
from transforms.decode import Digest, decode
from transforms.engines.local import LocalEngine
from transforms.formats.block import Block
from transforms.partials import partials
from transforms.window import windows

FOLDER = SHIPPED / "gaming"
HOUR, PERIOD = 3_600_000_000, 600_000_000  # microseconds
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
CONTRACT = load("gaming")
NAMES = set(re.findall(r"\w{2,}", "".join(line for line in (SHIPPED / "census" / "names.txt").read_text("utf-8").splitlines(True) if line[0] != "#")))
IDENTIFIERS = ("player", "email", "ip")


def deidentified(rows: list[dict], ring) -> pa.RecordBatch:
    """Rows after Decode and the local engine."""
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    batch, refused = decode(Block("s", "ndjson", 0, 0, len(rows), data), CONTRACT, Typing(CONTRACT), Digest(CONTRACT, b"k" * 32))
    assert refused.num_rows == 0
    engine = LocalEngine(CONTRACT, ring)
    assert engine.faults() == []
    started = engine.start()
    started.setup()
    kept, refusals = started.deidentify(batch)
    assert refusals == []
    return kept


def slow_windows(plays: list[tuple[int, str, int, str]]) -> dict[tuple[str, int], tuple[int, int, int, int]]:
    """(team, start) to (plays, points, players, best), worked out apart from the package: of plays as (time, team, points, player)."""
    held: dict[tuple[str, int], list[tuple[int, str]]] = {}
    for time, team, points, player in plays:
        for start in range(time // PERIOD * PERIOD - HOUR + PERIOD, time + 1, PERIOD):
            held.setdefault((team, start), []).append((points, player))
    return {key: (len(own), sum(p for p, _ in own), len({w for _, w in own}), max(p for p, _ in own)) for key, own in held.items()}


def plays(rows: list[dict]) -> list[tuple[int, str, int, str]]:
    """Of rows as they are stored."""
    return [((row["played_at"] - EPOCH) // timedelta(microseconds=1), row["team"], row["points"], row["player"]) for row in rows]


@pytest.fixture(scope="module")
def made() -> list[gaming.Sample]:
    return list(gaming.events(4_000, 7))


@pytest.fixture(scope="module")
def batch(made, ring) -> pa.RecordBatch:
    return deidentified([s.row for s in made], ring)


@pytest.fixture(scope="module")
def stored(batch) -> list[dict]:
    return batch.to_pylist()


def test_the_contract_says_what_the_files_say() -> None:
    assert (CONTRACT.name, CONTRACT.version, CONTRACT.id, CONTRACT.time) == ("gaming", "1.0", "play_id", "played_at")
    assert {f.name for f in CONTRACT.fields if f.privacy == "identifier"} == set(IDENTIFIERS)
    assert [f.name for f in CONTRACT.fields if f.privacy == "free_text"] == ["chat"] and CONTRACT.field("team").values == gaming.TEAMS
    w = CONTRACT.windows
    assert (w.kind, w.size, w.period, w.key, w.lateness) == ("sliding", timedelta(hours=1), timedelta(minutes=10), ("team",), timedelta(minutes=10))
    assert {m.name: (m.kind, m.field, m.type) for m in w.measures} == {
        "plays": ("count", None, "long"), "points": ("sum", "points", "long"), "players": ("distinct", "player", "long"),
        "best": ("max", "points", "int"), "mean": ("mean", "points", "double")}


def test_the_sample_is_what_the_generator_makes() -> None:
    text = (FOLDER / "sample.ndjson").read_text("utf-8")
    assert [json.loads(line) for line in text.splitlines()] == [s.row for s in gaming.events(200, 5)] and len(text.encode()) < 60_000


def test_events_are_a_function_of_the_seed_in_the_order_of_time(made) -> None:
    assert [s.time for s in made] == sorted(s.time for s in made) and len({s.id for s in made}) == len(made)
    assert all(s.id == s.row["play_id"] and s.row.keys() == {f.name for f in CONTRACT.fields} for s in made)
    assert list(gaming.events(500, 7)) == made[:500] and [s.row for s in gaming.events(500, 8)] != [s.row for s in made[:500]]
    assert all(datetime.fromisoformat(s.row["played_at"].replace("Z", "+00:00")).timestamp() == pytest.approx(s.time / 1e6, abs=1e-6) for s in made[:100])
    first = ("play-0000000-6b2838fd", "2026-03-02T00:00:01.358840Z", "cobalt", 2, "RustyOtter2406")  # on every version of Python
    assert tuple(made[0].row[k] for k in ("play_id", "played_at", "team", "points", "player")) == first


def test_the_shipped_sample_leaves_nothing_that_names_a_person(ring) -> None:
    read = [s.row for s in gaming.events(200, 5)]
    chats = [r["chat"] for r in read if r["chat"]]
    secrets = {r[k] for r in read for k in IDENTIFIERS if r[k]} | {w for c in chats for w in re.findall(r"\w+", c) if w in NAMES}
    secrets |= {w for c in chats for w in re.findall(r"\S+@\S+\w|[+(\d][\d .()+-]{8,}\d", c)}
    kinds = [len(re.findall(p, "\n".join(chats))) for p in (r"\w@\w", r"\B@\w", r"555", r"198\.1|2001:")]
    assert all(kinds) and any(s in NAMES for s in secrets)
    text = json.dumps([{k: str(v) for k, v in row.items()} for row in deidentified(read, ring).to_pylist()], ensure_ascii=False)
    # A name of three letters stands in a random token now and then: it counts where it stands alone.
    assert [s for s in secrets if re.search(f"(?<![A-Za-z0-9+/=]){re.escape(s)}(?![A-Za-z0-9+/=])", text)] == [] and "@" not in text


def test_in_many_chats_all_that_has_a_form_is_found_and_nearly_all_names(made, stored) -> None:
    users = {s.row["player"] for s in made}
    formed, named, left = 0, 0, 0
    for read, kept in zip((s.row for s in made), stored, strict=True):
        if read["chat"] is None:
            assert kept["chat"] is None
            continue
        secrets = re.findall(r"\S+@\S+\w|[+(\d][\d .()+-]{8,}\d|198\.\d+\.\d+\.\d+|2001:db8\S+", read["chat"]) + [u for u in users if u in read["chat"]]
        formed += len(secrets)
        assert not [s for s in secrets if s in kept["chat"]]
        words = [w for w in re.findall(r"\w+", read["chat"]) if w in NAMES] if not secrets else []
        named, left = named + bool(words), left + any(w in kept["chat"] for w in words)
    assert formed > 150 and named > 30 and left <= 0.15 * named


def test_harmless_chat_stays(made, stored) -> None:
    both = [(s.row["chat"], k["chat"]) for s, k in zip(made, stored, strict=True) if s.row["chat"] in ("gg wp", "one more round?", "2 min left")]
    assert len(both) > 50 and all(a == b for a, b in both)


def test_a_row_stands_in_six_windows(made) -> None:
    found = slow_windows([(s.time, s.row["team"], s.row["points"], s.row["player"]) for s in made])
    assert sum(n for n, *_ in found.values()) == 6 * len(made)
    assert sum(points for _, points, *_ in found.values()) == 6 * sum(s.row["points"] for s in made)


def test_windows_by_token_are_windows_by_name(made, stored) -> None:
    by_name = slow_windows([(s.time, s.row["team"], s.row["points"], s.row["player"]) for s in made])
    assert slow_windows(plays(stored)) == by_name
    assert {s["player"] for s in stored}.isdisjoint(s.row["player"] for s in made)
    assert max(players for _, _, players, _ in by_name.values()) >= 12


def test_the_table_holds_these_windows(batch, stored) -> None:
    parts = [partials(piece, CONTRACT.windows, CONTRACT.time)[0] for piece in (batch.slice(2_500), batch.slice(0, 1_000), batch.slice(1_000, 1_500))]
    rows = windows(parts, CONTRACT.windows).to_pylist()
    told = {(r["key"], (r["window_start"] - EPOCH) // timedelta(microseconds=1)): (r["plays"], r["points"], r["players"], r["best"]) for r in rows}
    assert len(told) == len(rows) and told == slow_windows(plays(stored))
    assert all(r["mean"] == pytest.approx(r["points"] / r["plays"]) and r["window_end"] - r["window_start"] == timedelta(hours=1) for r in rows)


def test_who_leads_an_hour_is_known(made) -> None:
    found = slow_windows([(s.time, s.row["team"], s.row["points"], s.row["player"]) for s in made])
    first = made[0].time // HOUR * HOUR
    leaders = []
    for start in range(first, made[-1].time // HOUR * HOUR, HOUR):
        leaders.append(max(gaming.TEAMS, key=lambda team: found.get((team, start), (0, 0))[1]))
        assert leaders[-1] == gaming.ahead(start)
        assert all(found[team, start][3] <= 100 for team in gaming.TEAMS if team != leaders[-1])
    assert len(leaders) == 13 and Counter(leaders).keys() == set(gaming.TEAMS)
