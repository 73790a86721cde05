"""`client.messages`: what is sent to whichever job receives under an identity."""

from __future__ import annotations

from agent_runtime.client.models import Json, NewMessage, SentMessage
from agent_runtime.client.resource import Resource
from agent_runtime.ports.ids import new_id


class AsyncMessages(Resource):
    """Messages to jobs."""

    async def send(
        self, to: str, message: Json, *, dedupe_key: str | None = None, scope_id: str | None = None
    ) -> SentMessage:
        """Send a message; it is stored when this returns.

        Args:
            to: The identity.
            message: Any JSON value.
            dedupe_key: A second message with it is not sent. Without one, one is made for the tries of this call.
            scope_id: For keys for all scopes.

        Raises:
            InboxFull: Too many wait for the identity, still after some tries.
        """
        new = NewMessage(
            to=to, message=message, dedupe_key=dedupe_key or new_id("message"), scope_id=scope_id
        )
        return await self._sender.call("POST", "/v1/messages", SentMessage, body=new, again=True)
