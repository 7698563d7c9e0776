"""The last step of a graph: all that was loaded and tallied goes to one call, which commits the run."""

from collections.abc import Callable, Iterable
from typing import Any

import apache_beam as beam
from apache_beam.typehints.decorators import no_annotations

from transforms.ledger import LedgerRow


class Once(beam.PTransform):
    """Gathers the outcome of a run, even where there is none, and answers the LedgerRow that commit makes of it.

    commit: can be pickled; it is called again where its bundle is tried again.
    """

    def __init__(self, commit: Callable[[list[Any]], LedgerRow], step: str) -> None:
        super().__init__()
        self._commit, self._step = commit, step

    @no_annotations  # Beam cannot read those of several collections
    def expand(self, outcome: tuple[beam.PCollection[Any], ...]) -> beam.PCollection[LedgerRow]:
        gathered = outcome | "Gather" >> beam.Flatten()
        return (gathered.pipeline | "Once" >> beam.Impulse()
                | self._step >> beam.ParDo(_OnceFn(self._commit), beam.pvalue.AsList(gathered)).with_output_types(LedgerRow))


class _OnceFn(beam.DoFn):
    def __init__(self, commit: Callable[[list[Any]], LedgerRow]) -> None:
        self.commit = commit

    def process(self, _: bytes, outcome: list[Any]) -> Iterable[LedgerRow]:
        yield self.commit(outcome)
