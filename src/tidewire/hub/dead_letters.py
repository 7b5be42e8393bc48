"""Dead letters: messages that a consumer was sent in vain, kept in a channel of its own."""

from __future__ import annotations

import msgspec

from tidewire.model import Draft, Message
from tidewire.model.owner import owner_name, whose

CHANNEL = "dead-letter:"

_decode = msgspec.json.Decoder(dict[str, str]).decode


def dead_letter(message: Message, consumer: str, reason: str, deliveries: int) -> Draft:
    """*message* as it goes to the dead letters of *consumer*, which was sent it so often.

    Those of a user's consumer belong to the user: the channel is ``dead-letter:NAME#USER``.
    *reason* is ``max_deliver`` or ``rejected``. The key makes it come there once.
    """
    headers = _decode(message.headers) if message.headers else {}
    headers |= {
        "tidewire-channel": message.channel,
        "tidewire-id": message.cursor.decode(),
        "tidewire-deliveries": str(deliveries),
        "tidewire-reason": reason,
    }
    return Draft(
        _channel(consumer),
        message.data,
        message.event,
        msgspec.json.encode(headers),
        message.binary,
        f"{consumer}-{message.id}",
    )


def _channel(consumer: str) -> str:
    user, name = whose(consumer)
    return CHANNEL + name if user is None else f"{CHANNEL}{name}#{owner_name(user)}"
