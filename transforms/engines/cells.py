"""One primitive transformation on the cells of a column: distinct values once, typed answers, nothing left as it was.

An answer is null where the cell is null, and where it could not be transformed; the engine tells the two apart.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import compress, count
from operator import eq

import pyarrow as pa
import pyarrow.compute as pc
from google.cloud.dlp_v2 import types

from schemas.rules import kind
from transforms.operators import mask
from transforms.operators.operator import Operator, Value
from transforms.operators.values import text_of

Context = str | int | None
Changed = Callable[[str], bool]
SHORTEST_FPE = 4  # code points; of three digits one in a thousand is its own token, by right


@dataclass(frozen=True)
class Primitive:
    """An operator, the field that its context comes from ("" for none), and which texts may not come out as they were."""

    operator: Operator
    context: str
    must_change: Changed | None

    def answers(self, values: Sequence[Value], contexts: Sequence[Context] | None, info_type: str = "") -> list[Value | None]:
        """One answer a value; None where the operator has none, or gave back what it should have changed."""
        answers = self.operator(values, contexts, info_type)  # type: ignore[arg-type]
        if len(answers) != len(values):
            raise RuntimeError("an operator answered another number of values than it was asked")
        if self.must_change is None:
            return answers
        texts = values if set(map(type, values)) == {str} else list(map(text_of, values))
        kept = set(compress(count(), map(eq, texts, answers)))
        if texts is not values:
            kept.update(compress(count(), map(eq, values, answers)))
        refused = {at for at in kept if self.must_change(text_of(values[at]))}
        return [None if at in refused else answer for at, answer in enumerate(answers)] if refused else answers


def must_change(primitive: types.PrimitiveTransformation) -> Changed | None:
    """Which non-empty texts this transformation may not leave as they are; None where it may leave any.

    Buckets, dictionaries and fixed replacements may answer what stood there: it says no more than their own list does.
    """
    name = kind(primitive)
    if name in ("cryptoDeterministicConfig", "cryptoHashConfig", "redactConfig"):
        return lambda text: True
    if name == "cryptoReplaceFfxFpeConfig":
        return lambda text: len(text) >= SHORTEST_FPE
    if name == "characterMaskConfig":
        config = primitive.character_mask_config
        stay = set(config.masking_character or "*")
        for item in config.characters_to_ignore:
            stay |= set(item.characters_to_skip or mask.COMMON.get(item.common_characters_to_ignore.name, ""))
        return lambda text: not stay.issuperset(text)
    return None


def transform(column: pa.Array, context: pa.Array | None, primitive: Primitive, stored: pa.DataType) -> pa.Array:
    """The column transformed, of type `stored`. Nulls and empty strings stay; what fails is null.

    Where the operator is deterministic each distinct value, or pair of value and context, is transformed once.
    """
    empty = pc.equal(column, "") if pa.types.is_string(column.type) else None
    if empty is not None and pc.any(empty).as_py():
        answer = transform(pc.if_else(empty, None, column), context, primitive, stored)
        return pc.if_else(pc.fill_null(empty, False), "", answer)
    if not primitive.operator.deterministic:
        rows = pc.indices_nonzero(column.is_valid())
        contexts = None if context is None else context.take(rows).to_pylist()
        found = typed(primitive.answers(column.take(rows).to_pylist(), contexts), stored)
        return found.take(pc.index_in(pa.array(range(len(column)), pa.uint64()), value_set=rows))
    encoded = column.dictionary_encode()
    values, indices = encoded.dictionary, encoded.indices
    if context is None:
        return typed(primitive.answers(values.to_pylist(), None), stored).take(indices)
    beside = context.dictionary_encode()
    # One number for a pair: value * width + context, where the last context stands for null.
    width = len(beside.dictionary) + 1
    numbers = pc.add(pc.multiply(indices.cast(pa.int64()), width), pc.fill_null(beside.indices.cast(pa.int64()), width - 1))
    pairs = numbers.dictionary_encode()
    at = pc.divide(pairs.dictionary, width)
    of = pc.subtract(pairs.dictionary, pc.multiply(at, width))
    contexts = pa.concat_arrays([beside.dictionary, pa.nulls(1, beside.dictionary.type)]).take(of).to_pylist()
    return typed(primitive.answers(values.take(at).to_pylist(), contexts), stored).take(pairs.indices)


def typed(answers: Sequence[Value | None], stored: pa.DataType) -> pa.Array:
    """Answers as a column; null for an answer that the column's type cannot hold."""
    if pa.types.is_string(stored) and not {str, type(None)}.issuperset(map(type, answers)):
        return pa.array([None if a is None else text_of(a) for a in answers], stored)
    try:
        return pa.array(answers, stored)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.concat_arrays([_single(a, stored) for a in answers])


def _single(answer: Value | None, stored: pa.DataType) -> pa.Array:
    try:
        return pa.array([answer], stored)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.nulls(1, stored)


def as_text(column: pa.Array) -> pa.Array:
    """The column as text, where a transformation that holds for some rows makes it a string."""
    if pa.types.is_string(column.type):
        return column
    encoded = column.dictionary_encode()
    return pa.array([text_of(v) for v in encoded.dictionary.to_pylist()], pa.string()).take(encoded.indices)


def contexts_of(column: pa.Array) -> pa.Array:
    """A column as contexts: integers as 64 bits, all else as text; DLP frames the two differently."""
    return column.cast(pa.int64()) if pa.types.is_integer(column.type) else as_text(column)
