"""`client.keys`: the keys by which others come in."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from agent_runtime.client.key_models import Key, KeyWithText, NewKey, RotatedKey, Rotation
from agent_runtime.client.resource import Resource


class AsyncKeys(Resource):
    """API keys."""

    async def list(
        self, *, scope_id: str | None = None, after: str | None = None, limit: int = 100
    ) -> AsyncGenerator[Key, None]:
        """Yield keys in the order in which they were made, also those that hold no more.

        Args:
            scope_id: For keys for all scopes.
            after: The last key that is known.
            limit: How many are asked for at once.
        """
        keys = self._sender.pages(
            "/v1/keys", Key, query={"scope_id": scope_id, "cursor": after, "limit": limit}
        )
        async with aclosing(keys):
            async for key in keys:
                yield key

    async def get(self, key_id: str) -> Key:
        """Return what may be known of a key. Raises `UnknownKey`."""
        return await self._sender.call("GET", "/v1/keys/{key_id}", Key, path={"key_id": key_id})

    async def create(self, new: NewKey) -> KeyWithText:
        """Make a key. Its text is in the answer, and nowhere else ever again."""
        return await self._sender.call("POST", "/v1/keys", KeyWithText, body=new)

    async def rotate(self, key_id: str, *, overlap_seconds: float = 0) -> RotatedKey:
        """Make a key in the place of another one.

        Args:
            key_id: The other one.
            overlap_seconds: How long that still holds.
        """
        how = Rotation(overlap_seconds=overlap_seconds)
        return await self._sender.call(
            "POST", "/v1/keys/{key_id}/rotate", RotatedKey, path={"key_id": key_id}, body=how
        )

    async def revoke(self, key_id: str) -> Key:
        """Let a key hold no more."""
        return await self._sender.call(
            "POST", "/v1/keys/{key_id}/revoke", Key, path={"key_id": key_id}, again=True
        )
