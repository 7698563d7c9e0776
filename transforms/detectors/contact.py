"""EMAIL_ADDRESS, URL, DOMAIN_NAME."""

from transforms.detectors.info_type import InfoType, Likelihood, Pattern, Strength

_LABEL = r"[\pL0-9](?:[\pL0-9\-]*[\pL0-9])?"
_TLD = r"(?:[\pL]{2,24}|xn--[a-zA-Z0-9\-]{2,58})"
_DOMAIN = rf"(?:{_LABEL}\.)+{_TLD}"
# At most 64 characters (RFC 5321, 4.5.3.1.1): an unbounded start would make a long run of letters cost its square
_LOCAL = r"[\pL0-9_](?:[\pL0-9._%+'’\-]{0,62}[\pL0-9_+\-])?"
_COMMON_TLDS = (
    "com|org|net|edu|gov|mil|int|io|co|ai|app|dev|info|biz|me|tv|us|uk|ca|au|nz|de|fr|it|es|nl|be|ch|at|se|no|dk|fi|pl|cz|"
    "hu|ro|bg|gr|pt|ie|ru|ua|tr|jp|cn|in|kr|br|mx|ar|cl|za|eu|xyz|online|site|shop|cloud|tech"
)
# Names of files are not addresses: sprite@2x.png
_FILES = {
    "png",
    "jpg",
    "jpeg",
    "gif",
    "svg",
    "webp",
    "css",
    "js",
    "ts",
    "json",
    "xml",
    "html",
    "md",
    "py",
    "txt",
    "pdf",
    "zip",
}


def _address(value: str) -> bool:
    local, _, domain = value.replace("＠", "@").rpartition("@")
    return domain.rpartition(".")[2].lower() not in _FILES and ".." not in domain and bool(local)


# Nearly every text that holds one of these holds an address: to look again for the address costs more than it keeps away
_AT = r"[@＠]|(?i:[\[({] ?at ?[\])}]| at .+ dot )"
EMAIL_ADDRESS = InfoType(
    "EMAIL_ADDRESS",
    (
        Pattern(rf"{_LOCAL}[@＠]{_DOMAIN}", Likelihood.VERY_LIKELY, check=_address, needs=_AT),
        Pattern(r'"[^"\s@]{1,64}"@' + _DOMAIN, Likelihood.LIKELY, needs=_AT),
        Pattern(rf"{_LOCAL}@\[?(?:\d{{1,3}}\.){{3}}\d{{1,3}}\]?", Likelihood.LIKELY, needs=_AT),
        # jane [at] example [dot] org: written so that no machine finds it
        Pattern(
            rf"(?i)\b({_LOCAL} ?[\[({{] ?at ?[\])}}] ?{_LABEL}(?: ?(?:[\[({{] ?dot ?[\])}}]|\.) ?{_LABEL})+)",
            Likelihood.LIKELY,
            needs=_AT,
        ),
        Pattern(rf"(?i)\b([\pL0-9_.%+\-]+ at {_LABEL}(?: dot {_LABEL})* dot (?:{_COMMON_TLDS}))\b", Likelihood.LIKELY, needs=_AT),
    ),
    screen=_AT,
)

URL = InfoType(
    "URL",
    (
        Pattern(r"(?i)\b((?:https?|ftps?|wss?)://[^\s<>\"“”]*[^\s<>\"“”'’`.,;:!?)\]}\\])", Likelihood.VERY_LIKELY),
        Pattern(
            rf"(?i)(?:^|[^\w@.\-])(www\.{_DOMAIN}(?::\d{{1,5}})?(?:[/?#][^\s<>\"“”]*[^\s<>\"“”'’`.,;:!?)\]}}\\])?)",
            Likelihood.LIKELY,
        ),
        Pattern(
            rf"(?i)(?:^|[^\w@.\-/])((?:[a-z0-9](?:[a-z0-9\-]*[a-z0-9])?\.)+(?:{_COMMON_TLDS})/[^\s<>\"“”]*[^\s<>\"“”'’`.,;:!?)\]}}\\])",
            Likelihood.LIKELY,
        ),
    ),
    screen=r"://|(?i:www\.)|[a-zA-Z]/\S",
)

DOMAIN_NAME = InfoType(
    "DOMAIN_NAME",
    (
        Pattern(
            rf"(?i)(?:^|[^\w@.\-])((?:[a-z0-9](?:[a-z0-9\-]*[a-z0-9])?\.)+(?:{_COMMON_TLDS}))(?:$|[^\w.\-@]|[.\-](?:$|\W))",
            Likelihood.LIKELY,
            Strength.SPECIFIC,
        ),
    ),
    screen=r"\w\.[a-zA-Z]",
)

INFO_TYPES = (EMAIL_ADDRESS, URL, DOMAIN_NAME)
