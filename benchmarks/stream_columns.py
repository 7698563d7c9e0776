"""(c) The same columns without Beam: the stages' functions on the batch of a run, the same files, the same commit."""

from collections.abc import Callable
from datetime import datetime, timezone

import numpy as np
import pyarrow as pa

from benchmarks.stream_job import looped
from pipelines.sinks.lake_files import _WriteFn
from pipelines.sinks.lake_stream import Finished, StreamLake
from pipelines.sources.pubsub import Received
from schemas.contract import Contract
from schemas.tables import FAILURES
from transforms.batch import WATERMARK, with_column
from transforms.columns import Typing
from transforms.decode import Digest, decode
from transforms.deduplicate import deduplicate, marks_of, parted
from transforms.deidentify import deidentify
from transforms.engines.local import LocalEngine
from transforms.formats.block import Block
from transforms.formats.messages import front
from transforms.infer import infer, scorer_of, stamp
from transforms.keys import Keys
from transforms.ledger import Tally
from transforms.onnx import OnnxHandler
from transforms.seal import seal
from transforms.seen import Seen


def make(contract: Contract, keys: Keys, lake: StreamLake, subscription: str) -> Callable[[str, int, list[Received]], tuple[Finished, Callable[[], None]]]:
    """The work of a run."""
    typing, digest, pem, fore = Typing(contract), Digest(contract, keys.derive("row digests")), keys.public_pem(), front(contract)
    engine = LocalEngine(contract, keys).start()
    engine.setup()
    assert contract.model
    handler = OnnxHandler(contract.model)
    scorer = scorer_of(handler, handler.load_model(), contract.model)
    seen = Seen(lake.marks, lake.days(), contract.horizon)

    def work(run: str, number: int, received: list[Received]) -> tuple[Finished, Callable[[], None]]:
        started = datetime.now(timezone.utc)
        events = _WriteFn(str(lake.folder), run, "events", lake.columns, 32 << 20)
        failures = _WriteFn(str(lake.folder), run, "failures", FAILURES, 32 << 20)
        for writer in (events, failures):
            writer.setup()
            writer.start_bundle()
        messages = tuple(message for _, message in received)
        block = Block(subscription, "messages", number, 0, len(messages), b"", messages=messages)
        batch, refused = decode(block, contract, typing, digest, front=fore)
        marks = marks_of(batch, contract)
        verdicts = deduplicate(marks, contract.horizon, seen.copies(marks))
        positions = np.flatnonzero(verdicts)
        kept, conflicts, repeated = parted(batch, positions, verdicts[positions], contract)
        stored, lost = deidentify(with_column(kept, WATERMARK, pa.nulls(kept.num_rows, pa.timestamp("us", "UTC"))), engine)
        scores, unscored = infer(stored, scorer)
        assert not lost and not unscored
        events.process(stamp(stored, scores, contract))
        for rows in (refused, conflicts):
            if rows.num_rows:
                failures.process(seal(rows, run, pem))
        written = [w.value for writer in (events, failures) for w in writer.finish_bundle()]
        for writer in (events, failures):
            writer.teardown()
        new = marks_of(kept, contract)
        tallies = [Tally("read", "", len(messages)), Tally("repeated", "", repeated)]
        return Finished(run, number, started, written, tallies, None, None), lambda: seen.add(new)

    return work


if __name__ == "__main__":
    looped(make)
