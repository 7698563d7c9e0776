"""From a DLP `PrimitiveTransformation` to the operator that runs it, or to all that is wrong with it.

The fields are those of https://cloud.google.com/sensitive-data-protection/docs/reference/rest/v2/organizations.deidentifyTemplates
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from google.cloud.dlp_v2 import types

from schemas.errors import Fault, Misconfigured
from schemas.rules import kind
from transforms.operators import fpe, mask
from transforms.operators.bucket import Bucket, Buckets, FixedBuckets, ordered
from transforms.operators.dictionary import Dictionary
from transforms.operators.hash import Hash
from transforms.operators.infotype import InfoTypeName
from transforms.operators.operator import KeyOf, Operator, Value
from transforms.operators.redact import Redact
from transforms.operators.replace import Replace
from transforms.operators.shift import Shift
from transforms.operators.time_part import TimePart
from transforms.operators.token import Token
from transforms.operators.values import from_proto, number_of

MOST_DAYS = 365_250
MOST_RANGES = 100_000


@dataclass
class _Reading:
    """One configuration being read: where it stands, where its keys come from, and the faults found so far."""

    where: str
    key_of: KeyOf
    draw: Callable[[int], bytes]
    dictionary_key: bytes | None
    faults: list[Fault] = field(default_factory=list)

    def fault(self, path: str, problem: str, remedy: str) -> None:
        self.faults.append(Fault(f"{self.where}.{path}" if path else self.where, problem, remedy))

    def key(self, crypto_key: types.CryptoKey, size: int, sizes: tuple[int, ...]) -> tuple[bytes, bool]:
        """The key and whether it lasts; sizes: the lengths in bytes that will do."""
        source = types.CryptoKey.pb(crypto_key).WhichOneof("source")
        if source is None:
            self.fault("cryptoKey", "names no key", "give kmsWrapped with cryptoKeyName and wrappedKey")
        elif source == "transient":
            if not crypto_key.transient.name:
                self.fault("cryptoKey.transient", "has no name", "give the transient key a name")
            return self.draw(size), False
        elif source == "kms_wrapped" and not (crypto_key.kms_wrapped.wrapped_key and crypto_key.kms_wrapped.crypto_key_name):
            self.fault("cryptoKey.kmsWrapped", "is not whole", "give both cryptoKeyName and wrappedKey")
        elif source == "unwrapped" and not crypto_key.unwrapped.key:
            self.fault("cryptoKey.unwrapped", "holds no key", "give kmsWrapped with cryptoKeyName and wrappedKey")
        else:
            try:
                key = self.key_of(crypto_key, size)
            except Misconfigured as misconfigured:
                self.faults += misconfigured.faults
                return b"", True
            if len(key) not in sizes:
                wanted = " or ".join(str(s) for s in sizes)
                self.fault("cryptoKey", f"is a key of {len(key)} bytes", f"wrap a key of {wanted} bytes")
            return key, True
        return b"", True

    def surrogate(self, config: Any) -> str:
        name = str(config.surrogate_info_type.name)
        if "surrogate_info_type" in config and not name:
            self.fault("surrogateInfoType", "has no name", "name the infoType that marks a token, or leave it out")
        return name


def build(
    primitive: types.PrimitiveTransformation, key_of: KeyOf, where: str,
    draw: Callable[[int], bytes] = secrets.token_bytes, dictionary_key: bytes | None = None,
) -> Operator:
    """The operator for one transformation. Raises Misconfigured with all its faults.

    key_of: see `operator.KeyOf`; asked for a key that is not transient alone, and what it answers is checked for its size.
    where: file and path of the transformation, for the faults. draw: size in bytes -> random bytes, for transient keys,
    of which each operator gets its own. dictionary_key: makes replaceDictionary deterministic; without it, random as DLP's.
    """
    name = kind(primitive)
    if not name:
        raise Misconfigured([Fault(where, "names no transformation", "give one such as cryptoDeterministicConfig or redactConfig")])
    reading = _Reading(f"{where}.{name}", key_of, draw, dictionary_key)
    message, read = _READERS[name]
    operator = read(getattr(primitive, message), reading)
    if reading.faults:
        raise Misconfigured(reading.faults)
    return operator


def _fpe(config: types.CryptoReplaceFfxFpeConfig, reading: _Reading) -> Operator:
    alphabet = ""
    choice = types.CryptoReplaceFfxFpeConfig.pb(config).WhichOneof("alphabet")
    if choice == "radix":
        if not 2 <= config.radix <= 95:
            reading.fault("radix", "is not between 2 and 95", "give the number of characters of the alphabet")
        alphabet = fpe.NATIVE[: max(config.radix, 0)]
    elif choice == "custom_alphabet":
        alphabet = "".join(sorted(config.custom_alphabet, key=fpe.NATIVE.find))
        if not set(alphabet) <= set(fpe.NATIVE):
            reading.fault("customAlphabet", "has a character that is not printable ASCII", "use the 95 characters that DLP lists")
        if len(set(alphabet)) < len(alphabet):
            reading.fault("customAlphabet", "has a character twice", "give each character once")
        if len(set(alphabet)) < 2:
            reading.fault("customAlphabet", "has fewer than 2 characters", "give the characters that the values consist of")
    else:
        alphabet = fpe.COMMON.get(config.common_alphabet.name, "")
        if not alphabet:
            reading.fault("commonAlphabet", "gives no alphabet", f"give one of {', '.join(fpe.COMMON)}, or a customAlphabet or radix")
    key, lasts = reading.key(config.crypto_key, 32, (16, 24, 32))
    return fpe.Fpe(alphabet, key, reading.surrogate(config), lasts)


def _token(config: types.CryptoDeterministicConfig, reading: _Reading) -> Operator:
    key, lasts = reading.key(config.crypto_key, 64, (16, 24, 32, 64))
    return Token(key, reading.surrogate(config), lasts)


def _hash(config: types.CryptoHashConfig, reading: _Reading) -> Operator:
    return Hash(*reading.key(config.crypto_key, 32, (32, 64)))


def _mask(config: types.CharacterMaskConfig, reading: _Reading) -> Operator:
    if len(config.masking_character) > 1:
        reading.fault("maskingCharacter", "is longer than one character", "give one character, or none for * (0 over numbers)")
    ignore = ""
    for at, item in enumerate(config.characters_to_ignore):
        characters = item.characters_to_skip or mask.COMMON.get(item.common_characters_to_ignore.name, "")
        if not characters:
            reading.fault(f"charactersToIgnore[{at}]", "names no characters",
                          f"give charactersToSkip, or commonCharactersToIgnore as one of {', '.join(mask.COMMON)}")
        ignore += characters
    return mask.Mask(config.masking_character, config.number_to_mask, config.reverse_order, ignore)


def _fixed(config: types.FixedSizeBucketingConfig, reading: _Reading) -> Operator:
    bounds = []
    for name, bound in (("lowerBound", config.lower_bound), ("upperBound", config.upper_bound)):
        value = from_proto(bound)
        number = None if isinstance(value, str) else number_of(value) if value is not None else None
        if number is None or abs(number) > 1e12 or round(number * 100) / 100 != number:
            reading.fault(name, "is not a number of at most two decimals", "give an integerValue or a floatValue")
        bounds.append(number or 0)
    lower, upper = bounds
    size = config.bucket_size
    if not 0.01 <= size <= 1e12 or round(size * 100) / 100 != size:
        reading.fault("bucketSize", "is not a number above 0 of at most two decimals", "give the width of a range")
    if not reading.faults and lower >= upper:
        reading.fault("lowerBound", "is not below upperBound", "exchange the bounds")
    elif not reading.faults and (upper - lower) / size > MOST_RANGES:
        reading.fault("bucketSize", f"makes more than {MOST_RANGES:,} ranges", "give a wider range")
    return FixedBuckets(lower, upper, size)


def _buckets(config: types.BucketingConfig, reading: _Reading) -> Operator:
    buckets: list[Bucket] = []
    kinds: set[str] = set()
    for at, given in enumerate(config.buckets):
        low, high = _bound(given.min_, f"buckets[{at}].min", reading), _bound(given.max_, f"buckets[{at}].max", reading)
        kinds |= {"number" if isinstance(b, (int, float)) else type(b).__name__ for b in (low, high) if b is not None}
        if "min_" not in given and "max_" not in given:
            reading.fault(f"buckets[{at}]", "has neither min nor max", "give a lower bound, an upper bound or both")
        buckets.append(Bucket(low, high, from_proto(given.replacement_value)))
    if not buckets:
        reading.fault("buckets", "is empty", "give at least one bucket")
    if len(kinds) > 1:
        reading.fault("buckets", "has bounds of several types", "give all bounds in the type of the values")
    if reading.faults:
        return Buckets(tuple(buckets))
    for at, bucket in enumerate(buckets):
        low_: Any = bucket.low
        if low_ is not None and bucket.high is not None and low_ >= bucket.high:
            reading.fault(f"buckets[{at}]", "has a min that is not below its max", "exchange the bounds; max itself lies outside")
    line = ordered(buckets)
    if line is None:
        reading.fault("buckets", "has buckets that overlap", "let each max be at most the next min")
    return Buckets(line or ())


def _bound(given: types.Value, path: str, reading: _Reading) -> Value | None:
    bound = from_proto(given)
    which = types.Value.pb(given).WhichOneof("type")
    comparable = which in (None, "integer_value", "float_value", "string_value", "timestamp_value", "date_value")
    if not comparable or (which and bound is None) or (isinstance(bound, float) and bound - bound != 0):
        reading.fault(path, "cannot bound a range", "give an integerValue, floatValue, stringValue, timestampValue or dateValue")
    return bound


def _shift(config: types.DateShiftConfig, reading: _Reading) -> Operator:
    lower, upper = config.lower_bound_days, config.upper_bound_days
    if max(abs(lower), abs(upper)) > MOST_DAYS:
        reading.fault("upperBoundDays", f"or lowerBoundDays is beyond {MOST_DAYS:,} days", "give at most 1,000 years in each direction")
    if lower > upper:
        reading.fault("lowerBoundDays", "is above upperBoundDays", "exchange the bounds")
    elif lower == upper == 0:
        reading.fault("upperBoundDays", "and lowerBoundDays leave every date as it is", "give a range of days such as -30 to 30")
    keyed, named = "crypto_key" in config, bool(config.context.name)
    if keyed != named:
        reading.fault("context" if keyed else "cryptoKey", "is missing", "give both context and cryptoKey, or neither")
    if not keyed:
        return Shift(lower, upper)
    key, lasts = reading.key(config.crypto_key, 32, (16, 24, 32, 64))
    return Shift(lower, upper, key, not lasts)


def _time_part(config: types.TimePartConfig, reading: _Reading) -> Operator:
    if not config.part_to_extract:
        reading.fault("partToExtract", "is missing", "give YEAR, MONTH, DAY_OF_MONTH, DAY_OF_WEEK, WEEK_OF_YEAR or HOUR_OF_DAY")
    return TimePart(config.part_to_extract.name)


def _replace(config: types.ReplaceValueConfig, reading: _Reading) -> Operator:
    new = from_proto(config.new_value)
    if new is None:
        reading.fault("newValue", "is missing or no value", "give the replacement, or use redactConfig")
    return Replace("" if new is None else new)


def _dictionary(config: types.ReplaceDictionaryConfig, reading: _Reading) -> Operator:
    words = tuple(config.word_list.words)
    if not words:
        reading.fault("wordList.words", "is empty", "give at least one word")
    for at, word in enumerate(words):
        if sum(c.isalnum() for c in word) < 2:
            reading.fault(f"wordList.words[{at}]", "has fewer than 2 letters or digits", "give a longer word, as DLP asks")
    return Dictionary(words, reading.dictionary_key)


_READERS: dict[str, tuple[str, Callable[[Any, _Reading], Operator]]] = {
    "replaceConfig": ("replace_config", _replace),
    "redactConfig": ("redact_config", lambda config, reading: Redact()),
    "characterMaskConfig": ("character_mask_config", _mask),
    "cryptoReplaceFfxFpeConfig": ("crypto_replace_ffx_fpe_config", _fpe),
    "fixedSizeBucketingConfig": ("fixed_size_bucketing_config", _fixed),
    "bucketingConfig": ("bucketing_config", _buckets),
    "replaceWithInfoTypeConfig": ("replace_with_info_type_config", lambda config, reading: InfoTypeName()),
    "timePartConfig": ("time_part_config", _time_part),
    "cryptoHashConfig": ("crypto_hash_config", _hash),
    "dateShiftConfig": ("date_shift_config", _shift),
    "cryptoDeterministicConfig": ("crypto_deterministic_config", _token),
    "replaceDictionaryConfig": ("replace_dictionary_config", _dictionary),
}
