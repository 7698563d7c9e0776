"""(b) A plain per-record Python loop on a subscription: one row after the other, its own files, one commit a run."""

from collections.abc import Callable
from datetime import date, datetime, timezone

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.rows import Row, decoder, deidentifier, digester
from benchmarks.stream_job import looped
from pipelines.sinks.lake_files import Written
from pipelines.sinks.lake_stream import Finished, StreamLake
from pipelines.sources.pubsub import Received
from schemas.arrow import arrow_schema
from schemas.contract import Contract
from schemas.errors import Reason, Rejected, Stage
from transforms.batch import refused_rows
from transforms.keys import Keys
from transforms.ledger import Tally
from transforms.onnx import OnnxHandler
from transforms.seal import seal

SCORED_AT_ONCE = 4096


def make(contract: Contract, keys: Keys, lake: StreamLake, subscription: str) -> Callable[[str, int, list[Received]], tuple[Finished, Callable[[], None]]]:
    """The work of a run."""
    decode, digest, deidentify = decoder(contract), digester(contract, keys.derive("row digests")), deidentifier(contract, keys)
    assert contract.model
    model, handler, pem = contract.model, OnnxHandler(contract.model), keys.public_pem()
    session, schema = handler.load_model(), arrow_schema(lake.columns)
    lineage = {"contract_version": contract.version, "policy_digest": contract.policy_digest, "model_name": model.name,
               "model_version": model.version, "model_digest": model.sha256, "watermark": None}
    seen: dict[bytes, bytes] = {}

    def work(run: str, number: int, received: list[Received]) -> tuple[Finished, Callable[[], None]]:
        started = datetime.now(timezone.utc)
        rows: list[Row] = []
        refused: list[tuple[Reason, str | None, str, date | None, bytes | None]] = []
        new: dict[bytes, bytes] = {}
        repeated = 0
        for _, message in received:
            origin, day = f"{subscription}:{message.id}", None
            try:
                row = decode(message.data)
                day = row["d"]
                if row[contract.time].timestamp() * 1e6 > message.published + 300e6:
                    raise Rejected(Reason.FUTURE, contract.time)
                ident, content = digest(row)
                before = seen.get(ident) or new.setdefault(ident, content)
                if before is not content:
                    if before == content:
                        repeated += 1
                        continue
                    raise Rejected(Reason.CONFLICT, contract.id)
                row |= lineage
                row["origin"], row["run"] = origin, run
                row["id_hash"], row["content_hash"] = (int.from_bytes(d, "little", signed=True) for d in (ident, content))
                rows.append(deidentify(row))
            except Rejected as rejected:
                refused.append((rejected.reason, rejected.field, origin, day, message.data))
        by_day: dict[date, list[Row]] = {}
        for first in range(0, len(rows), SCORED_AT_ONCE):
            part = rows[first:first + SCORED_AT_ONCE]
            for row, score in zip(part, handler.run_inference(part, session)):
                row["score"], row["label"] = float(score), bool(score > model.threshold)
                by_day.setdefault(row["d"], []).append(row)
        written = [save("events", day, run, pa.RecordBatch.from_pylist(own, schema)) for day, own in by_day.items()]
        if refused:
            written.append(save("failures", None, run, seal(refused_rows(Stage.DECODE, refused), run, pem)))
        tallies = [Tally("read", "", len(received)), Tally("repeated", "", repeated)]
        return Finished(run, number, started, written, tallies, None, None), lambda: seen.update(new)

    def save(table: str, day: date | None, run: str, rows: pa.RecordBatch) -> Written:
        folder = lake.folder / "data" / "main" / table / (f"d={day}" if day else "")
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{run}-{'rows' if day else 'sealed'}.parquet"
        pq.write_table(pa.Table.from_batches([rows]), path, compression="zstd")
        return Written(table, str(path), day.isoformat() if day else "", rows.num_rows)

    return work


if __name__ == "__main__":
    looped(make)
