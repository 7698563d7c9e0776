"""Turns of the contact_center contract: three real conversations, then made-up ones around 3,080 real questions of customers.

The conversations come from ABCD, the questions from the test part of Banking77, in their order. Agents' sentences, people,
cards and phones are made up; where they were put is known (`planted`), and so is what each question is about.
"""

import csv
import gzip
import io
import json
import random
from collections.abc import Iterator
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.tools.people import Person, card, person, phone
from pipelines.tools.samples.sample import Sample

_FOLDER = Path(__file__).parents[3] / "schemas" / "contact_center"
_START = int(datetime(2026, 3, 2, 8, tzinfo=timezone.utc).timestamp())
_DAY = 86_400
_ASKED = {
    "name": ("Who am I speaking to, please?", "May I have your full name?", "Could you tell me the name on the account?"),
    "card": ("Which card is it about?", "Could you read me the long number on the card?", "What is the card number, please?"),
    "phone": ("What number can we call you back on?", "May I have a phone number in case we are cut off?"),
    "email": ("Which e-mail address is on the account?", "Where shall I send the confirmation?"),
}
_TOLD = {
    "name": ("My name is {}.", "It's {}.", "This is {}, I called yesterday too.", "{}", "The account is in the name of {}.", "Sure, {} here."),
    "card": ("It is {}.", "My card number is {}.", "The one ending it all: {}", "{}", "Card {}, it expires next spring.", "{} - is that enough?"),
    "phone": ("You can reach me on {}.", "{}", "Call me at {} please.", "My mobile is {}, but not before nine.", "Try {}"),
    "email": ("It's {}.", "{}", "Please write to {} instead.", "Send it to {}, thanks."),
}
_BESIDE = {  # said right after the question, in the same turn
    "name": (" Thanks, {}", " My name is {}.", " Regards, {}"),
    "card": (" My card number is {}.", " The card is {}.", " (card {})"),
    "phone": (" Please call me on {}.", " My number is {}."),
    "email": (" You can write to {}.", " My e-mail is {}."),
}
_NOTED = {"name": "Account has been pulled up for {}.", "card": "Card {} has been found.", "phone": "Details of {} have been entered.",
          "email": "A confirmation goes to {}."}
_HELLO = ("Good morning, how can I help you?", "Hello! What can I do for you today?", "Thank you for calling. How can I help?")
_LAST = ("Thank you, that is all I need. It is being looked into.", "All done. Is there anything else?", "Thank you for waiting, it is sorted out now.")
_BYE = ("No, that's all. Thanks!", "great thanks for your help", "Perfect. Bye", "ok")


class Turn(NamedTuple):
    """planted: (name, card, phone or email; as it stands in the text); intent: of a customer's question, of Banking77."""

    sample: Sample
    planted: tuple[tuple[str, str], ...]
    intent: str | None


class _Said(NamedTuple):
    speaker: str
    text: str
    planted: tuple[tuple[str, str], ...] = ()
    intent: str | None = None


def events(rows: int, seed: int) -> Iterator[Sample]:
    """Turns in the order of event time. Each further round of the data stands whole days later, with other ids."""
    return (turn.sample for turn in turns(rows, seed))


def turns(rows: int, seed: int) -> Iterator[Turn]:
    """The same with what is known of each turn."""
    return islice(_rounds(seed), rows)


def _rounds(seed: int) -> Iterator[Turn]:
    first = _round(seed)
    days = 2 + (first[-1][0] - _START) // _DAY
    lap = 0
    while True:
        for at, conversation, number, account, said in first:
            time, id = at + lap * days * _DAY, f"m{lap}-{conversation:05d}-{number:02d}"
            written = datetime.fromtimestamp(time, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
            row = {"message_id": id, "said_at": written, "conversation": f"c{lap}-{conversation:05d}", "speaker": said.speaker, **account,
                   "text": said.text}
            yield Turn(Sample(id, time * 1_000_000, row), said.planted, said.intent)
        lap += 1


def _round(seed: int) -> list[tuple[int, int, int, dict[str, Any], _Said]]:
    """(second, conversation, turn, what the account says, what was said), by time."""
    draw = random.Random(seed).random
    listed, begins = [], _START
    for conversation, (account, told) in enumerate([*_recorded(), *_made(draw)]):
        at = begins
        for number, said in enumerate(told):
            listed.append((at, conversation, number, account, said))
            at += 3 + int(draw() * 25)
        # The recorded ones follow each other; of the others some are going on at any time.
        begins = at + 5 if account["card_number"] is None else begins + 20 + int(draw() * 40)
    return sorted(listed, key=lambda each: each[:3])


def _recorded() -> Iterator[tuple[dict[str, Any], list[_Said]]]:
    """The conversations of ABCD; what an identifier of the scenario is in a text counts as planted."""
    for recorded in json.loads(gzip.decompress((_FOLDER / "abcd_sample.json.gz").read_bytes())):
        known = recorded["scenario"]["personal"]
        account = {"customer_name": known["customer_name"], "phone": known.get("phone"), "email": known.get("email"), "card_number": None}
        secrets = [("name", account["customer_name"]), ("phone", account["phone"]), ("email", account["email"])]
        yield account, [_Said("system" if speaker == "action" else speaker, text, tuple(
            (kind, text[at:at + len(value)]) for kind, value in secrets if value and (at := text.lower().find(value.lower())) >= 0))
            for speaker, text in recorded["original"]]


def _made(draw: Any) -> Iterator[tuple[dict[str, Any], list[_Said]]]:
    raw = gzip.decompress((_FOLDER / "banking77_test.csv.gz").read_bytes()).decode("utf-8")
    for query in csv.DictReader(io.StringIO(raw, newline="")):
        customer = person(draw)
        number = card(draw)
        secrets = {"name": _spoken(customer), "card": number, "phone": customer.phone if draw() < 0.7 else phone(draw), "email": customer.email}
        account = {"customer_name": customer.name, "phone": customer.phone, "email": customer.email,
                   "card_number": "".join(c for c in number if c.isdigit())}
        yield account, list(_conversation(query["text"].strip(), query["category"], secrets, draw))


def _spoken(customer: Person) -> str:
    """First name first."""
    return " ".join(reversed(customer.name.split(", ")))


def _conversation(question: str, intent: str, secrets: dict[str, str], draw: Any) -> Iterator[_Said]:
    """A greeting, the question (three in ten with an identifier in it), one or two identifiers asked for and told, a farewell."""
    def one(sentences: tuple[str, ...]) -> str:
        return sentences[int(draw() * len(sentences))]

    kinds = sorted(secrets, key=lambda _: draw())
    yield _Said("agent", one(_HELLO))
    if draw() < 0.3:
        kind = kinds.pop()
        yield _Said("customer", question + one(_BESIDE[kind]).format(secrets[kind]), ((kind, secrets[kind]),), intent)
    else:
        yield _Said("customer", question, (), intent)
    for kind in kinds[:1 + int(draw() * 2)]:
        yield _Said("agent", one(_ASKED[kind]))
        yield _Said("customer", one(_TOLD[kind]).format(secrets[kind]), ((kind, secrets[kind]),))
        if draw() < 0.4:
            yield _Said("system", _NOTED[kind].format(secrets[kind]), ((kind, secrets[kind]),))
    yield _Said("agent", one(_LAST))
    yield _Said("customer", one(_BYE))
