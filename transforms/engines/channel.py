"""The client of DLP."""

from typing import cast

from google.cloud.dlp_v2 import DlpServiceClient
from google.cloud.dlp_v2.services.dlp_service.transports import DlpServiceGrpcTransport

from schemas.errors import Fault
from transforms import channel
from transforms.channel import Service

DLP = Service(DlpServiceClient, DlpServiceGrpcTransport, "dlp.googleapis.com", "dlp.europe-west1.rep.googleapis.com", 8085, "--dlp_endpoint", "roles/dlp.user")


def faults(endpoint: str) -> list[Fault]:
    """What is wrong with an endpoint: "" (the global one), HOST or HOST:PORT."""
    return channel.faults(DLP, endpoint)


def connect(endpoint: str) -> DlpServiceClient:
    """A client. Raises Misconfigured."""
    return cast(DlpServiceClient, channel.connect(DLP, endpoint))
