"""The batch job, its graph run by workers elsewhere: Beam's portable runner here, its one worker in the image. Asked for by image_run."""

import shutil
from datetime import datetime, timezone
from pathlib import Path

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines import graph
from pipelines.keyfolder import open_keys
from pipelines.options import BatchOptions
from pipelines.sinks.lake import Lake
from pipelines.sources.files import ReadFiles
from pipelines.sources.listing import listed
from pipelines.starting import Faults, means_of
from schemas.contract import load
from transforms.decode import Decode
from transforms.deduplicate import Deduplicate
from transforms.ledger import LedgerRow
from transforms.park import Park


def run(folder: Path, census: Path, address: str) -> LedgerRow:
    """Runs census over folder/events into folder/tables on the worker pool at address; answers the ledger row.

    The contract lies in folder: a model is found by its path, which must be the same here and in the image. (A launcher runs in the image itself.)
    """
    shutil.copytree(census, folder / "census")
    options = BatchOptions(contract=str(folder / "census"), input=str(folder / "events" / "*.ndjson"), output=str(folder / "tables"), keys=str(folder / "keys"))
    contract, files = load(options.contract), listed(options.input)
    means = means_of(options, contract, Faults(), lambda: open_keys(options.keys, make=True))
    assert means
    keys, engine, handler = means
    with Lake.writer(options.output, contract, "run", (), alone=True) as lake:
        pipeline = beam.Pipeline(options=PipelineOptions(["--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=EXTERNAL",
                                                          f"--environment_config={address}", "--no_save_main_session"]))
        graph.build(pipeline, graph.Parts(
            contract=contract, read=ReadFiles(files, contract.max_row_bytes), decode=Decode(contract, keys),
            deduplicate=Deduplicate(contract, Park(lake.parked), lake.stored(()), 1), engine=engine, handler=handler, public_pem=keys.public_pem(),
            run="run", events=lake.write_events(), failures=lake.write_failures(), outcome=lake.commit("batch", (), datetime.now(timezone.utc), "local")))
        pipeline.run().wait_until_finish()
        return lake.ledger("run")
