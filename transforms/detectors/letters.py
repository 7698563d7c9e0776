"""Letters for patterns, narrow enough for RE2's automata."""

# RE2 spells \pL out in about 600 instructions of UTF-8, and a name pattern repeats it: 40,000 instructions, more than
# its automaton has room for. These ranges take ten. What they let in beyond letters are other scripts' digits and, as
# capitals, the small letters of Latin Extended, where capitals and small letters alternate.
_LETTERS = r"A-Za-z\x{AA}\x{B5}\x{BA}\x{C0}-\x{1FFF}\x{3040}-\x{D7FF}"
_CAPITALS = r"A-Z\x{C0}-\x{DE}\x{100}-\x{24F}\x{386}-\x{3AB}\x{400}-\x{42F}\x{531}-\x{556}"


def narrow(regex: str) -> str:
    r"""The pattern with \pL and \p{Lu}, which must stand inside brackets, as plain ranges."""
    return regex.replace(r"\p{Lu}", _CAPITALS).replace(r"\pL", _LETTERS)
