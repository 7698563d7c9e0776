"""PERSON_NAME and FIRST_NAME by titles, phrases and a list of first names. A tagger may vote too (inspector.py)."""

import gzip
import re
import unicodedata
from functools import lru_cache
from pathlib import Path

from transforms.detectors.info_type import Hotword, InfoType, Likelihood, Pattern, Strength

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
_STOP = set(
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
_NOT_MONTH_LIKE = _STOP - {"april", "june", "will", "bill"}

_PART = r"[\p{Lu}][\pL'’]*(?:-[\p{Lu}][\pL'’]*)*"
_WORD = r"[\p{Lu}][\pL'’]+(?:-[\p{Lu}]?[\pL'’]+)*"
_LINK = (
    r"(?:van|von|de|der|den|del|della|da|das|dos|di|du|la|le|el|al|bin|ibn|ter|ten|zu|y|van der|van den|van de|"
    r"de la|de los|von der)"
)
_NAME = rf"{_WORD}(?:[ \t]+(?:[\p{{Lu}}]\.|{_LINK}[ \t]+{_WORD}|{_PART})){{0,4}}"
_FULL = rf"(?:{_WORD}|[\p{{Lu}}]\.)(?:[ \t]+(?:[\p{{Lu}}]\.|{_LINK}[ \t]+{_WORD}|{_PART})){{1,4}}"
_TITLES = (
    r"(?:[Mm]rs?|MRS?|[Mm]s|MS|[Mm]iss|[Mm]x|[Dd]r|DR|[Pp]rof|[Pp]rofessor|[Dd]octor|Sir|Dame|Lady|Lord|Rev|"
    r"Reverend|Hon|Herr|Herrn|Frau|Se[ñn]ora?|Sra?|Mme|Mlle|"
    r"Madame|Monsieur|Sig|Signora?|Dhr|Mevr|Capt|Captain|Sgt|Sergeant|Lt|Lieutenant|Colonel|Major|Officer|Detective|"
    r"Inspector|Judge|Justice|Senator|"
    r"Governor|Congressman|Congresswoman|President|Nurse|Aunt|Uncle)"
)


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


def _until_stop(value: str) -> int:
    """The name ends before the first word that is no name, and before a possessive s."""
    end = 0
    for match in re.finditer(r"\S+", value):
        if match.group().rstrip(".").lower() in _NOT_MONTH_LIKE:
            break
        end = match.end()
        if match.group().endswith(("'s", "’s")):
            return end - 2
    return end


def _sounds(value: str) -> bool:
    return any(len(w) > 1 for w in _words(value))


def is_first_name(word: str) -> bool:
    return word in first_names() or plain(word) in first_names()


def _full(value: str) -> bool:
    """At least two words of which the first is a first name that is not also a word, or two names follow each other."""
    words = _words(value)
    if len(words) < 2 or len(words[-1]) < 2 or words[0].replace("’", "'") in _SHORTENED:
        return False
    # all capitals is how headings are written: there only known names count
    loud = value.isupper()
    parts = words[0].split("-")
    first = any(is_first_name(p) for p in parts) and (words[0] not in _WORDS_TOO or is_first_name(words[1]))
    return first and (not loud or all(is_first_name(w) or len(w) > 3 for w in words))


def _single(value: str) -> bool:
    word = _words(value)[0]
    return (
        len(word) > 2 and not value.isupper() and word not in _WORDS_TOO and word not in _STOP and is_first_name(word)
    )


def _spoken(value: str) -> bool:
    """After a phrase that names people, one known first name or two words that look like a name are enough."""
    words = _words(value)
    return is_first_name(words[0]) or len([w for w in words if len(w) > 1]) >= 2 and words[0] not in _STOP


_STATES = (
    r"(?i:my name is|my name's|name is|named|the name of|on behalf of|in the name of|signed by|signed,|spoke "
    r"(?:with|to)|speaking (?:with|to)|this is|talk(?:ed)? (?:with|to)|i am|i'm|i’m|met with|it's|call me|"
    r"called me|introduce|meet)"
)
_FIELDS = (
    r"(?i:(?:full |first |last |sur|patient |customer |client |contact |applicant |beneficiary |account |card "
    r"?holder |employee )?name|applicant|patient|customer|client|contact|attn|attention|beneficiary|guardian|"
    r"c/o|cardholder|spouse|wife|husband|son|daughter|mother|father|brother|sister|boss|manager|agent|from|to|"
    r"cc|by|signed)"
)
PERSON_NAME = InfoType(
    "PERSON_NAME",
    (
        Pattern(
            rf"(?:^|[^\pL0-9]){_TITLES}\.?[ \t]+({_NAME})", Likelihood.VERY_LIKELY, trim=_until_stop, check=_sounds
        ),
        Pattern(
            rf"(?i:\bmy name is|\bmy name's|\bname:)[ \t]+({_NAME})", Likelihood.LIKELY, trim=_until_stop, check=_sounds
        ),
        Pattern(rf"(?:^|[^\pL]){_STATES}[ \t]+({_NAME})", Likelihood.LIKELY, trim=_until_stop, check=_spoken),
        Pattern(
            rf"(?:^|[^\pL]){_FIELDS}[ \t]*(?:[:,]|is)?[ \t]+({_FULL})",
            Likelihood.LIKELY,
            Strength.LOOSE,
            trim=_until_stop,
            check=_full,
        ),
        Pattern(
            r"(?i)\b(?:my name is|my name's|spoke (?:with|to)|speaking (?:with|to)) ([\pL]{2,20} [\pL]{2,20})",
            Likelihood.POSSIBLE,
            Strength.LOOSE,
            trim=_until_stop,
            check=_full,
        ),
        Pattern(r"(?i)\bmy name is ([\pL]{2,20})", Likelihood.POSSIBLE, Strength.LOOSE, check=_single),
        Pattern(
            rf"(?i:^|[\n.!?\"“] ?)(?:Hi|Hello|Hey|Dear|HI|DEAR|hi|hello|dear|hey|Thanks|Thank you|Regards|Best|"
            rf"Sincerely|Cheers|Yours)[, \t\n]+({_NAME})",
            Likelihood.POSSIBLE,
            Strength.LOOSE,
            trim=_until_stop,
            check=_spoken,
        ),
        Pattern(
            rf"(?:^|[^\pL0-9'’\-])({_FULL})",
            Likelihood.POSSIBLE,
            Strength.LOOSE,
            trim=_until_stop,
            check=_full,
            hotwords=(
                Hotword(
                    r"\b(?:name|mr|mrs|ms|dr|account|customer|patient|client|add|contact|spoke|applicant|author|by|"
                    r"with|born)\b",
                    before=30,
                ),
            ),
        ),
        Pattern(
            r"(?:^|[^\pL0-9'’\-])([\p{Lu}][\pL'’]+, ?[\p{Lu}][\pL]+(?: [\p{Lu}]\.)?)(?:$|[^\pL])",
            Likelihood.UNLIKELY,
            Strength.LOOSE,
            check=lambda v: _single(v.partition(",")[2]) and v.partition(",")[0].lower() not in _STOP,
            hotwords=(Hotword(r"\b(?:name|patient|customer|client|applicant)\b[ :]*$", before=16),),
        ),
        Pattern(rf"(?:^|[^\pL0-9'’\-])({_WORD})", Likelihood.UNLIKELY, Strength.LOOSE, trim=_until_stop, check=_single),
    ),
    screen=r"[\p{Lu}][\pL'’]|(?i:name|spoke|speak)",
)
FIRST_NAME = InfoType(
    "FIRST_NAME",
    (Pattern(rf"(?:^|[^\pL0-9'’\-])({_WORD})", Likelihood.POSSIBLE, Strength.LOOSE, trim=_until_stop, check=_single),),
    screen=r"[\p{Lu}][\pL'’]",
)

INFO_TYPES = (PERSON_NAME, FIRST_NAME)
