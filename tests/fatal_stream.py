"""The stream job with a model that kills its process on one row, or stalls as long as a file is there: python -m tests.fatal_stream

Its arguments: the id that kills ("" for none), a folder, then those of `penstock stream`. While the folder holds `hold`, a batch
leaves a file named by the process there, and waits.
"""

import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from apache_beam.ml.inference.base import ModelHandler

from pipelines import stream
from pipelines.flags import parse
from pipelines.options import StreamOptions
from pipelines.repeated_runs import Stream
from transforms.batch import RAW


class Fatal(ModelHandler[Any, Any, Any]):
    def __init__(self, field: str, value: str, folder: str) -> None:
        super().__init__()
        self.field, self.value, self.folder = field, value, folder

    def load_model(self) -> float:
        return 0.25

    def run_inference(self, batch: Sequence[Any], model: float, inference_args: Any = None) -> Iterable[float]:
        if any(row[RAW][self.field] == self.value for row in batch):
            os._exit(139)
        while Path(self.folder, "hold").exists():
            Path(self.folder, str(os.getpid())).touch()
            time.sleep(0.02)
        return [model] * len(batch)


if __name__ == "__main__":
    value, folder, *arguments = sys.argv[1:]
    options, beam = parse(StreamOptions, arguments, True)
    model = Fatal("play_id", value, folder)
    sys.exit(stream.run(options, beam, lambda options, contract, means, *rest: Stream(options, contract, means._replace(handler=model), *rest)))
