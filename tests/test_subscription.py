"""A message as the source of the streaming graph hands it on."""

import pytest
from apache_beam.io.gcp.pubsub import PubsubMessage
from google.protobuf.timestamp_pb2 import Timestamp
from google.pubsub_v1 import types

from pipelines.sources.subscription import message
from transforms.formats.block import Message


@pytest.mark.parametrize(("given", "expected", "remark"), [
    ({"data": b'{"id": 1}', "message_id": "12", "publish_time": Timestamp(seconds=1_700_000_000, nanos=123_456_789), "attributes": {"k": "v"}},
     Message(b'{"id": 1}', "12", 1_700_000_000_123_456, {"k": "v"}), "to the microsecond"),
    ({"message_id": "13", "publish_time": Timestamp(seconds=1), "attributes": {"k": ""}}, Message(b"", "13", 1_000_000, {"k": ""}), "attributes alone"),
    ({"data": b"\x00", "message_id": "14", "publish_time": Timestamp(nanos=1000)}, Message(b"\x00", "14", 1, {}), "data alone"),
])
def test_what_dataflow_gives(given: dict[str, object], expected: Message, remark: str) -> None:
    """Dataflow hands the service's own message to Beam, as bytes."""
    raw = types.PubsubMessage.serialize(types.PubsubMessage(given))
    assert message(PubsubMessage._from_proto_str(raw)) == expected, remark


@pytest.mark.parametrize("given", [PubsubMessage(b"secret", {}), PubsubMessage(b"secret", {}, message_id="1")])
def test_without_id_or_time(given: PubsubMessage) -> None:
    with pytest.raises(ValueError) as raised:
        message(given)
    assert "secret" not in str(raised.value)
