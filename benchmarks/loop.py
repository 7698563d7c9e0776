"""(b) A plain per-record Python loop: one row after the other, no Beam; written as a careful person would in an afternoon."""

from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.job import measured
from benchmarks.rows import Row, decoder, deidentifier, digester
from schemas.arrow import arrow_schema, stored_columns
from schemas.contract import Contract
from schemas.errors import Reason, Rejected, Stage
from transforms.batch import refused_rows
from transforms.keys import Keys
from transforms.onnx import OnnxHandler
from transforms.seal import seal

AT_ONCE = 4096


def job(contract: Contract, keys: Keys, files: list[str], output: Path) -> int:
    """NDJSON files to Parquet files by day and a file of sealed failures; answers the rows read."""
    decode, digest, deidentify = decoder(contract), digester(contract, keys.derive("row digests")), deidentifier(contract, keys)
    assert contract.model
    handler = OnnxHandler(contract.model)
    model = handler.load_model()
    names = [f.name for f in contract.fields]
    schema = pa.schema([f for f in arrow_schema(stored_columns(contract)) if f.name in {*names, "d", "score", "label", "origin"}])
    seen: dict[bytes, bytes] = {}
    writers: dict[date, pq.ParquetWriter] = {}
    refused: list[tuple[Reason, str | None, str, date | None, bytes | None]] = []
    waiting: list[Row] = []
    rows = 0

    def flush() -> None:
        if not waiting:
            return
        for row, score in zip(waiting, handler.run_inference(waiting, model)):
            row["score"], row["label"] = float(score), bool(score > contract.model.threshold)  # type: ignore[union-attr]
        by_day: dict[date, list[Row]] = {}
        for row in waiting:
            by_day.setdefault(row["d"], []).append(row)
        for day, own in by_day.items():
            if day not in writers:
                folder = output / f"d={day}"
                folder.mkdir(parents=True, exist_ok=True)
                writers[day] = pq.ParquetWriter(folder / "part.parquet", schema, compression="zstd")
            writers[day].write_batch(pa.RecordBatch.from_pylist(own, schema))
        waiting.clear()

    for path in files:
        offset = 0
        with open(path, "rb") as file:
            for line in file:
                rows += 1
                origin, offset = f"{path}:{offset}", offset + len(line)
                line = line.rstrip(b"\n")
                day = None
                try:
                    row = decode(line)
                    day = row["d"]
                    ident, content = digest(row)
                    before = seen.setdefault(ident, content)
                    if before is not content:
                        if before == content:
                            continue
                        raise Rejected(Reason.CONFLICT, contract.id)
                    row["origin"] = origin
                    waiting.append(deidentify(row))
                except Rejected as rejected:
                    refused.append((rejected.reason, rejected.field, origin, day, line))
                if len(waiting) >= AT_ONCE:
                    flush()
    flush()
    for writer in writers.values():
        writer.close()
    failures = seal(refused_rows(Stage.DECODE, refused), "loop", keys.public_pem())
    pq.write_table(pa.Table.from_batches([failures]), output / "failures.parquet", compression="zstd")
    return rows


if __name__ == "__main__":
    measured(job)
