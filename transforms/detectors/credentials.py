"""What opens doors: keys, tokens, passwords. Most vendors prefix theirs so that scanners find them."""

from transforms.detectors.info_type import Hotword, InfoType, Likelihood, Pattern, Strength

GCP_API_KEY = InfoType(
    "GCP_API_KEY", (Pattern(r"\b(AIza[0-9A-Za-z_\-]{35})(?:$|[^\w\-])", Likelihood.VERY_LIKELY),), screen=r"AIza"
)
AWS_CREDENTIALS = InfoType(
    "AWS_CREDENTIALS",
    (
        Pattern(r"\b((?:AKIA|ASIA|AROA|AIDA)[0-9A-Z]{16})\b", Likelihood.VERY_LIKELY),
        Pattern(
            r"(?:^|[^\w/+])([0-9A-Za-z/+]{40})(?:$|[^\w/+=])",
            Likelihood.VERY_UNLIKELY,
            Strength.LOOSE,
            hotwords=(Hotword(r"\b(?:aws|secret_?access_?key|aws_secret\w*)\b", before=60),),
        ),
    ),
    screen=r"A(?:KI|SI|RO|ID)A[0-9A-Z]{16}|[0-9A-Za-z/+]{40}",
)
JSON_WEB_TOKEN = InfoType(
    "JSON_WEB_TOKEN",
    (Pattern(r"\b(eyJ[\w\-]{8,}\.eyJ[\w\-]{4,}(?:\.[\w\-]*)?)", Likelihood.VERY_LIKELY),),
    screen=r"eyJ",
)
AUTH_TOKEN = InfoType(
    "AUTH_TOKEN",
    (
        Pattern(r"(?i)\bbearer\s+([a-z0-9_\-.=~+/]{16,})", Likelihood.LIKELY),
        Pattern(
            r"\b(gh[pousr]_[0-9A-Za-z]{36,}|github_pat_\w{60,}|glpat-[\w\-]{20,}|xox[abeprs]-[0-9A-Za-z\-]{10,}|"
            r"[sr]k_(?:live|test)_[0-9A-Za-z]{16,}|"
            r"SG\.[\w\-]{16,}\.[\w\-]{16,}|npm_[0-9A-Za-z]{36}|pypi-[\w\-]{50,}|ya29\.[\w\-]{20,})",
            Likelihood.VERY_LIKELY,
        ),
    ),
    screen=r"(?i:bearer)\s|gh[pousr]_|github_pat_|glpat-|xox[abeprs]-|[sr]k_(?:live|test)_|SG\.|npm_|pypi-|ya29\.",
)
BASIC_AUTH_HEADER = InfoType(
    "BASIC_AUTH_HEADER",
    (Pattern(r"(?i)authorization:\s*(basic\s+[a-z0-9+/]{6,}={0,2})", Likelihood.VERY_LIKELY),),
    screen=r"(?i:basic\s)",
)
ENCRYPTION_KEY = InfoType(
    "ENCRYPTION_KEY",
    (
        Pattern(
            r"(-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----[A-Za-z0-9+/=\s\\:,\-]*?(?:-----END (?:[A-Z]+ )*PRIVATE "
            r"KEY-----|$))",
            Likelihood.VERY_LIKELY,
        ),
    ),
    screen=r"PRIVATE KEY-----",
)
# "my password is not working"
_NOT_PASSWORDS = {
    "not",
    "wrong",
    "incorrect",
    "expired",
    "invalid",
    "correct",
    "required",
    "that",
    "this",
    "very",
    "weak",
    "strong",
    "being",
    "blocked",
    "locked",
    "forgotten",
    "lost",
    "still",
    "never",
    "also",
    "what",
    "same",
    "different",
    "reset",
    "changed",
    "needed",
    "null",
    "none",
    "true",
    "false",
}
PASSWORD = InfoType(
    "PASSWORD",
    (
        Pattern(
            r"(?i)\b(?:password|passwd|pwd|passcode|passphrase|passwort|contraseña|mot de passe)\s*(?:[:=]|"
            r"is:?\s)\s*[\"'“]?([^\s\"'”,;]{4,64})",
            Likelihood.LIKELY,
            check=lambda v: v.lower() not in _NOT_PASSWORDS,
        ),
        Pattern(r"\b[a-z][a-z0-9+.\-]*://[^\s:/@]+:([^\s:/@]{3,})@", Likelihood.LIKELY),
    ),
    screen=r"(?i:passw|pwd|passcode|passphrase|contraseña|mot de passe)|://[^\s:/@]+:[^\s:/@]+@",
)
INFO_TYPES = (GCP_API_KEY, AWS_CREDENTIALS, JSON_WEB_TOKEN, AUTH_TOKEN, BASIC_AUTH_HEADER, ENCRYPTION_KEY, PASSWORD)
