"""Tokens turned back by DLP (content.reidentify on tables), packed, retried and paced as the dlp engine's requests are.

Each column goes with a copy of its context under a name of its own, so that columns stay independent. A token that does
not open is left as it is by DLP (leaveUntransformed), which here is no danger: it was a token before. Where DLP answers
400 for the whole request instead, the stretch is halved down to it.
https://cloud.google.com/sensitive-data-protection/docs/reference/rest/v2/projects.content/reidentify
"""

import random
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from google.cloud.dlp_v2 import DlpServiceClient, types

from schemas.errors import Fault, Misconfigured, Reason, Transient
from schemas.rules import Rule
from transforms.engines import channel
from transforms.engines.asking import Asker, Rate
from transforms.engines.cells import must_change
from transforms.engines.combinations import Combinations, blank, combinations
from transforms.engines.dlp import DlpEngine
from transforms.engines.layout import ROW_ID, Group, Layout, unfit
from transforms.engines.packing import Answers, Packer
from transforms.engines.proof import Proof
from transforms.engines.quota import Caller, Governor, Spent
from transforms.engines.reversal import Reversal, Values, reversals
from transforms.operators.operator import Value
from transforms.operators.surrogate import unmark
from transforms.operators.values import text_of

_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?|[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=")


@dataclass(frozen=True)
class DlpReverser:
    """What starts it on a worker. engine: where DLP is, its quota and its backoff."""

    engine: DlpEngine
    columns: tuple[str, ...]

    def faults(self) -> list[Fault]:
        """Every column that cannot be turned back, and what keeps DLP from being asked."""
        return [*reversals(self.engine.contract, self.columns)[1], *self.engine.faults()]

    def start(self) -> "Reversing":
        return Reversing(self)


class Reversing:
    """DLP being asked; threads may share it. connect, clock, sleep, draw: for tests."""

    def __init__(self, config: DlpReverser, connect: Callable[[str], DlpServiceClient] = channel.connect,
                 clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep,
                 draw: Callable[[], float] = random.random) -> None:
        self.config = config
        self._connect, self._clock, self._sleep, self._draw = connect, clock, sleep, draw

    def setup(self) -> None:
        """Opens the channel. Raises Misconfigured."""
        c = self.config.engine
        self._reversals, _ = reversals(c.contract, self.config.columns)
        self._values = {r.field.name: Values(c.contract, r) for r in self._reversals}
        self._layout = _layout(self._reversals)
        self._no_token = _no_token(self._reversals, self._layout)
        prototype = _prototype(c, self._reversals)
        self._overhead = int(prototype.ByteSize()) + sum(len(name.encode()) + 8 for name in self._layout.header) + 16
        governor = Governor(c.requests_per_minute or (100 if ".rep." in c.endpoint else 600), c.workers, self._clock, self._sleep)
        caller = Caller(governor, c.backoff, self._clock, self._sleep, self._draw)
        self._rate = Rate()
        self._asker = Asker(_Client(self._connect(c.endpoint)), prototype, caller, self._layout, self._rate, c.calls_to_find)

    def reverse(self, batch: pa.RecordBatch) -> dict[str, pa.Array]:
        """By named column, the values behind its tokens. Raises Transient where DLP fails for too long."""
        for r in self._reversals:
            if r.context:
                batch = batch.append_column(_beside(r), batch[r.context])
        listed = combinations(batch, self._layout)
        answers = [Answers.none(c) for c in listed]
        for group, known, r in zip(listed, answers, self._reversals, strict=True):
            hopeless = self._no_token[r.field.name]
            for number, token in enumerate(group.cells[r.field.name].to_pylist()):
                if hopeless(token):
                    known.refused[number] = (Reason.NOT_DEIDENTIFIED, r.field.name)
        asked = [pc.indices_nonzero(pa.array([n not in known.refused for n in range(len(c))], pa.bool_())).to_numpy().astype("int64")
                 for c, known in zip(listed, answers, strict=True)]
        self._ask(Packer(listed, asked, answers, self._layout, self._overhead, self.config.engine.limits), _Opened(self._layout, listed, answers))
        return {r.field.name: self._values[r.field.name].of(_texts(batch[r.field.name], group, known))
                for r, group, known in zip(self._reversals, listed, answers, strict=True)}

    def _ask(self, packer: Packer, judge: Proof) -> None:
        stretches, start = [], 0
        while start < len(packer):
            end = packer.end(start, self._rate())
            stretches.append((start, end))
            start = end

        def settle(stretch: tuple[int, int]) -> Spent:
            try:
                return self._asker.settle(packer, judge, *stretch)
            except (Transient, Misconfigured):
                packer.abandoned = True  # the others need not be asked any more
                raise
        with ThreadPoolExecutor(self.config.engine.in_flight, "dlp") as pool:
            list(pool.map(settle, stretches))


class _Client:
    """The client as an Asker calls it, though what it asks is to be re-identified.

    The two requests, and the two answers, are alike but for their names. What the answer says of transformations that
    failed is left out: a token that did not open is told by its cell.
    """

    def __init__(self, client: DlpServiceClient) -> None:
        self._client = client

    def deidentify_content(self, request: types.DeidentifyContentRequest, retry: None, timeout: float) -> types.DeidentifyContentResponse:
        given, asked = types.DeidentifyContentRequest.pb(request), types.ReidentifyContentRequest.pb(types.ReidentifyContentRequest())
        asked.parent = given.parent
        asked.reidentify_config.CopyFrom(given.deidentify_config)
        asked.item.CopyFrom(given.item)
        found = self._client.reidentify_content(request=types.ReidentifyContentRequest.wrap(asked), retry=retry, timeout=timeout)
        answer = types.DeidentifyContentResponse.pb(types.DeidentifyContentResponse())
        answer.item.CopyFrom(types.ReidentifyContentResponse.pb(found).item)
        return types.DeidentifyContentResponse.wrap(answer)


class _Opened(Proof):
    """The judge of answers: what came back as it was, and should not have, is no token; the others stand."""

    def __init__(self, layout: Layout, listed: Sequence[Combinations], answers: Sequence[Answers]) -> None:
        super().__init__(layout, listed)
        self._changes = {name: must_change(rule.primitive) for rule in layout.rules for name in rule.fields if rule.primitive is not None}
        self._answers = answers

    def cell(self, group: int, name: str, combination: int, before: Value, after: Value | None) -> None:
        changes = self._changes[name]
        if after is None or (text_of(after) == text_of(before) and changes is not None and changes(text_of(before))):
            self._answers[group].refused[combination] = (Reason.NOT_DEIDENTIFIED, name)


def _beside(reversal: Reversal) -> str:
    """The name that a column's context goes under; no field of a contract starts with _."""
    return f"_beside_{reversal.field.name}"


def _prototype(engine: DlpEngine, found: Sequence[Reversal]) -> Any:
    """A raw request without a table, in the form that an Asker takes."""
    listed = []
    for r in found:
        primitive = types.PrimitiveTransformation(r.primitive)  # a copy
        if r.context:
            config = primitive.crypto_replace_ffx_fpe_config if r.is_fpe else primitive.crypto_deterministic_config
            config.context.name = _beside(r)
        listed.append({"fields": [{"name": r.field.name}], "primitive_transformation": primitive})
    config = types.DeidentifyConfig(record_transformations={"field_transformations": listed},
                                    transformation_error_handling={"leave_untransformed": {}})
    return types.DeidentifyContentRequest.pb(types.DeidentifyContentRequest(parent=engine.parent, deidentify_config=config))


def _layout(found: Sequence[Reversal]) -> Layout:
    """One group a column: its tokens, and its context."""
    groups = tuple(Group((r.field.name, *([_beside(r)] if r.context else [])), (r.field.name,), distinct=True, lasting=False) for r in found)
    none: frozenset[str] = frozenset()
    return Layout((ROW_ID, *(name for group in groups for name in group.columns)), groups,
                  tuple(Rule((r.field.name,), r.primitive, (), None, r.path) for r in found), none, none, none,
                  frozenset(_beside(r) for r in found if r.context), False, {r.field.name: pa.string() for r in found})


def _no_token(found: Sequence[Reversal], layout: Layout) -> dict[str, Callable[[str], bool]]:
    """By column, which texts cannot be tokens by their form; they are not sent."""
    foreign = unfit(layout)

    def check(surrogate: str, other: Callable[[str], bool]) -> Callable[[str], bool]:
        def hopeless(text: str) -> bool:
            token = unmark(text, surrogate)
            return token is None or other(token)
        return hopeless
    return {r.field.name: check(r.surrogate, foreign[r.field.name] if r.is_fpe else lambda token: not _BASE64.fullmatch(token)) for r in found}


def _texts(tokens: pa.Array, group: Combinations, known: Answers) -> pa.Array:
    """The text behind each row's token; null where there is none, and null or empty where the cell was."""
    (name,) = group.group.transformed
    cells = pa.array([None if n in known.refused or v is None else text_of(v) for n, v in enumerate(known.values[name])], pa.string())
    return pc.if_else(blank(tokens), tokens, cells.take(pa.array(group.of_row, mask=group.of_row < 0)))
