"""What the parts of a client have in common: the one who sends."""

from __future__ import annotations

from agent_runtime.client.sending import Sender


class Resource:
    """A part of a client.

    Args:
        sender: Who sends its requests.
    """

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
