"""Inspector: a DLP InspectConfig applied offline, to one text or to a column."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import re2
from google.cloud.dlp_v2.types import InspectConfig

from transforms.detectors.config import Plan, read
from transforms.detectors.finder import Search, searcher
from transforms.detectors.info_type import Finding, Hit, Likelihood, Strength
from transforms.detectors.overlaps import resolve
from transforms.detectors.rules import Others
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
        # A template's own patterns stand alone: their group names may clash
        built_in, own = plan.finders[: plan.built_in], plan.finders[plan.built_in :]
        self._screens = [*_either(f.screen for f in built_in), *(f.screen for f in own)]
        self._screening = [searcher(re2.compile(r, _roomy())) for r in self._screens]
        self._near = [
            searcher(re2.compile(r, _roomy())) for r in (*_either(f.regex for f in built_in), *(f.regex for f in own))
        ]
        self._which = re2.Set.SearchSet(_roomy())
        for finder in plan.finders:
            self._which.Add(finder.regex)
        self._which.Compile()

    def __reduce__(self) -> tuple[Any, ...]:
        return Inspector.from_config, (self._config, self._tagger)

    @classmethod
    def from_config(cls, config: InspectConfig, tagger: Tagger | None = None) -> "Inspector":
        """Raises Misconfigured with every fault of the config: what is wrong in it and what has no offline form."""
        return cls(read(config), config, tagger)

    def find(self, text: str) -> list[Finding]:
        """Findings by their start, without overlaps, of at least the config's likelihood. Never raises."""
        if self._tagger and self._tagged:
            return self._findings(Text(text), self._tagger.find([text])[0])
        value = Text(text)
        return self._findings(value, ()) if _matches(self._screening, value) else []

    def find_column(self, values: pa.StringArray) -> list[tuple[int, list[Finding]]]:
        """(row, its findings) for the rows that have some, by row. Nulls have none.

        Arrow's RE2 screens the column; Python sees only the rows that may hold something, or all of them when there is
        a tagger to ask.
        """
        rows, texts = _taken(values, values.is_valid() if self._tagged else self._screened(values))
        tagged: Sequence[Sequence[Tagged]] = (
            self._tagger.find(texts) if self._tagger and self._tagged else [()] * len(texts)
        )
        found = ((row, self._findings(Text(text), spans)) for row, text, spans in zip(rows, texts, tagged, strict=True))
        return [(row, findings) for row, findings in found if findings]

    def whole(self, values: pa.StringArray) -> pa.BooleanArray:
        """True where the value, without spaces at its ends, is one finding that is at least LIKELY. False for null.

        The tagger has no vote here: an id is no prose.
        """
        trimmed = pc.utf8_trim_whitespace(values)
        rows, texts = _taken(trimmed, self._screened(trimmed))
        hits = [row for row, text in zip(rows, texts, strict=True) if self._is_one(text)]
        return pc.is_in(pa.array(range(len(values)), pa.int64()), value_set=pa.array(hits, pa.int64()))

    def _is_one(self, value: str) -> bool:
        text = Text(value)
        hits = self._ruled(list(self._hits(text)), text, Likelihood.LIKELY)
        return any(h.start == 0 and h.end == len(value) for h in hits)

    def _screened(self, values: pa.StringArray) -> pa.BooleanArray:
        mask: Any = pc.match_substring_regex(values, self._screens[0])
        for screen in self._screens[1:]:
            mask = pc.or_(mask, pc.match_substring_regex(values, screen))
        filled: pa.BooleanArray = pc.fill_null(mask, False)
        return filled

    def _findings(self, text: Text, tagged: Sequence[Tagged]) -> list[Finding]:
        hits = list(self._hits(text))
        hits += [
            Hit(s.start, s.end, s.info_type, _likelihood(s.score), Strength.LOOSE)
            for s in tagged
            if s.info_type in self._tagged
        ]
        return resolve(self._ruled(hits, text), text.text) if hits else []

    def _hits(self, text: Text) -> Iterator[Hit]:
        which: Sequence[int] = self._which.Match(text.data) or ()
        # A Set whose automaton outgrows its memory answers "nothing" without a word; then every finder looks
        if not which and _matches(self._near, text):
            which = range(len(self._plan.finders))
        for index in which:
            yield from self._plan.finders[index].find(text)

    def _ruled(self, hits: list[Hit], text: Text, least: Likelihood | None = None) -> list[Hit]:
        plan = self._plan
        if plan.hotwords:
            for position, hit in enumerate(hits):
                for rule in plan.hotwords.get(hit.info_type, ()):
                    hit = rule.adjust(hit, text)
                hits[position] = hit
        hits = [h for h in hits if h.likelihood >= (least or plan.least.get(h.info_type, plan.least_of_all))]
        if plan.exclusions:
            others = Others(hits)
            hits = [h for h in hits if not any(e.drops(h, text, others) for e in plan.exclusions.get(h.info_type, ()))]
        return [h for h in hits if h.info_type not in plan.hidden] if plan.hidden else hits


def _taken(values: pa.StringArray, mask: pa.BooleanArray) -> tuple[list[int], list[str]]:
    """The rows that the mask marks, and their values."""
    rows: Any = pc.indices_nonzero(mask)
    texts: Any = values.take(rows).to_pylist()
    return rows.to_pylist(), texts


def _matches(searches: Sequence[Search], text: Text) -> bool:
    return any(search(text.data, 0, len(text.data)) for search in searches)


def _either(regexes: Iterable[str]) -> list[str]:
    """One pattern for all of them, in a list; an empty list for none."""
    distinct = dict.fromkeys(regexes)
    return ["|".join(f"(?:{r})" for r in distinct)] if distinct else []


def _roomy() -> re2.Options:
    options = re2.Options()
    options.max_mem = 64 << 20
    options.log_errors = False
    return options


def _likelihood(score: float) -> Likelihood:
    return next((likelihood for least, likelihood in _SCORES if score >= least), Likelihood.VERY_UNLIKELY)
