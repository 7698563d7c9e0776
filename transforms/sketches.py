"""Two sketches whose merges do not depend on their order: distinct values and quantiles.

Distinct values: the K smallest 64-bit hashes, exact below K values, from there on the estimate of Bar-Yossef et al.,
"Counting Distinct Elements in a Data Stream" (2002), in the unbiased form of Beyer et al., "On Synopses for Distinct-Value
Estimation" (2007); its standard error is about 1 / sqrt(K), 3 %. Quantiles: DDSketch, Masson, Rim, Lee (VLDB 2019), within ERROR
of a value of that rank; the range of a double bounds the buckets, so none is collapsed.
"""

import hashlib
import math

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from transforms.groups import Groups, Ints, grouped

Hashes = npt.NDArray[np.uint64]
K = 1024
ERROR = 0.01
_GAMMA = (1 + ERROR) / (1 - ERROR)
_ZERO = 40_000  # over the bucket number of the least double, so that a bucket's sign is its number's sign
_SKETCH = pa.struct([("bucket", pa.int32()), ("count", pa.int64())])


def hashed_texts(texts: pa.Array) -> Hashes:
    """A 64-bit hash of each string, the same in every process: BLAKE2b. Each distinct string is hashed once."""
    encoded = texts.dictionary_encode()
    known = b"".join(hashlib.blake2b(text.encode(), digest_size=8).digest() for text in encoded.dictionary.to_pylist())
    hashes: Hashes = np.frombuffer(known, "<u8").astype(np.uint64, copy=False)[encoded.indices.to_numpy()]
    return hashes


def hashed_numbers(values: npt.NDArray[np.int64] | npt.NDArray[np.float64]) -> Hashes:
    """A 64-bit hash of each number: the finalizer of SplitMix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number
    Generators", 2014) on its bits. 0.0 and -0.0 are one number."""
    bits: Hashes = (values + 0.0 if values.dtype == np.float64 else values).view(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    bits = bits ^ (bits >> np.uint64(31))
    return bits


def hashes(held: npt.NDArray[np.bool_], values: Hashes) -> pa.Array:
    """One list a row: its hash where `held`, else none."""
    return pa.ListArray.from_arrays(_one_each(held), pa.array(values, pa.uint64()))


def merged_hashes(column: pa.Array, groups: Groups) -> pa.Array:
    """One list a group: the K smallest hashes of its lists, sorted, each once."""
    values, of = column.flatten().to_numpy(), groups.by_row()[pc.list_parent_indices(column).to_numpy()]
    order = np.lexsort((values, of))
    values, of = values[order], of[order]
    new = np.ones(len(of), bool)
    new[1:] = (values[1:] != values[:-1]) | (of[1:] != of[:-1])
    values, of = values[new], of[new]
    kept = np.arange(len(of)) - np.searchsorted(of, of) < K
    return pa.ListArray.from_arrays(_offsets(of[kept], len(groups.starts)), pa.array(values[kept]))


def distinct(column: pa.Array) -> pa.Array:
    """The number of distinct values behind each list of hashes."""
    values, sizes = column.flatten().to_numpy(), pc.list_value_length(column).to_numpy().astype(np.int64)
    full, ends = sizes >= K, np.cumsum(sizes)
    sizes[full] = np.rint((K - 1) * 2.0 ** 64 / values[ends[full] - 1].astype(np.float64))
    return pa.array(sizes)


def buckets(held: npt.NDArray[np.bool_], values: npt.NDArray[np.float64]) -> pa.Array:
    """One list a row: the bucket of its value, once, where `held`, else none."""
    with np.errstate(divide="ignore"):
        numbers = np.where(values == 0, 0, np.ceil(np.log(np.abs(values)) / math.log(_GAMMA)) + _ZERO) * np.sign(values)
    return _sketches(_one_each(held), numbers.astype(np.int32), np.ones(len(values), np.int64))


def merged_buckets(column: pa.Array, groups: Groups) -> pa.Array:
    """One list a group: its buckets in the order of their values, and how many values each holds."""
    numbers, counts = (part.to_numpy() for part in column.flatten().flatten())
    of = groups.by_row()[pc.list_parent_indices(column).to_numpy()]
    if not len(of):
        return _sketches(_offsets(of, len(groups.starts)), numbers, counts)
    same = grouped((of << 20) + numbers + 2 * _ZERO)
    rows = same.rows()
    return _sketches(_offsets(of[rows], len(groups.starts)), numbers[rows], np.add.reduceat(counts[same.order], same.starts))


def quantile(column: pa.Array, at: float) -> pa.Array:
    """The value of rank floor(at * (n - 1)) of the n values behind each sketch, null where n is 0."""
    numbers, counts = (part.to_numpy() for part in column.flatten().flatten())
    if not len(numbers):
        return pa.nulls(len(column), pa.float64())
    ends = np.cumsum(pc.list_value_length(column).to_numpy())
    upto = np.concatenate([[0], np.cumsum(counts)])  # values in all the buckets before this one, of all the sketches
    before = upto[np.concatenate([[0], ends[:-1]])]
    n = upto[ends] - before
    rank = np.floor(at * np.maximum(n - 1, 0)).astype(np.int64)
    found = np.minimum(np.searchsorted(upto[1:], before + rank, side="right"), len(numbers) - 1)
    bucket = numbers[found].astype(np.float64)
    with np.errstate(over="ignore"):  # the lower end of the bucket, and ERROR more
        values = np.minimum(np.power(_GAMMA, np.abs(bucket) - _ZERO - 1) * (1 + ERROR), np.finfo(np.float64).max)
    return pa.array(np.sign(bucket) * values, mask=n == 0)


def _sketches(offsets: pa.Array, numbers: npt.NDArray[np.int32], counts: Ints) -> pa.Array:
    items = pa.StructArray.from_arrays([pa.array(numbers), pa.array(counts)], fields=list(_SKETCH))
    return pa.ListArray.from_arrays(offsets, items)


def _one_each(held: npt.NDArray[np.bool_]) -> pa.Array:
    """Offsets of lists that hold one element where `held`."""
    offsets = np.zeros(len(held) + 1, np.int32)
    np.cumsum(held, out=offsets[1:])
    return pa.array(offsets)


def _offsets(of: Ints, groups: int) -> pa.Array:
    """Offsets of the lists of sorted group numbers."""
    return pa.array(np.searchsorted(of, np.arange(groups + 1)).astype(np.int32))
