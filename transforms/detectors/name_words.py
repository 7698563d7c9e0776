"""Which words are names: a list of first names, and the words that only look like them."""

import gzip
import re
import unicodedata
from functools import lru_cache
from pathlib import Path

_FILE = Path(__file__).with_name("first_names.txt.gz")
# First names that are words too: they start a name only beside a title or a phrase, or before a second name on the list
_WORDS_TOO = set(
    "april august autumn bill brown cal candy carol chance christian dean del dom don drew ed faith frank gene "
    "grant grace guy hope "
    "hunter iris ivy jack jade jean joy june king lane lex lily lo mac man mark marshal mary may melody mercy mike "
    "misty month nick page pat paris penny "
    "phoenix pierce ray rich rob robin rocky rose ruby sandy sky star sterling sue summer sunny trinity val victor "
    "victoria violet "
    "wade ward will winter young max al georgia virginia carolina dakota austin jordan chelsea israel india asia "
    "china sydney".split()
)
# Capitalised words that are no part of a name; they end it
STOP = set(
    "a about account address after again all also am an and any apt are as at bank be been before bill bot box but "
    "by call can card city company contact could "
    "country court credit customer date day dear debit did do does dr drive email fax for from general good great "
    "had has have he hello help her hi him his "
    "hotel how i if in inc is it its just last let limited llc ltd mail me miss monday tuesday wednesday thursday "
    "friday saturday sunday january february march "
    "april june july september october november december mr mrs ms my name new no not note now number of office ok "
    "on one online or order our out passport "
    "payment phone please po prof re received regarding road saint school see she sir so some st state street suite "
    "support team tel thank thanks that the "
    "their them then there they this to today transfer university unit united until up us very visa was we were "
    "what when where which who why will with "
    "would yes you your yours".split()
)
_SHORTENED = {
    "i'm",
    "i've",
    "i'd",
    "i'll",
    "it's",
    "he's",
    "she's",
    "that's",
    "what's",
    "who's",
    "let's",
    "there's",
    "here's",
    "don't",
    "can't",
}
_END = STOP - {"april", "june", "will", "bill"}


@lru_cache(maxsize=1)
def first_names() -> frozenset[str]:
    """The list, lower case, with and without accents. Read when it is first asked for."""
    with gzip.open(_FILE, "rt", encoding="utf-8") as lines:
        names = {line.strip() for line in lines if not line.startswith("#")}
    return frozenset(names | {plain(name) for name in names})


def plain(text: str) -> str:
    """Lower case without accents."""
    return "".join(c for c in unicodedata.normalize("NFD", text.lower()) if not unicodedata.combining(c))


def _words(value: str) -> list[str]:
    return [w.strip(".'’").lower().removesuffix("'s").removesuffix("’s") for w in value.split()]


def until_stop(value: str) -> int:
    """The name ends before the first word that is no name, and before a possessive s."""
    end = 0
    for match in re.finditer(r"\S+", value):
        word = match.group()
        initial = len(word) == 2 and word.endswith(".")
        if not initial and word.rstrip(".").lower() in _END:
            break
        end = match.end()
        if word.endswith(("'s", "’s")):
            return end - 2
    return end


def _no_name(word: str) -> bool:
    return word in STOP or word.replace("’", "'") in _SHORTENED


def sounds(value: str) -> bool:
    return any(len(w) > 1 for w in _words(value))


def is_first_name(word: str) -> bool:
    """In lower case, with or without its accents."""
    return word in first_names() or plain(word) in first_names()


def full(value: str) -> bool:
    """At least two words of which the first is a first name that is not also a word, or two names follow each other."""
    words = _words(value)
    if len(words) < 2 or len(words[-1]) < 2 or _no_name(words[0]):
        return False
    # all capitals is how headings are written: there only known names count
    loud = value.isupper()
    parts = words[0].split("-")
    first = any(is_first_name(p) for p in parts) and (words[0] not in _WORDS_TOO or is_first_name(words[1]))
    return first and (not loud or all(is_first_name(w) or len(w) > 3 for w in words))


def initialled(value: str) -> bool:
    words = _words(value)
    return len(words) == 3 and not _no_name(words[0])


def single(value: str) -> bool:
    word = (_words(value) or [""])[0]
    return len(word) > 2 and not value.isupper() and word not in _WORDS_TOO and word not in STOP and is_first_name(word)


def spoken(value: str) -> bool:
    """After a phrase that names people, one known first name or two words that look like a name are enough."""
    words = _words(value)
    if _no_name(words[0]):
        return False
    return is_first_name(words[0]) or len([w for w in words if len(w) > 1]) >= 2
