"""gRPC clients of Google's services, all made one way: with TLS and the credentials of the environment, or without both to this
machine and nowhere else.
"""

import ipaddress
import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import grpc
from google.api_core import exceptions
from google.api_core.retry import Retry, if_exception_type
from google.auth.exceptions import GoogleAuthError

from schemas.errors import Fault, Misconfigured

# gRPC would wait up to two minutes between its own attempts to connect, longer than many an outage; answers may pass its 4 MB.
_OPTIONS = [("grpc.initial_reconnect_backoff_ms", 200), ("grpc.min_reconnect_backoff_ms", 200), ("grpc.max_reconnect_backoff_ms", 5000),
            ("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
_SECURE = [*_OPTIONS, ("grpc.keepalive_time_ms", 30_000)]  # a connection that was cut without a word is found out
_LOCAL = [*_OPTIONS, ("grpc.enable_http_proxy", 0)]


class Service(NamedTuple):
    """A service of Google's. client, transport: of its library; host: Google's, regional: another one of Google's, port: of this
    machine, as examples; option: the flag that leads elsewhere, variable: that of the environment, "" for none; role: what the
    account needs; passes: what would pass in clear elsewhere.
    """

    client: Any
    transport: Any
    host: str
    regional: str
    port: int
    option: str
    role: str
    passes: str = "rows"
    variable: str = ""


def connect(service: Service, endpoint: str = "", environment: Mapping[str, str] = os.environ) -> Any:
    """A client. endpoint: HOST or HOST:PORT; "" for the variable's where it is set, else Google's. Raises Misconfigured."""
    if found := faults(service, endpoint, environment):
        raise Misconfigured(found)
    host = _given(service, endpoint, environment)
    if is_loopback(host):
        return service.client(transport=service.transport(host=host, channel=grpc.insecure_channel(host, options=_LOCAL)))

    def secure(*args: Any, **given: Any) -> grpc.Channel:
        given["options"] = [*given.get("options", ()), *_SECURE]
        return service.transport.create_channel(*args, **given)

    try:
        return service.client(transport=service.transport(host=host or service.host, channel=secure))
    except GoogleAuthError:
        raise Misconfigured([Fault("credentials", "there are none that Google's libraries can find",
                                   f"run as a service account with {service.role}, or set GOOGLE_APPLICATION_CREDENTIALS")]) from None


def again(seconds: float) -> Retry:
    """Tries a call that may be sent twice again, for so long, while the service is away or has too much to do."""
    passing = if_exception_type(exceptions.ServiceUnavailable, exceptions.DeadlineExceeded, exceptions.ResourceExhausted, exceptions.InternalServerError)
    return Retry(predicate=passing, initial=0.2, maximum=5.0, timeout=seconds)


def faults(service: Service, endpoint: str, environment: Mapping[str, str] = os.environ) -> list[Fault]:
    """What is wrong with an endpoint."""
    host = _given(service, endpoint, environment)
    if not host or is_loopback(host):
        return []
    if not endpoint:
        return [Fault(service.variable, f"is not on this machine: {service.passes} in clear would pass without TLS",
                      f"unset it, or give localhost:{service.port}")]
    if re.fullmatch(r"([a-z0-9-]+\.)+googleapis\.com(:\d{1,5})?", host):
        return []
    return [Fault(service.option, f"is neither an endpoint of Google's nor on this machine: {service.passes} in clear would go to it",
                  f"give HOST or HOST:PORT, without http://, such as {service.regional}, or localhost:{service.port}")]


def _given(service: Service, endpoint: str, environment: Mapping[str, str]) -> str:
    return endpoint or environment.get(service.variable, "").removeprefix("http://").rstrip("/")


def is_loopback(endpoint: str) -> bool:
    """localhost, 127.0.0.0/8 or [::1], with or without a port."""
    found = re.fullmatch(r"(?:\[([0-9a-f:]+)\]|([a-z0-9.-]+))(?::\d{1,5})?", endpoint)
    host = (found[1] or found[2]) if found else ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
