"""Plays of the gaming contract, all made up: six teams, about 300 plays an hour from START on, and a chat now and then.

Each hour one team is ahead: its points count three times (`ahead`), so who leads that hour is known. A third of the chats hold
an e-mail address, a telephone number, a name, a network address or another player's user name.
"""

import random
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from typing import NamedTuple, TypeVar

from pipelines.tools.people import Person, Random, person, phone
from pipelines.tools.samples.sample import Sample

T = TypeVar("T")
START = datetime(2026, 3, 2, tzinfo=timezone.utc)
TEAMS = ("amber", "cobalt", "crimson", "ivory", "jade", "violet")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)
_HOUR = 3_600_000_000
_MODES = ("capture", "race", "siege")
_LONGEST = 24_000_000  # microseconds from one play to the next; half of it on average
_CHATTED = 0.2  # share of the plays with a chat
_ROSTER = 12, 9  # players of a team: at least so many, and fewer than so many more
_FIRST = ("Silent", "Turbo", "Lucky", "Iron", "Neon", "Rusty", "Cosmic", "Lazy", "Brave", "Salty", "Frozen", "Wild")
_LAST = ("Otter", "Falcon", "Badger", "Comet", "Pickle", "Wizard", "Panda", "Goblin", "Rocket", "Lynx", "Noodle", "Raven")
_SILENT = ("gg", "gg wp", "nice shot!", "push left", "wait for the timer", "lag again, 300 ms", "one more round?", "need ammo at gate 2", "rofl",
           "who has the flag", "brb, pizza", "2 min left", "das war knapp", "no heal, no win", "😂😂", "rematch at 21:30?")
_MAILED = ("add me, {}", "clan papers go to {}", "my mail is {} for the voice server")
_RUNG = ("text me at {}", "voice is down, call {}", "my number is {}", "whatsapp {} for the tournament")
_NAMED = ("my real name is {}", "{} from school plays too", "shout out to {}!", "this is {}, new on the team")
_HOSTED = ("server at {} is free", "join by ip {}", "ping {} and tell me")
_CALLED = ("@{} heal me", "thanks @{}!", "who invited @{}", "follow @{} to gate 3")


class Player(NamedTuple):
    """A member of a team; user is the user name."""

    user: str
    who: Person


def events(rows: int, seed: int) -> Iterator[Sample]:
    """Exactly `rows` plays in the order of event time; fewer rows are the first of more."""
    draw = random.Random(seed).random
    rosters = {team: [_player(draw) for _ in range(_ROSTER[0] + int(draw() * _ROSTER[1]))] for team in TEAMS}
    time = (START - _EPOCH) // _MICROSECOND
    for number in range(rows):
        time += 1 + int(draw() * _LONGEST)
        team = _one_of(TEAMS, draw)
        player = _one_of(rosters[team], draw)
        points = (1 + int(draw() * 100)) * (3 if team == ahead(time) else 1)
        play = f"play-{number:07d}-{int(draw() * 4_294_967_296):08x}"
        chat = _chat(draw, player, rosters[team]) if draw() < _CHATTED else None
        moment = _EPOCH + time * _MICROSECOND
        row: dict[str, object] = {"play_id": play, "played_at": f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}", "team": team, "mode": _one_of(_MODES, draw),
                                  "points": points, "player": player.user, "email": player.who.email if draw() < 0.9 else None,
                                  "ip": player.who.ip, "chat": chat}
        yield Sample(play, time, row)


def ahead(time: int) -> str:
    """The team whose points count three times in the hour of a time (microseconds since 1970, UTC)."""
    return TEAMS[time // _HOUR * 5 % len(TEAMS)]


def _player(draw: Random) -> Player:
    return Player(f"{_one_of(_FIRST, draw)}{_one_of(_LAST, draw)}{int(draw() * 10_000)}", person(draw))


def _chat(draw: Random, player: Player, roster: list[Player]) -> str:
    if draw() < 2 / 3:
        return _one_of(_SILENT, draw)
    kind = int(draw() * 5)
    if kind == 0:
        return _one_of(_MAILED, draw).format(player.who.email)
    if kind == 1:
        return _one_of(_RUNG, draw).format(phone(draw))
    if kind == 2:
        return _one_of(_NAMED, draw).format(" ".join(reversed(player.who.name.split(", "))))
    if kind == 3:
        return _one_of(_HOSTED, draw).format(player.who.ip)
    return _one_of(_CALLED, draw).format(_one_of(roster, draw).user)


def _one_of(these: Sequence[T], draw: Random) -> T:
    return these[int(draw() * len(these))]
