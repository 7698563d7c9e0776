"""Whether a job's keys are those that made the tables, as the digests of stored ids show.

A row that is stored once more under other keys is no copy to Deduplicate, and its tokens match none: two keys in one table would be a
loss that no book shows.
"""

import pyarrow as pa

from schemas.arrow import input_schema
from schemas.contract import Contract
from schemas.errors import Fault, Misconfigured
from transforms.decode import Digest
from transforms.keys import Keys


def made_with(ids: pa.Table, contract: Contract, keys: Keys) -> bool:
    """Whether these keys made one of these rows; True where there are none. ids: columns id and id_hash, of some events."""
    schema = input_schema(contract)
    values = ids["id"].combine_chunks().cast(schema.field(contract.id).type)
    alone = pa.RecordBatch.from_arrays([values if f.name == contract.id else pa.nulls(len(values), f.type) for f in schema], schema=schema)
    made = Digest(contract, keys.derive("row digests")).of(alone)[0].to_pylist()
    return not made or any(mine == theirs for mine, theirs in zip(made, ids["id_hash"].to_pylist(), strict=True))


def refuse_others(ids: pa.Table, contract: Contract, keys: Keys) -> None:
    """Raises Misconfigured where other keys made these rows."""
    if not made_with(ids, contract, keys):
        problem = f"{keys.folder} did not make the events that the tables hold: rows would be stored a second time, under other tokens"
        raise Misconfigured([Fault("--keys", problem, "give the keys that the tables were made with, or write into other tables")])
