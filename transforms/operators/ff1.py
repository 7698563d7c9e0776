"""FF1, format-preserving encryption: NIST SP 800-38G (March 2016), algorithms 7 and 8.

Two paths with one answer: `lanes` runs all rows of one length through each round together (numpy, one AES call a round),
`single` is the publication in Python integers and takes any length.
"""

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

Digits = npt.NDArray[np.uint8]
_Words = npt.NDArray[np.uint64]
ROUNDS = 10
_ROWS = 8192  # a round's arrays stay in the processor's cache


def permute(key: bytes, radix: int, digits: Digits, tweaks: Digits, forward: bool) -> Digits:
    """Encrypts (forward) or decrypts rows of digits.

    key: 16, 24 or 32 bytes; digits: (rows, length) of numbers below radix, length at least 2; tweaks: (rows, any length
    below 2**32), one tweak a row. Answers (rows, length).
    """
    if radix ** (digits.shape[1] - digits.shape[1] // 2) <= 1 << 63:
        parts = range(0, max(len(digits), 1), _ROWS)
        return np.concatenate([lanes(key, radix, digits[r : r + _ROWS], tweaks[r : r + _ROWS], forward) for r in parts])
    rows = [single(key, radix, row.tolist(), tweak.tobytes(), forward) for row, tweak in zip(digits, tweaks, strict=True)]
    return np.array(rows, np.uint8).reshape(digits.shape)


def _sizes(radix: int, length: int) -> tuple[int, int, int, int]:
    """u, v (digits in the halves), b (bytes of the longer half) and d (bytes taken from the cipher) of the publication."""
    u = length // 2
    b = ((radix ** (length - u) - 1).bit_length() + 7) // 8
    return u, length - u, b, 4 * ((b + 3) // 4) + 4


def _fixed(radix: int, length: int, tweak_length: int) -> bytes:
    """P of the publication, the first block: the same for all values of one length."""
    return (bytes([1, 2, 1]) + radix.to_bytes(3, "big") + bytes([ROUNDS, length // 2 % 256])
            + length.to_bytes(4, "big") + tweak_length.to_bytes(4, "big"))


def single(key: bytes, radix: int, digits: list[int], tweak: bytes, forward: bool) -> list[int]:
    """One row, of any length."""
    u, v, b, d = _sizes(radix, len(digits))
    ecb = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305  CIPH of the publication, one block
    head = _fixed(radix, len(digits), len(tweak)) + tweak + bytes(-(len(tweak) + b + 1) % 16)
    a, c = _number(digits[:u], radix), _number(digits[u:], radix)
    for i in range(ROUNDS) if forward else reversed(range(ROUNDS)):
        modulus = radix ** (v if i % 2 else u)
        mac = Cipher(algorithms.AES(key), modes.CBC(bytes(16))).encryptor()
        r = mac.update(head + bytes([i]) + (c if forward else a).to_bytes(b, "big"))[-16:]
        s = r + b"".join(ecb.update((int.from_bytes(r, "big") ^ j).to_bytes(16, "big")) for j in range(1, -(-d // 16)))
        y = int.from_bytes(s[:d], "big")
        a, c = (c, (a + y) % modulus) if forward else ((c - y) % modulus, a)
    return _digits(a, radix, u) + _digits(c, radix, v)


def _number(digits: list[int], radix: int) -> int:
    number = 0
    for digit in digits:
        number = number * radix + digit
    return number


def _digits(number: int, radix: int, length: int) -> list[int]:
    digits = [0] * length
    for at in range(length - 1, -1, -1):
        number, digits[at] = divmod(number, radix)
    return digits


def lanes(key: bytes, radix: int, digits: Digits, tweaks: Digits, forward: bool) -> Digits:
    """All rows together. radix ** (digits in the longer half) must not pass 2**63: then b <= 8, d <= 12, one block is enough."""
    rows, length = digits.shape
    u, v, b, d = _sizes(radix, length)
    aes = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305  CIPH of the publication, a block a row
    tweak_length = tweaks.shape[1]
    # Only Q's last block changes from round to round, so the CBC-MAC of all before it is computed once.
    q = np.zeros((rows, tweak_length + b + 1 + -(tweak_length + b + 1) % 16), np.uint8)
    q[:, :tweak_length] = tweaks
    state = np.tile(np.frombuffer(aes.update(_fixed(radix, length, tweak_length)), np.uint8), (rows, 1))
    for at in range(0, q.shape[1] - 16, 16):
        state = np.frombuffer(aes.update((state ^ q[:, at : at + 16]).tobytes()), np.uint8).reshape(rows, 16)
    before = (state ^ q[:, -16:]).view(">u8").astype(np.uint64)
    moduli = np.uint64(radix**u), np.uint64(radix**v)
    a, c = _numbers(digits[:, :u], radix), _numbers(digits[:, u:], radix)
    block = np.empty((rows, 2), ">u8")
    for i in range(ROUNDS) if forward else reversed(range(ROUNDS)):
        modulus = moduli[i % 2]
        number_of_round = i << 8 * b  # the byte before the half's b bytes; with b = 8 it falls into the first word
        block[:, 0] = before[:, 0] ^ np.uint64(number_of_round >> 64)
        block[:, 1] = before[:, 1] ^ np.uint64(number_of_round & (1 << 64) - 1) ^ (c if forward else a)
        r = np.frombuffer(aes.update(block.tobytes()), ">u8").reshape(rows, 2)
        y = _remainder(r[:, 0].astype(np.uint64), modulus)
        if d == 12:
            y = _append(y, r[:, 1].astype(np.uint64) >> np.uint64(32), modulus)
        a, c = (c, _within(a + y, modulus)) if forward else (_within(c + (modulus - y), modulus), a)
    return np.concatenate([_spread(a, radix, u), _spread(c, radix, v)], axis=1)


def _remainder(x: _Words, modulus: np.uint64) -> _Words:
    return x - x // modulus * modulus  # numpy divides by a constant much faster than it takes a remainder


def _within(x: _Words, modulus: np.uint64) -> _Words:
    """x mod modulus for x below twice the modulus (which is at most 2**63, so the sum never overflowed)."""
    return x - (x >= modulus) * modulus


def _append(x: _Words, low: _Words, modulus: np.uint64) -> _Words:
    """(x * 2**32 + low) mod modulus for x below modulus: as many bits at a time as 64 bits leave room for."""
    room = 64 - (int(modulus) - 1).bit_length()
    left = 32
    while left:
        take = min(room, left)
        left -= take
        bits = (low >> np.uint64(left)) & np.uint64((1 << take) - 1)
        x = _remainder((x << np.uint64(take)) | bits, modulus)
    return x


def _numbers(digits: Digits, radix: int) -> _Words:
    numbers = np.zeros(len(digits), np.uint64)
    for column in digits.T:
        numbers = numbers * np.uint64(radix) + column
    return numbers


def _spread(numbers: _Words, radix: int, length: int) -> Digits:
    digits = np.empty((len(numbers), length), np.uint8)
    for at in range(length - 1, -1, -1):
        rest = numbers // np.uint64(radix)
        digits[:, at] = numbers - rest * np.uint64(radix)
        numbers = rest
    return digits
