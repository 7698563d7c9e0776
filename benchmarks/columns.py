"""(a) The fastest sane program without Beam: the same functions over the same columns, one block after the other."""

import gc
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from benchmarks.job import measured
from pipelines.sinks.lake import Lake
from pipelines.sinks.lake_commit import commit
from pipelines.sinks.lake_files import Written, _WriteFn
from pipelines.sources.files import read
from pipelines.sources.listing import listed, ranges
from schemas.arrow import stored_columns
from schemas.contract import Contract
from schemas.errors import Reason, Stage
from schemas.tables import FAILURES
from transforms.batch import CONTENT_HASH, DAY, ID_HASH, ORIGIN, keep, refused_rows
from transforms.columns import Typing
from transforms.decode import Digest, decode
from transforms.deidentify import deidentify
from transforms.engines.local import LocalEngine
from transforms.formats.block import Block
from transforms.infer import infer, scorer_of, stamp
from transforms.keys import Keys
from transforms.ledger import Tally
from transforms.onnx import OnnxHandler
from transforms.rows import as_json
from transforms.seal import seal


def job(contract: Contract, keys: Keys, files: list[str], output: Path) -> int:
    """NDJSON files to a lake, as the batch job does; answers the rows read."""
    started = datetime.now(timezone.utc)
    typing, digest, pem = Typing(contract), Digest(contract, keys.derive("row digests")), keys.public_pem()
    engine = LocalEngine(contract, keys).start()
    engine.setup()
    assert contract.model
    handler = OnnxHandler(contract.model)
    scorer = scorer_of(handler, handler.load_model(), contract.model)
    names = [f.name for f in contract.fields]
    seen: dict[int, int] = {}
    rows = repeated = 0
    gc.collect()
    gc.freeze()  # as the batch job does
    with Lake.writer(str(output), contract, "plain") as lake:
        events = _WriteFn(str(lake.folder), "plain", "events", stored_columns(contract), 32 << 20)
        failures = _WriteFn(str(lake.folder), "plain", "failures", FAILURES, 32 << 20)
        for writer in (events, failures):
            writer.setup()
            writer.start_bundle()
        for piece in ranges(listed(",".join(files))):
            for block in read(piece):
                assert isinstance(block, Block)
                rows += block.rows
                batch, refused = decode(block, contract, typing, digest)
                if refused.num_rows:
                    failures.process(seal(refused, "plain", pem))
                gone, conflicts = [], []
                for i, (ident, content) in enumerate(zip(batch[ID_HASH].to_pylist(), batch[CONTENT_HASH].to_pylist())):
                    before = seen.setdefault(ident, content)
                    if before is not content:
                        (gone if before == content else conflicts).append(i)
                repeated += len(gone)
                if conflicts:
                    failures.process(seal(refused_rows(Stage.DEDUPLICATE, [
                        (Reason.CONFLICT, contract.id, batch[ORIGIN][i].as_py(), batch[DAY][i].as_py(), row)
                        for i, row in zip(conflicts, as_json(batch, names, conflicts))]), "plain", pem))
                stored, lost = deidentify(keep(batch, gone + conflicts), engine)
                scores, unscored = infer(stored, scorer)
                assert not lost and not unscored
                events.process(stamp(stored, scores, contract))
        written: list[Written] = [w.value for writer in (events, failures) for w in writer.finish_bundle()]
        request = lake.commit("plain", (), started).request
        row = commit(request, written, [Tally("read", "", rows), Tally("repeated", "", repeated)])
    assert row.balanced and np.isclose(row.stored + row.repeated + row.refused, rows)
    return rows


if __name__ == "__main__":
    measured(job)
