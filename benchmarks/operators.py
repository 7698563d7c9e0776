"""Values per second of each operator on one core: `python -m benchmarks.operators [--values=200000] [--runs=5]`.

Distinct values, as the engine gives them; the median of the runs, with the slowest and the fastest.
"""

import argparse
import random
import statistics
import time
from collections.abc import Sequence
from datetime import date, datetime, timedelta, timezone

from transforms.operators.bucket import Bucket, Buckets, FixedBuckets
from transforms.operators.dictionary import Dictionary
from transforms.operators.fpe import COMMON, Fpe
from transforms.operators.hash import Hash
from transforms.operators.infotype import InfoTypeName
from transforms.operators.mask import Mask
from transforms.operators.operator import Operator, Value
from transforms.operators.redact import Redact
from transforms.operators.replace import Replace
from transforms.operators.shift import Shift
from transforms.operators.time_part import TimePart
from transforms.operators.token import Token

KEY = bytes(range(32))


def cases(count: int) -> list[tuple[str, Operator, Sequence[Value], Sequence[str] | None]]:
    """(name, operator, values, contexts) of each measurement."""
    draw = random.Random(7)
    numbers = [f"{n:09}" for n in draw.sample(range(10**9), count)]
    cards = [f"{draw.randrange(10**16):016}" for _ in range(count)]
    mixed = ["".join(draw.choices(COMMON["ALPHA_NUMERIC"], k=draw.randint(6, 20))) for _ in range(count)]
    dashed = [f"{n[:3]}-{n[3:5]}-{n[5:]}" for n in numbers]
    mails = [f"person.{n}@example.com" for n in numbers]
    days: list[Value] = [date(1950, 1, 1) + timedelta(days=draw.randrange(27_000)) for _ in range(count)]
    stamps = [(datetime(1990, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=draw.randrange(10**9))).isoformat() for _ in range(count)]
    users = [f"user {draw.randrange(count // 4 + 1)}" for _ in range(count)]
    ages: list[Value] = [draw.randrange(100) for _ in range(count)]
    return [
        ("fpe, 9 digits", Fpe(COMMON["NUMERIC"], KEY), numbers, None),
        ("fpe, 9 digits, context", Fpe(COMMON["NUMERIC"], KEY), numbers, users),
        ("fpe, 16 digits", Fpe(COMMON["NUMERIC"], KEY), cards, None),
        ("fpe, 6 to 20 of 0-9A-Za-z", Fpe(COMMON["ALPHA_NUMERIC"], KEY), mixed, None),
        ("fpe, 40 digits (integer path)", Fpe(COMMON["NUMERIC"], KEY), [c + c + c[:8] for c in cards[: count // 20]], None),
        ("token", Token(KEY), mails, None),
        ("token, context", Token(KEY), mails, users),
        ("token, surrogate", Token(KEY, "TOKEN"), mails, None),
        ("hash", Hash(KEY), mails, None),
        ("mask, all", Mask(), dashed, None),
        ("mask, all but 4, '-' ignored", Mask("*", -4, False, "-"), dashed, None),
        ("fixed buckets", FixedBuckets(10, 90, 10), ages, None),
        ("buckets", Buckets((Bucket(0, 18, "young"), Bucket(18, 65, "adult"), Bucket(65, None, "old"))), ages, None),
        ("shift, dates by context", Shift(-30, 30, KEY), days, users),
        ("shift, text, no key", Shift(-30, 30), stamps, None),
        ("time part of dates", TimePart("YEAR"), days, None),
        ("time part of text", TimePart("HOUR_OF_DAY"), stamps, None),
        ("dictionary, keyed", Dictionary(("anna", "bert", "carl"), KEY), mails, None),
        ("replace", Replace("x"), mails, None),
        ("redact", Redact(), mails, None),
        ("infoType", InfoTypeName(), mails, None),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--values", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    print(f"{'operator':<32} {'median/s':>12} {'slowest':>12} {'fastest':>12}")
    for name, operator, values, contexts in cases(options.values):
        directions = [(name, lambda o=operator, v=values, c=contexts: o(v, c, "EMAIL_ADDRESS"))]
        if operator.reversible:
            tokens = operator(values, contexts)
            directions.append((f"{name}, reverse", lambda o=operator, t=tokens, c=contexts: o.reverse(t, c)))
        for title, run in directions:
            speeds = []
            for _ in range(options.runs):
                began = time.perf_counter()
                answers = run()
                speeds.append(len(values) / (time.perf_counter() - began))
            if None in answers:
                raise SystemExit(f"{title}: refused a value")
            print(f"{title:<32} {statistics.median(speeds):>12,.0f} {min(speeds):>12,.0f} {max(speeds):>12,.0f}")


if __name__ == "__main__":
    main()
