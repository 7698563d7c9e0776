"""The client of Google's service. A channel without TLS leads to this machine and nowhere else."""

import ipaddress
import re
from typing import Any

import grpc
from google.auth.exceptions import GoogleAuthError
from google.cloud.dlp_v2 import DlpServiceClient
from google.cloud.dlp_v2.services.dlp_service.transports import DlpServiceGrpcTransport

from schemas.errors import Fault, Misconfigured

GLOBAL = "dlp.googleapis.com"
# gRPC would wait up to two minutes between its own attempts to connect, longer than many an outage.
_OPTIONS = [("grpc.initial_reconnect_backoff_ms", 200), ("grpc.min_reconnect_backoff_ms", 200), ("grpc.max_reconnect_backoff_ms", 5000)]
_LOCAL = [*_OPTIONS, ("grpc.enable_http_proxy", 0), ("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


def faults(endpoint: str) -> list[Fault]:
    """What is wrong with an endpoint: "" (the global one), HOST or HOST:PORT."""
    host = _host(endpoint)
    if not endpoint or is_loopback(endpoint) or (host and re.fullmatch(r"([a-z0-9-]+\.)+googleapis\.com", host)):
        return []
    return [Fault("--dlp_endpoint", "is neither an endpoint of Google's nor on this machine: rows in clear would go to it",
                  "give HOST or HOST:PORT, without http://, such as dlp.europe-west1.rep.googleapis.com, or localhost:8085")]


def is_loopback(endpoint: str) -> bool:
    """localhost, 127.0.0.0/8 or [::1], with or without a port."""
    host = _host(endpoint)
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host(endpoint: str) -> str:
    found = re.fullmatch(r"(?:\[([0-9a-f:]+)\]|([a-z0-9.-]+))(?::\d{1,5})?", endpoint)
    return (found[1] or found[2]) if found else ""


def connect(endpoint: str) -> DlpServiceClient:
    """A client: with TLS and the credentials of the environment, or without both to a loopback address.

    Raises Misconfigured.
    """
    if found := faults(endpoint):
        raise Misconfigured(found)
    if is_loopback(endpoint):
        channel = grpc.insecure_channel(endpoint, options=_LOCAL)
        return DlpServiceClient(transport=DlpServiceGrpcTransport(channel=channel))
    try:
        return DlpServiceClient(transport=DlpServiceGrpcTransport(host=endpoint or GLOBAL, channel=_secure))
    except GoogleAuthError:
        raise Misconfigured([Fault("credentials", "there are none that Google's libraries can find",
                                   "run as a service account with roles/dlp.user, or set GOOGLE_APPLICATION_CREDENTIALS")]) from None


def _secure(*args: Any, **given: Any) -> grpc.Channel:
    given["options"] = [*given.get("options", ()), *_OPTIONS]
    return DlpServiceGrpcTransport.create_channel(*args, **given)
