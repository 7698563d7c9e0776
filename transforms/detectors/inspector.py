"""Inspector: a DLP InspectConfig applied offline, to one text or to a column."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
from google.cloud.dlp_v2.types import InspectConfig

from transforms.detectors.config import Plan, read
from transforms.detectors.finder import compile_regex, searcher
from transforms.detectors.info_type import Finding, Hit, Likelihood, Strength
from transforms.detectors.overlaps import resolve
from transforms.detectors.rules import Others
from transforms.detectors.sieve import LARGE, Group, groups, merged, shares, sifted
from transforms.detectors.text import Text

__all__ = ["Finding", "Inspector", "Likelihood", "Tagger"]

# Probability of a tagger's span, and the likelihood that it counts as
_SCORES = (
    (0.9, Likelihood.VERY_LIKELY),
    (0.7, Likelihood.LIKELY),
    (0.4, Likelihood.POSSIBLE),
    (0.2, Likelihood.UNLIKELY),
)


class Tagged(Protocol):
    """A span of a tagger: offsets in code points, score the probability (0 to 1) that it is a finding at all."""

    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def info_type(self) -> str: ...
    @property
    def score(self) -> float: ...


class Tagger(Protocol):
    """A second voter: one list of spans a text. They count beside the hits of the patterns (overlaps.py unites them)."""

    def find(self, texts: Sequence[str]) -> Sequence[Sequence[Tagged]]: ...


class Inspector:
    """Finds what an InspectConfig asks for. Build it with from_config; it pickles as the config that it was built from.

    Findings limits of the config are read and not obeyed: offline nothing is truncated.
    """

    def __init__(self, plan: Plan, config: InspectConfig, tagger: Tagger | None = None) -> None:
        self._plan = plan
        self._config = config
        wanted = {f.name for f in plan.finders}
        self._tagger = tagger
        self._tagged = (
            wanted & {"PERSON_NAME", "STREET_ADDRESS", "LOCATION", "ORGANIZATION_NAME", "DATE", "AGE"}
            if tagger
            else set()
        )
        # whole() asks for LIKELY hits, whatever the config asks for
        finders = [f for f in plan.finders if f.at_most >= min(self._least(f.name), Likelihood.LIKELY)]
        self._all = Group(finders)
        self._groups = groups(finders, self._least)
        self._screens = merged(finders, lambda f: f.screen)
        self._screening = [searcher(compile_regex(r)) for r in self._screens]
        # Around a value that is one hit there is nothing, so no hotword; a template's own may lie in the hit itself
        sure = [f for f in finders if f.likelihood >= Likelihood.LIKELY or f.name in plan.hotwords]
        self._whole_screens, self._wholes = merged(sure, lambda f: f.screen), merged(sure, lambda f: f.whole)

    def _least(self, name: str) -> Likelihood:
        """What a hit must reach before the template's rules: nothing where they may raise it."""
        return Likelihood.VERY_UNLIKELY if name in self._plan.hotwords else self._required(name)

    def _required(self, name: str) -> Likelihood:
        return self._plan.least.get(name, self._plan.least_of_all)

    def __reduce__(self) -> tuple[Any, ...]:
        return Inspector.from_config, (self._config, self._tagger)

    @classmethod
    def from_config(cls, config: InspectConfig, tagger: Tagger | None = None) -> "Inspector":
        """Raises Misconfigured with every fault of the config: what is wrong in it and what has no offline form."""
        return cls(read(config), config, tagger)

    def find(self, text: str) -> list[Finding]:
        """Findings by their start, without overlaps, of at least the config's likelihood. Never raises."""
        value = Text(text)
        votes = self._votes(self._tagger.find([text])[0]) if self._tagger and self._tagged else []
        if not votes and not any(search(value.data, 0, len(value.data)) for search in self._screening):
            return []
        return self._findings(value, self._hits(value) + votes)

    def _hits(self, text: Text) -> list[Hit]:
        return [hit for _, found in self._all.hits([text]) for hit in found]

    def find_column(self, values: pa.StringArray) -> list[tuple[int, list[Finding]]]:
        """(row, its findings) for the rows that have some, by row. Nulls have none.

        Arrow's RE2 screens the column (sieve.py); Python sees only the rows that may hold something, or all of them when
        there is a tagger to ask.
        """
        texts: dict[int, Text] = {}
        hits: dict[int, list[Hit]] = {}
        # Group by group, not row by row: an automaton that stays in the processor's cache runs twice as fast
        large = len(values) >= LARGE
        for group, rows in shares(values, self._groups) if large else [(self._all, _any(values, self._screens))]:
            for row, text in _new(values, [row for row in rows if row not in texts]):
                texts[row] = text
            for at, found in group.hits([texts[row] for row in rows]):
                hits.setdefault(rows[at], []).extend(found)
        if self._tagger and self._tagged:
            for row, text in _new(values, [r for r in pc.indices_nonzero(values.is_valid()).to_pylist() if r not in texts]):
                texts[row] = text
            for row, spans in zip(texts, self._tagger.find([t.text for t in texts.values()]), strict=True):
                hits.setdefault(row, []).extend(self._votes(spans))
        answers = ((row, self._findings(texts[row], hits[row])) for row in sorted(hits))
        return [(row, findings) for row, findings in answers if findings]

    def whole(self, values: pa.StringArray) -> pa.BooleanArray:
        """True where the value, without spaces at its ends, is one finding that is at least LIKELY. False for null.

        The tagger has no vote here: an id is no prose.
        """
        trimmed = pc.utf8_trim_whitespace(values)
        rows = _any(trimmed, self._wholes if len(values) >= LARGE else self._whole_screens)
        texts = trimmed.take(pa.array(rows, pa.int64())).to_pylist()
        hits = [row for row, text in zip(rows, texts, strict=True) if self._is_one(Text(text))]
        return pc.is_in(pa.array(range(len(values)), pa.int64()), value_set=pa.array(hits, pa.int64()))

    def _is_one(self, text: Text) -> bool:
        hits = self._ruled(self._hits(text), text, Likelihood.LIKELY)
        return any(h.start == 0 and h.end == len(text.text) for h in hits)

    def _votes(self, tagged: Sequence[Tagged]) -> list[Hit]:
        return [
            Hit(s.start, s.end, s.info_type, _likelihood(s.score), Strength.TAGGED)
            for s in tagged
            if s.info_type in self._tagged
        ]

    def _findings(self, text: Text, hits: list[Hit]) -> list[Finding]:
        return resolve(self._ruled(hits, text), text.text) if hits else []

    def _ruled(self, hits: list[Hit], text: Text, least: Likelihood | None = None) -> list[Hit]:
        plan = self._plan
        if plan.hotwords:
            for position, hit in enumerate(hits):
                for rule in plan.hotwords.get(hit.info_type, ()):
                    hit = rule.adjust(hit, text)
                hits[position] = hit
        hits = [h for h in hits if h.likelihood >= (least or self._required(h.info_type))]
        if plan.exclusions:
            others = Others(hits)
            hits = [h for h in hits if not any(e.drops(h, text, others) for e in plan.exclusions.get(h.info_type, ()))]
        return [h for h in hits if h.info_type not in plan.hidden] if plan.hidden else hits


def _any(values: pa.StringArray, sifts: Sequence[str]) -> list[int]:
    """The rows in which one of these patterns finds something."""
    return sorted({row for sift in sifts for row in sifted(values, [sift])})


def _new(values: pa.StringArray, rows: list[int]) -> Iterator[tuple[int, Text]]:
    return zip(rows, map(Text, values.take(pa.array(rows, pa.int64())).to_pylist()), strict=True)


def _likelihood(score: float) -> Likelihood:
    return next((likelihood for least, likelihood in _SCORES if score >= least), Likelihood.VERY_UNLIKELY)
