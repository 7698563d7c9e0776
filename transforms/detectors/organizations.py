"""ORGANIZATION_NAME by legal forms and the words that institutions carry. One plain word needs the tagger."""

from transforms.detectors.info_type import InfoType, Likelihood, Pattern, Strength

_WORD = r"(?:[\p{Lu}]|0-9)[\pL0-9'’&.\-]*"
_RUN = rf"{_WORD}(?:(?:,? (?:and|&|of|the|for|et|und|y|de) |[ \-]|, ){_WORD}){{0,5}}"
_FORMS = (
    r"(?:Incorporated|Inc|Ltd|Limited|LLC|LLP|PLC|Plc|plc|Corp|Corporation|Co|Company|GmbH|AG|KG|OHG|SE|S\.?A\.?S?|"
    r"S\.?r\.?l|S\.?p\.?A|B\.?V|N\.?V|Oy|AB|A/S|ApS|AS|Pty|"
    r"Kft|s\.r\.o|Group|Holdings|Partners|Associates|Foundation|Sons)"
)
_INSTITUTIONS = (
    r"(?:University|College|Institute|Hospital|Clinic|Bank|Insurance|Church|Council|Ministry|Department|"
    r"Committee|Airlines|Airways|School|Academy|Technologies|Systems|Solutions|Consulting|Services|"
    r"Laboratories)"
)
ORGANIZATION_NAME = InfoType(
    "ORGANIZATION_NAME",
    (
        Pattern(rf"(?:^|[^\pL0-9])({_RUN},? (?:and |& )?{_FORMS})(?:$|[^\pL0-9])", Likelihood.LIKELY),
        Pattern(
            rf"(?:^|[^\pL0-9])((?:University|Bank|Ministry|Department|Institute|Church|College) of (?:the )?{_RUN})",
            Likelihood.LIKELY,
        ),
        Pattern(rf"(?:^|[^\pL0-9])({_RUN} {_INSTITUTIONS})(?:$|[^\pL0-9])", Likelihood.POSSIBLE, Strength.LOOSE),
        Pattern(
            r"(?:^|[^\pL0-9])([\p{Lu}][\pL]+(?:-[\p{Lu}][\pL]+| ?, [\p{Lu}][\pL]+ and [\p{Lu}][\pL]+|, "
            r"[\p{Lu}][\pL]+ and [\p{Lu}][\pL]+))(?:$|[^\pL0-9])",
            Likelihood.UNLIKELY,
            Strength.LOOSE,
        ),
    ),
    screen=r"[\p{Lu}0-9]",
)

INFO_TYPES = (ORGANIZATION_NAME,)
