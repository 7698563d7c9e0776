"""What a sink answers that may reject a row."""

from typing import NamedTuple

import apache_beam as beam
import pyarrow as pa

from transforms.ledger import Tally


class Loaded(NamedTuple):
    """What became of rows: tallies of those that are stored, and REFUSED batches of those that the table rejected."""

    tally: beam.PCollection[Tally]
    refused: beam.PCollection[pa.RecordBatch]
