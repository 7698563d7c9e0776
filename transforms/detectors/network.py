"""IP_ADDRESS, MAC_ADDRESS, MAC_ADDRESS_LOCAL, IMEI_HARDWARE_ID."""

import ipaddress

from transforms.detectors import checksums
from transforms.detectors.info_type import Hotword, InfoType, Likelihood, Pattern, Strength, digits

_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_VERSION = Hotword(
    r"\b(?:version|release|build|firmware|driver|section|v)[ .:]{0,3}$", Likelihood.UNLIKELY, before=12, lowers=True
)


def _v6(value: str) -> bool:
    try:
        ipaddress.IPv6Address(value.partition("%")[0])
    except ipaddress.AddressValueError:
        return False
    # "::" and "a::b" are more often code or prose than addresses
    return (sum(c.isdigit() for c in value) > 0 and sum(c.isalnum() for c in value) >= 3) or value == "::1"


def _local(value: str) -> bool:
    return int(value[:2], 16) & 2 == 2


_PAIR = r"[0-9A-Fa-f]{2}"
_MACS = (
    rf"(?:^|[^\w:\-])({_PAIR}(?::{_PAIR}){{5}})(?:$|[^\w:\-]|[:\-](?:$|\W))",
    rf"(?:^|[^\w:\-])({_PAIR}(?:-{_PAIR}){{5}})(?:$|[^\w:\-]|[:\-](?:$|\W))",
    r"(?:^|[^\w.])([0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4})(?:$|[^\w.]|\.(?:$|\W))",
)
_MAC_SCREEN = rf"{_PAIR}[:\-]{_PAIR}[:\-]{_PAIR}[:\-]|[0-9A-Fa-f]{{4}}\.[0-9A-Fa-f]{{4}}\."

IP_ADDRESS = InfoType(
    "IP_ADDRESS",
    (
        Pattern(
            rf"(?:^|[^\pL0-9_.\-]|[\pL][.\-])((?:{_OCTET}\.){{3}}{_OCTET})(?:$|[^\pL0-9_.]|\.(?:$|\D))",
            Likelihood.LIKELY,
            hotwords=(Hotword(r"\b(?:ip|address|host|server|client|login|from)\b", before=30), _VERSION),
        ),
        Pattern(
            r"(?:^|[^\w:.])([0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?:(?:\d{1,3}\.){3}\d{1,3})?(?:%\w{1,15})?)(?:$|[^\w:])",
            Likelihood.LIKELY,
            check=_v6,
        ),
    ),
    screen=r"\d\.\d{1,3}\.\d{1,3}\.\d|[0-9A-Fa-f:]:[0-9A-Fa-f]{0,4}:",
)
MAC_ADDRESS = InfoType("MAC_ADDRESS", tuple(Pattern(r, Likelihood.LIKELY) for r in _MACS), _MAC_SCREEN)
MAC_ADDRESS_LOCAL = InfoType(
    "MAC_ADDRESS_LOCAL", tuple(Pattern(r, Likelihood.LIKELY, check=_local) for r in _MACS), _MAC_SCREEN
)
IMEI_HARDWARE_ID = InfoType(
    "IMEI_HARDWARE_ID",
    (
        Pattern(
            r"(?:^|[^\pL0-9_.\-])(\d{2}[ \-]?\d{6}[ \-]?\d{6}[ \-]?\d)(?:$|[^\pL0-9_\-])",
            Likelihood.UNLIKELY,
            Strength.CHECKED,
            lambda v: checksums.luhn(digits(v)),
            hotwords=(Hotword(r"\b(?:imei|device|handset)\b", before=30),),
        ),
    ),
    screen=r"\d{2}[ \-]?\d{6}[ \-]?\d{6}[ \-]?\d",
)

INFO_TYPES = (IP_ADDRESS, MAC_ADDRESS, MAC_ADDRESS_LOCAL, IMEI_HARDWARE_ID)
