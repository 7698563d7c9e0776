"""Where the replay graph for Dataflow is run whole on one machine: keys, private key, tables and staging out of services, no folder shared."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import apache_beam as beam

from pipelines import graph, replay_graph
from pipelines.flags import parse
from pipelines.hand import Hand, LayDown, Run
from pipelines.keyfolder import keys_of_tables
from pipelines.options import ReplayOptions
from pipelines.replay_choice import choice, contract_for
from pipelines.secret_keys import payload
from pipelines.sinks.bigquery_client import Patience
from pipelines.sinks.bigquery_replaying import Replaying
from pipelines.sinks.bigquery_replays import DatasetTables
from pipelines.starting import Faults, means_of
from tests import kms_server, secret_server
from tests.bigquery_server import BigQuery
from tests.gcs_server import Storage
from tests.replaying import worlds
from tests.test_replay_bigquery import OUT, QUICK, fill
from transforms import keys


@dataclass
class Ground:
    """made: as tests.replaying.worlds has it; kms: None where the private key is a file; options: of a replay by the newer contract."""

    made: dict[str, Path]
    storage: Storage
    bigquery: BigQuery
    kms: kms_server.Service | None
    options: ReplayOptions

    def built(self, pipeline: beam.Pipeline, outcome: beam.PTransform | None = None, patience: Patience = QUICK, at: Callable[[str], None] | None = None,
              **more: Any) -> Replaying:
        """Adds the graph to a pipeline, as a job of Dataflow's is built; outcome: in place of the commit."""
        options = replace(self.options, **more)
        tables = DatasetTables.of(options.failures, options.bigquery_endpoint, patience)
        contract = contract_for(options, tables.owner())
        means = means_of(options, contract, Faults(), lambda: keys_of_tables(options.keys, True, options.secrets_endpoint))
        assert means is not None
        chosen = replace(choice(options), settled="" if options.again else f"{contract.name} {contract.version}", crashes=False)
        replaying = replace(replay_graph.replaying_of(options, contract, means, tables.location), patience=patience, **({"at": at} if at else {}))
        tables.close()
        parts = replay_graph.parts(options, means, replaying, chosen, 2)
        graph.build(pipeline, replace(parts, outcome=outcome) if outcome else parts)
        return replaying

    def run(self, **more: Any) -> str:
        """Runs a replay; answers its run."""
        pipeline = beam.Pipeline("FnApiRunner")
        replaying = self.built(pipeline, **more)
        pipeline.run().wait_until_finish()
        return replaying.run

    def worked(self, **more: Any) -> tuple[Replaying, list[Any]]:
        """A replay whose workers are done, but for the last step; and what goes into that."""
        hand, pipeline = Hand(), beam.Pipeline("FnApiRunner")
        hand.take(run := Run("", None, None, None, None))  # type: ignore[arg-type]
        replaying = self.built(pipeline, LayDown(hand), **more)
        pipeline.run().wait_until_finish()
        hand.empty()
        return replaying, run.outcome

    def ask(self, sql: str) -> list[dict[str, Any]]:
        return self.bigquery.ask(sql)


Services = tuple[kms_server.Service, str, str]


@contextmanager
def services(key_folder: Path) -> Iterator[Services]:
    """Cloud KMS with the private key, its host, and the host of Secret Manager with the other half."""
    with ExitStack() as stack:
        kms = kms_server.Service((key_folder / keys.PRIVATE).read_bytes())
        server, host = kms_server.serve(kms)
        stack.callback(server.stop, 0)
        secrets, address = secret_server.serve(secret_server.Service(payload(key_folder)))
        stack.callback(secrets.stop, 0)
        yield kms, host, address


@contextmanager
def grounds(key_folder: Path, there: Services, folder: Path) -> Iterator[Ground]:
    """A dataset that holds what the lake of the older contract holds."""
    made, (kms, host, address) = worlds(key_folder), there
    with Storage(folder / "gcs", "load") as storage, BigQuery("project", gcs=str(folder / "gcs")) as bigquery:
        fill(bigquery, made["old"])
        options, _ = parse(ReplayOptions, [f"--failures={OUT}", f"--private_key={kms_server.VERSION}", f"--kms_endpoint={host}", f"--contract={made['next']}",
                                           f"--keys={secret_server.VERSION}", f"--secrets_endpoint={address}", f"--bigquery_endpoint={bigquery.url}",
                                           "--staging=gs://load/here", f"--storage_endpoint={storage.url}"])
        yield Ground(made, storage, bigquery, kms, options)
