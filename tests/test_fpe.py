"""FF1: the published values, two paths with one answer, and back again."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.operators import ff1
from transforms.operators.fpe import COMMON, LONGEST, NATIVE, Fpe

KEY = bytes.fromhex("2B7E151628AED2A6ABF7158809CF4F3CEF4359D8D580AA4F7F036D6F04FC6A94")
SHORT_TWEAK, LONG_TWEAK = bytes.fromhex("39383736353433323130"), bytes.fromhex("3737373770717273373737")
LOWER36 = "0123456789abcdefghijklmnopqrstuvwxyz"
ID36 = "0123456789abcdefghi"

# https://csrc.nist.gov/projects/cryptographic-standards-and-guidelines/example-values: FF1samples
NIST = [
    (1, 16, 10, b"", "0123456789", "2433477484"),
    (2, 16, 10, SHORT_TWEAK, "0123456789", "6124200773"),
    (3, 16, 36, LONG_TWEAK, ID36, "a9tv40mll9kdu509eum"),
    (4, 24, 10, b"", "0123456789", "2830668132"),
    (5, 24, 10, SHORT_TWEAK, "0123456789", "2496655549"),
    (6, 24, 36, LONG_TWEAK, ID36, "xbj3kv35jrawxv32ysr"),
    (7, 32, 10, b"", "0123456789", "6657667009"),
    (8, 32, 10, SHORT_TWEAK, "0123456789", "1001623463"),
    (9, 32, 36, LONG_TWEAK, ID36, "xs8a0azh2avyalyzuwd"),
]


def rows(texts: list[str]) -> np.ndarray:
    return np.array([[LOWER36.index(c) for c in t] for t in texts], np.uint8)


@pytest.mark.parametrize(("sample", "size", "radix", "tweak", "plain", "cipher"), NIST)
def test_nist_sample(sample: int, size: int, radix: int, tweak: bytes, plain: str, cipher: str) -> None:
    key, tweaks = KEY[:size], np.frombuffer(tweak, np.uint8).reshape(1, -1)
    assert ff1.lanes(key, radix, rows([plain]), tweaks, True).tolist() == rows([cipher]).tolist()
    assert ff1.lanes(key, radix, rows([cipher]), tweaks, False).tolist() == rows([plain]).tolist()
    assert ff1.single(key, radix, rows([plain])[0].tolist(), tweak, True) == rows([cipher])[0].tolist()
    assert ff1.single(key, radix, rows([cipher])[0].tolist(), tweak, False) == rows([plain])[0].tolist()


def test_dlp_published_value() -> None:
    fpe = Fpe(COMMON["NUMERIC"], b"abcdefghijklmnop")
    assert fpe(["4359916732"]) == ["9617256398"]
    assert fpe.reverse(["9617256398"]) == ["4359916732"]


@st.composite
def case(draw: st.DrawFn) -> tuple[int, bytes, np.ndarray, np.ndarray]:
    """radix, key, digits and tweaks, all within what `lanes` takes."""
    radix = draw(st.integers(2, 95))
    half = next(n for n in range(64, 0, -1) if radix**n <= 1 << 63)
    length = draw(st.integers(2, 2 * half))
    width = draw(st.sampled_from([0, 1, 4, 7, 8, 9, 12, 15, 16, 17, 31, 40]))
    count = draw(st.integers(1, 4))
    seed = np.random.default_rng(draw(st.integers(0, 2**32)))
    digits = seed.integers(0, radix, (count, length), np.uint8)
    if draw(st.booleans()):
        digits[0] = radix - 1  # the largest number: where 64 bits would overflow first
    return radix, seed.bytes(draw(st.sampled_from([16, 24, 32]))), digits, seed.integers(0, 256, (count, width), np.uint8)


@settings(max_examples=300, deadline=None)
@given(case())
def test_both_paths_answer_the_same(given_case: tuple[int, bytes, np.ndarray, np.ndarray]) -> None:
    radix, key, digits, tweaks = given_case
    for forward in (True, False):
        one_by_one = [ff1.single(key, radix, d.tolist(), t.tobytes(), forward) for d, t in zip(digits, tweaks, strict=True)]
        assert ff1.lanes(key, radix, digits, tweaks, forward).tolist() == one_by_one


@pytest.mark.parametrize(("radix", "length"), [(2, 126), (10, 36), (36, 24), (62, 20), (95, 18), (2, 40), (10, 19), (16, 16), (3, 78)])
def test_both_paths_at_the_widest_halves(radix: int, length: int) -> None:
    # b = 8 moves the round's number into the other word, d = 12 takes the long remainder
    digits = np.random.default_rng(5).integers(0, radix, (200, length), np.uint8)
    digits[0], digits[1] = radix - 1, 0
    tweaks = np.zeros((200, 0), np.uint8)
    expected = [ff1.single(KEY, radix, d.tolist(), b"", True) for d in digits]
    assert ff1.lanes(KEY, radix, digits, tweaks, True).tolist() == expected
    assert ff1.lanes(KEY, radix, np.array(expected, np.uint8), tweaks, False).tolist() == digits.tolist()


@pytest.mark.parametrize(("radix", "length"), [(2, 126), (2, 127), (2, 128), (10, 36), (10, 37), (10, 38), (16, 32), (16, 30), (62, 22)])
def test_path_is_chosen_by_what_fits_64_bits(radix: int, length: int) -> None:
    digits = np.random.default_rng(6).integers(0, radix, (3, length), np.uint8)
    tweaks = np.full((3, 5), 7, np.uint8)
    got = ff1.permute(KEY, radix, digits, tweaks, True)
    assert got.tolist() == [ff1.single(KEY, radix, d.tolist(), bytes([7] * 5), True) for d in digits]
    assert ff1.permute(KEY, radix, got, tweaks, False).tolist() == digits.tolist()


def test_more_rows_than_one_block_of_work() -> None:
    values = [f"{n:09}" for n in range(0, 20_000)]
    fpe = Fpe(COMMON["NUMERIC"], KEY)
    tokens = fpe(values)
    assert len(set(tokens)) == len(values)
    assert tokens[19_999] == fpe([values[19_999]])[0]
    assert fpe.reverse([str(t) for t in tokens]) == values


@settings(max_examples=150, deadline=None)
@given(st.data(), st.integers(2, 95), st.lists(st.one_of(st.none(), st.text(max_size=12), st.integers(-(2**63), 2**63 - 1)), min_size=1, max_size=6))
def test_reverse_gives_the_value(data: st.DataObject, radix: int, contexts: list[str | int | None]) -> None:
    alphabet = NATIVE[:radix]
    shortest = next(n for n in range(2, 8) if radix**n >= 100)
    text = st.text(st.sampled_from(alphabet), min_size=shortest, max_size=60)  # beyond what the numpy path takes, too
    values = data.draw(st.lists(text, min_size=len(contexts), max_size=len(contexts)))
    fpe = Fpe(alphabet, KEY, data.draw(st.sampled_from(["", "TOKEN", "⧝T(3):"])))
    tokens = fpe(values, contexts)
    assert fpe.reverse([str(t) for t in tokens], contexts) == values
    if not fpe.surrogate:
        assert [len(str(t)) for t in tokens] == [len(v) for v in values]
        assert set("".join(map(str, tokens))) <= set(alphabet)


def test_context_is_the_tweak_of_the_rest_page() -> None:
    fpe = Fpe(COMMON["NUMERIC"], KEY[:16])
    text, number = b"user-7\x02", (-7).to_bytes(8, "big", signed=True) + b"\x01"
    for context, tweak in (("user-7", text), (-7, number), (None, b"")):
        expected = "".join(map(str, ff1.single(KEY[:16], 10, [int(c) for c in "123456789"], tweak, True)))
        assert fpe(["123456789"], [context]) == [expected]
    assert len({fpe(["123456789"], [c])[0] for c in ("7", 7, None, "")}) == 4, "four contexts, four tokens"


@pytest.mark.parametrize(("alphabet", "value", "remark"), [
    ("0123456789", "12-34", "a character outside the alphabet"),
    ("0123456789", "1", "shorter than two"),
    ("01", "010101", "64 possible values are fewer than 100"),
    ("012345678", "12", "81 are fewer than 100"),
    ("0123456789", "1" * (LONGEST + 1), "no identifier is as long"),
    ("0123456789", "١٢٣٤", "digits of another script"),
    ("0123456789", "12\x0034", "a null character"),
    ("0123456789", True, "no string or integer"),
    ("0123456789", 12.5, "no string or integer"),
    ("0123456789", -1234, "the sign is not in the alphabet"),
])
def test_what_cannot_be_encrypted_is_refused(alphabet: str, value: str | float, remark: str) -> None:
    fpe = Fpe(alphabet, KEY)
    neighbour = alphabet[1] * 8
    answers = fpe([neighbour, value, neighbour])
    assert answers[1] is None, remark
    assert answers[0] == answers[2] == fpe([neighbour])[0] != neighbour


def test_smallest_values_pass() -> None:
    assert Fpe("0123456789", KEY)(["12"])[0] is not None, "100 possible values are enough"
    assert Fpe("01", KEY)(["0101010"])[0] is not None, "128 are"


def test_empty_stays_empty_and_integers_count_as_text() -> None:
    fpe = Fpe("0123456789", KEY)
    assert fpe(["", "1234", 1234]) == ["", fpe(["1234"])[0], fpe(["1234"])[0]]
    assert Fpe("0123456789", KEY, "T")([""]) == [""]


def test_surrogate_form() -> None:
    bare, marked = Fpe("0123456789", KEY)(["123456789"])[0], Fpe("0123456789", KEY, "SSN")(["123456789"])[0]
    assert marked == f"SSN(9):{bare}"
    assert Fpe("0123456789", KEY, "SSN").reverse([str(marked), str(bare), f"SSN(8):{bare}", f"SSN(09):{bare}", f"X(9):{bare}"]) == \
        ["123456789", None, None, None, None]


def test_a_context_for_each_value_or_none_at_all() -> None:
    with pytest.raises(ValueError):
        Fpe("0123456789", KEY)(["1234", "5678"], ["only one"])


def test_key_stays_out_of_repr() -> None:
    assert repr(KEY)[2:-1] not in repr(Fpe("0123456789", KEY)) and "key" not in repr(Fpe("0123456789", KEY))
