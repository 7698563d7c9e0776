"""penstock publish: events of a shipped contract as messages on a Pub/Sub topic, and the books that must come out of them.

What is published, and in what order, is a pure function of the options (but of --now, the times): sequence. A message is one event as JSON.
The books count what Pub/Sub confirmed; Ctrl-C and SIGTERM end the publishing, and they tell of what was published till then.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path

from pipelines.progress import Watch
from pipelines.sources.pubsub_channel import await_ready, publisher, subscriber
from pipelines.stopping import stopping
from pipelines.tools.options import PublishOptions
from pipelines.tools.sequence import MICROSECOND, Line, Mix, Stream, day, live, sequence, stream_of, unknown, written
from pipelines.tools.topic import Topic, requests
from pipelines.tools.truth import STORED, Truth, truth
from schemas import contract as contracts
from schemas.contract import Contract
from schemas.errors import Fault, Misconfigured, Transient
from transforms.fates import PROGRESS

PUBLISHED = "published"
_DAY = timedelta(days=1) // MICROSECOND


@dataclass(frozen=True)
class Published(Truth):
    """The books of what was published, where `read` counts messages and `rows` the events asked for.

    held_back: events, stored ones, that were published when their windows were closed; first_event, last_event: times of the
    stored ones, RFC 3339, "" where there are none.
    """

    held_back: int
    first_event: str
    last_event: str


def run(options: PublishOptions) -> int:
    """Publishes, writes the books and prints them. Raises Misconfigured, with every fault, where it cannot run."""
    contract = checked(options)
    client = publisher(options.pubsub_endpoint)
    await_ready(client)
    topic = Topic(client, options.topic, contract.time)
    if options.create:
        topic.create()
        if options.subscription:
            topic.subscribe(subscriber(options.pubsub_endpoint), options.subscription)
    file = Path(options.truth)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    try:
        with stopping() as stop, Watch(counted=PUBLISHED):
            books = published(topic.publish(requests(lines(options, contract), options.rate, stop)), options, contract)
    except Transient as error:
        print(f"penstock publish failed: {error}; what was published till then counts in no books", file=sys.stderr)
        return 1
    file.write_text(json.dumps(asdict(books), indent=2) + "\n", "utf-8")
    print(f"{books.read:,} messages to {options.topic}; {options.truth}: {books.sentence()}"
          f"{f'; {books.held_back:,} held back' if books.held_back else ''}")
    if options.json:
        print(json.dumps(asdict(books)))
    return 0


def checked(options: PublishOptions) -> Contract:
    """The contract. Raises Misconfigured with what is wrong with the options."""
    faults = unknown(options.contract)
    if options.repeats + options.conflicts + options.malformed > 1:
        faults.append(Fault("--repeats, --conflicts, --malformed", "are more than 1 together", "an event has one of them at most: give smaller shares"))
    if options.now and not options.rate:
        faults.append(Fault("--now", "needs a rate", "give --rate=N, messages a second"))
    if options.subscription and not options.create:
        faults.append(Fault("--subscription", "is for --create alone: messages go to the topic", "give --create too, or leave it out"))
    if faults:
        raise Misconfigured(faults)
    return contracts.load(options.contract)


def lines(options: PublishOptions, contract: Contract, clock: Callable[[], float] = time.time) -> Iterable[Line]:
    """What is to be published, in its order. clock: seconds since 1970, for --now."""
    mix = Mix(options.repeats, options.conflicts, options.malformed, disorder=options.disorder, late=options.late, hold=hold(contract, options.disorder))
    return sequence(_stream(options, contract, mix, clock), contract, mix, options.seed)


def hold(contract: Contract, disorder: timedelta) -> timedelta:
    """How far event time must have gone on, at least, when an event that was held back is published: twice what closes its last window."""
    closed = contract.disorder
    if contract.windows:
        closed += max(contract.windows.size, contract.windows.gap) + contract.windows.lateness
    return disorder + 2 * closed


def _stream(options: PublishOptions, contract: Contract, mix: Mix, clock: Callable[[], float]) -> Stream:
    stream = stream_of(options.contract, options.rows, options.seed)
    if not options.now:
        return stream
    # An event comes up to `disorder` before those of its own time, and all the messages share the rate.
    start = int(clock() * 1_000_000) - options.disorder // MICROSECOND
    return live(stream, contract.time, start, 1_000_000 * (1 + mix.repeats + mix.conflicts + mix.broken) / options.rate)


def published(confirmed: Iterable[list[Line]], options: PublishOptions, contract: Contract) -> Published:
    """The books of the messages that were confirmed."""
    fates: Counter[str] = Counter()
    days: Counter[date] = Counter()
    held, first, last = 0, sys.maxsize, 0
    for sent in confirmed:
        PROGRESS.add(PUBLISHED, len(sent))
        fates.update(line.fate for line in sent)
        held += sum(line.held for line in sent)
        times = [line.sample.time for line in sent if line.fate == STORED]
        first, last = min([first, *times]), max([last, *times])
        for number, rows in Counter(at // _DAY for at in times).items():
            days[day(number * _DAY)] += rows
    books = truth(fates, days, options.rows, options.seed, contract)
    return Published(**asdict(books), held_back=held, first_event=written(first) if days else "", last_event=written(last) if days else "")
