"""How a message is kept in state and moved between workers: by Beam's own coders, so that a job's next version can read it."""

from apache_beam.coders import BytesCoder, Coder, MapCoder, StrUtf8Coder, TupleCoder, VarIntCoder, registry

from transforms.formats.block import Message

_FIELDS = TupleCoder((BytesCoder(), StrUtf8Coder(), VarIntCoder(), MapCoder(StrUtf8Coder(), StrUtf8Coder())))


class MessageCoder(Coder):
    """data, id, published and attributes, in this order, each as Beam's coder of its type has it."""

    def encode(self, value: Message) -> bytes:
        encoded: bytes = _FIELDS.encode(tuple(value))
        return encoded

    def decode(self, encoded: bytes) -> Message:
        return Message._make(_FIELDS.decode(encoded))

    def is_deterministic(self) -> bool:
        return False

    def to_type_hint(self) -> type:
        return Message


registry.register_coder(Message, MessageCoder)
