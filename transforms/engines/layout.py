"""What of a contract's rows is sent to DLP: the columns that the policy touches or looks at, in groups that may be sent apart.

A table of a request need not hold whole events. Columns that no condition and no context ties together are independent:
each group of tied columns has its own distinct combinations, and the n-th one of each group stands in the n-th row of
the table. So a value that repeats is sent once, whatever stands beside it, and no request shows whose values belong together.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
from google.cloud.dlp_v2 import types

from schemas.arrow import arrow_schema, stored_columns
from schemas.contract import Contract
from schemas.rules import Rule, context_of, key_of, kind, rules, suppressions
from schemas.templates import deidentify_template
from transforms.engines.cells import must_change
from transforms.operators import fpe

ROW_ID = "_row"  # no field of a contract starts with _
_KEYED = ("cryptoDeterministicConfig", "cryptoHashConfig", "cryptoReplaceFfxFpeConfig", "dateShiftConfig")


@dataclass(frozen=True)
class Group:
    """Columns whose cells must stand in one row of the table.

    distinct: equal rows may share one answer (no transformation draws); lasting: the answer is the same in every
    request, by a key, so it may be kept for the next one.
    """

    columns: tuple[str, ...]
    transformed: tuple[str, ...]
    distinct: bool
    lasting: bool


@dataclass(frozen=True)
class Layout:
    """The table of every request: header[0] is ROW_ID, then the policy's columns in the contract's order.

    inspected: columns in which DLP looks for infoTypes; visible: those of them where every finding comes out changed;
    emptied: columns that are only redacted, and may come back without a value; compared: columns that a condition or a
    context reads; stored: type of each transformed column as it is stored.
    """

    header: tuple[str, ...]
    groups: tuple[Group, ...]
    rules: tuple[Rule, ...]
    inspected: frozenset[str]
    visible: frozenset[str]
    emptied: frozenset[str]
    compared: frozenset[str]
    suppresses: bool
    stored: Mapping[str, pa.DataType]


def lay_out(contract: Contract) -> Layout:
    """The layout for a contract's rows. No groups where the policy transforms nothing. Raises Misconfigured."""
    template = deidentify_template(contract.deidentify, contract.folder)
    listed, suppressed = rules(template), suppressions(template)
    names = [f.name for f in contract.fields]
    transformed = {name for rule in listed for name in rule.fields}
    tied = [{name, *_read_by(rule)} for rule in listed for name in rule.fields]
    if suppressed:  # a suppressed row takes all of its cells with it, so a row of the table must be an event
        tied = [set().union(*tied, *({c.field for c in s.condition} for s in suppressed))]
    groups = tuple(_group([n for n in names if n in parts], transformed, listed, bool(suppressed)) for parts in _merged(tied))
    used = {name for group in groups for name in group.columns}
    inspected = {name for rule in listed if rule.by_info_type for name in rule.fields}
    hidden = {name for rule in listed for name in rule.fields if not all(_shows(p) for _, p in rule.primitives())}
    emptied = {name for rule in listed for name in rule.fields if rule.primitive is not None and kind(rule.primitive) == "redactConfig"}
    others = {name for rule in listed for name in rule.fields if rule.primitive is None or kind(rule.primitive) != "redactConfig"}
    compared = {name for rule in listed for name in _read_by(rule)} | {c.field for s in suppressed for c in s.condition}
    return Layout(
        (ROW_ID, *(n for n in names if n in used)), groups, listed,
        frozenset(inspected), frozenset(inspected - hidden), frozenset(emptied - others), frozenset(compared), bool(suppressed),
        {field.name: field.type for field in arrow_schema(stored_columns(contract)) if field.name in transformed})


def _read_by(rule: Rule) -> set[str]:
    """The fields that a rule reads beside the one that it transforms."""
    contexts = {context_of(primitive) for _, primitive in rule.primitives()} - {""}
    return contexts | {c.field for c in rule.condition or ()}


def _merged(sets: Iterable[set[str]]) -> list[set[str]]:
    """Sets that share a member become one."""
    merged: list[set[str]] = []
    for new in sets:
        apart = [old for old in merged if not old & new]
        merged = [*apart, new.union(*(old for old in merged if old & new))]
    return merged


def _group(columns: list[str], transformed: set[str], listed: Sequence[Rule], suppresses: bool) -> Group:
    own = [rule for rule in listed if not set(rule.fields).isdisjoint(columns)]
    primitives = [primitive for rule in own for _, primitive in rule.primitives()]
    lasting = not suppresses and not any(rule.by_info_type for rule in own) and all(map(_lasting, primitives))
    return Group(tuple(columns), tuple(c for c in columns if c in transformed), not any(map(_draws, primitives)), lasting)


def _shows(primitive: types.PrimitiveTransformation) -> bool:
    return kind(primitive) == "replaceWithInfoTypeConfig" or must_change(primitive) is not None


def _draws(primitive: types.PrimitiveTransformation) -> bool:
    """Whether DLP draws anew for each value: then equal values must not come to share a draw."""
    name = kind(primitive)
    return name == "replaceDictionaryConfig" or (name == "dateShiftConfig" and key_of(primitive) is None)


def _lasting(primitive: types.PrimitiveTransformation) -> bool:
    key = key_of(primitive)
    return kind(primitive) in _KEYED and key is not None and types.CryptoKey.pb(key).WhichOneof("source") != "transient"


def unfit(layout: Layout) -> dict[str, Callable[[str], bool]]:
    """By field, which non-empty texts format-preserving encryption cannot take: foreign characters, or fewer than two.

    DLP answers 400 to a whole request that holds one such value; to find it by halving takes 20 calls. Only fields that
    the transformation always holds for.
    https://cloud.google.com/sensitive-data-protection/docs/reference/rest/v2/organizations.deidentifyTemplates#cryptoreplaceffxfpeconfig
    """
    found: dict[str, Callable[[str], bool]] = {}
    for rule in layout.rules:
        if rule.condition is None and rule.primitive is not None and kind(rule.primitive) == "cryptoReplaceFfxFpeConfig":
            found |= dict.fromkeys(rule.fields, _outside(_alphabet(rule.primitive.crypto_replace_ffx_fpe_config)))
    return found


def _outside(alphabet: frozenset[str]) -> Callable[[str], bool]:
    return lambda text: len(text) < 2 or not alphabet.issuperset(text)


def _alphabet(config: types.CryptoReplaceFfxFpeConfig) -> frozenset[str]:
    if config.custom_alphabet:
        return frozenset(config.custom_alphabet)
    return frozenset(fpe.NATIVE[: config.radix] if config.radix else fpe.COMMON.get(config.common_alphabet.name, ""))
