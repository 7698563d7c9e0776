"""Values in clear from a worker's memory into pending streams of BigQuery's Storage Write API, which nobody can read until they are committed."""

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue
from google.api_core import exceptions
from google.api_core.retry import Retry
from google.cloud.bigquery_storage_v1 import BigQueryWriteClient, types

from pipelines.sinks.bigquery_client import Patience, passes
from pipelines.sinks.bigquery_jobs import Failed
from pipelines.sinks.bigquery_sending import asked
from pipelines.sinks.bigquery_write import Pending, RowsRejected, connect
from pipelines.sinks.restricted import Part
from pipelines.sources.verdict import VERDICT
from schemas.errors import Transient

_SECONDS = 120.0  # that a table may be made and yet unknown to the Storage Write API


class WriteStreams(beam.PTransform):
    """Each bundle's batches to a pending stream of its own; answers its Part. Of a bundle that is tried again only the stream of the try
    that ended well is told, so no other is ever committed. path: of the table, as the API names it; endpoint: of the API.
    """

    def __init__(self, path: str, endpoint: str, patience: Patience) -> None:
        super().__init__()
        self.path, self.endpoint, self.patience = path, endpoint, patience

    def expand(self, batches: beam.PCollection[pa.RecordBatch]) -> beam.PCollection[Part]:
        return batches | "ToStream" >> beam.ParDo(_StreamFn(self.path, self.endpoint, self.patience)).with_output_types(Part)


class _StreamFn(beam.DoFn):
    def __init__(self, path: str, endpoint: str, patience: Patience) -> None:
        self.path, self.endpoint, self.patience = path, endpoint, patience

    def setup(self) -> None:
        self.client = connect(self.endpoint)

    def start_bundle(self) -> None:
        self.stream: Pending | None = None

    def process(self, batch: pa.RecordBatch) -> None:
        if not batch.num_rows:
            return
        try:
            if self.stream is None:
                _await(self.client, self.path, self.patience)
                self.stream = Pending(self.client, self.path, batch.schema, self.patience)
            self.stream.append(batch)
        except RowsRejected as error:
            VERDICT.tell(str(error))
            raise Failed(str(error)) from None  # Beam makes an error anew of its text
        except (Failed, Transient) as error:
            VERDICT.tell(str(error))
            raise

    def finish_bundle(self) -> Iterator[WindowedValue]:
        if self.stream is not None:
            try:
                rows = self.stream.finish()
            except (Failed, Transient) as error:
                VERDICT.tell(str(error))
                raise
            yield GlobalWindows.windowed_value(Part(self.stream.name, rows))


def _await(client: BigQueryWriteClient, path: str, patience: Patience) -> None:
    """Waits until the API knows a table that was just made (https://github.com/googleapis/google-cloud-go/issues/12449). Raises Failed or Transient."""
    request = types.GetWriteStreamRequest(name=f"{path}/streams/_default")
    again: Any = Retry(predicate=lambda error: isinstance(error, exceptions.NotFound) or passes(error), initial=patience.first, maximum=10.0,
                       multiplier=2.0, timeout=min(_SECONDS, patience.seconds))

    def known() -> None:
        try:
            again(client.get_write_stream)(request, retry=None, timeout=patience.answer)
        except exceptions.RetryError as error:
            raise error.cause or error from None

    asked(known, path, patience)
