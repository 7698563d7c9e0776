"""PERSON_NAME and FIRST_NAME by titles, phrases and a list of first names. A tagger may vote too (inspector.py)."""

from transforms.detectors.info_type import Hotword, InfoType, Likelihood, Pattern, Strength
from transforms.detectors.name_words import STOP, full, initialled, single, sounds, spoken, until_stop

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
_RELATIONS = (
    r"(?i:(?:my|his|her|our|their|your) (?:late |ex-?|grand|step-?)?(?:mother|father|mom|mum|dad|wife|husband|"
    r"spouse|partner|son|daughter|child|brother|"
    r"sister|aunt|uncle|cousin|neighbou?r|friend|colleague|boss|manager|supervisor|landlord|landlady|doctor|lawyer|"
    r"attorney|"
    r"agent|guardian|carer|nurse|teacher|tenant|roommate|fianc[ée]e?|girlfriend|boyfriend))"
)
PERSON_NAME = InfoType(
    "PERSON_NAME",
    (
        Pattern(rf"(?:^|[^\pL0-9]){_TITLES}\.?[ \t]+({_NAME})", Likelihood.VERY_LIKELY, trim=until_stop, check=sounds),
        Pattern(
            rf"(?i:\bmy name is|\bmy name's|\bname:)[ \t]+({_NAME})", Likelihood.LIKELY, trim=until_stop, check=sounds
        ),
        Pattern(rf"(?:^|[^\pL]){_STATES}[ \t]+({_NAME})", Likelihood.LIKELY, trim=until_stop, check=spoken),
        Pattern(
            rf"(?:^|[^\pL]){_FIELDS}[ \t]*(?:[:,]|is)?[ \t]+({_FULL})",
            Likelihood.LIKELY,
            Strength.LOOSE,
            trim=until_stop,
            check=full,
        ),
        Pattern(
            rf"(?:^|[^\pL]){_RELATIONS}(?:,? named|,| is|:)?[ \t]+({_FULL}|{_WORD}, {_WORD})",
            Likelihood.LIKELY,
            trim=until_stop,
            check=spoken,
        ),
        # an initial in the middle: little else is written so
        Pattern(
            rf"(?:^|[^\pL0-9'’\-])({_WORD} [\p{{Lu}}]\. {_WORD})",
            Likelihood.POSSIBLE,
            Strength.LOOSE,
            trim=until_stop,
            check=initialled,
        ),
        Pattern(
            r"(?i)\b(?:my name is|my name's|spoke (?:with|to)|speaking (?:with|to)) ([\pL]{2,20} [\pL]{2,20})",
            Likelihood.POSSIBLE,
            Strength.LOOSE,
            trim=until_stop,
            check=full,
        ),
        Pattern(r"(?i)\bmy name is ([\pL]{2,20})", Likelihood.POSSIBLE, Strength.LOOSE, check=single),
        Pattern(
            rf"(?i:^|[\n.!?\"“] ?)(?:Hi|Hello|Hey|Dear|HI|DEAR|hi|hello|dear|hey|Thanks|Thank you|Regards|Best|"
            rf"Sincerely|Cheers|Yours)[, \t\n]+({_NAME})",
            Likelihood.POSSIBLE,
            Strength.LOOSE,
            trim=until_stop,
            check=spoken,
        ),
        Pattern(
            rf"(?:^|[^\pL0-9'’\-])({_FULL})",
            Likelihood.POSSIBLE,
            Strength.LOOSE,
            trim=until_stop,
            check=full,
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
            check=lambda v: single(v.partition(",")[2]) and v.partition(",")[0].lower() not in STOP,
            hotwords=(
                Hotword(
                    r"\b(?:name|patient|customer|client|applicant|signed|by|with|mother|father)\b[ "
                    r":,]*(?:me and with |of )?$",
                    before=24,
                ),
            ),
        ),
        Pattern(rf"(?:^|[^\pL0-9'’\-])({_WORD})", Likelihood.UNLIKELY, Strength.LOOSE, trim=until_stop, check=single),
    ),
    screen=r"[\p{Lu}][\pL'’]|(?i:name|spoke|speak)",
)
FIRST_NAME = InfoType(
    "FIRST_NAME",
    (Pattern(rf"(?:^|[^\pL0-9'’\-])({_WORD})", Likelihood.POSSIBLE, Strength.LOOSE, trim=until_stop, check=single),),
    screen=r"[\p{Lu}][\pL'’]",
)

INFO_TYPES = (PERSON_NAME, FIRST_NAME)
