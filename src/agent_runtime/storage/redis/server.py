"""A client for an address, its errors as ours, and the patience with a server that does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Final, TypeVar

from redis.asyncio import Redis, from_url
from redis.exceptions import (
    AuthenticationError,
    ConnectionError,  # noqa: A004 -- the client's own
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeout

from agent_runtime.errors import ConfigurationError, StorageError, StorageFull, StorageReadOnly
from llm_client.background import begin, ended

Answer = TypeVar("Answer")
ANSWER_SECONDS: Final = 5.0
"""Seconds after which a server that does not answer is given up."""
MOST_AT_ONCE: Final = 16
"""Commands that one store, cache or channel has in flight."""
DRIVER_ERRORS = (RedisError, OSError, TimeoutError)


def is_lost(error: BaseException | None) -> bool:
    """Whether nobody knows what the server made of a command."""
    lost = isinstance(error, ConnectionError | OSError | TimeoutError | RedisTimeout)
    return lost and not isinstance(error, AuthenticationError)


def translated(error: BaseException) -> StorageError:
    """Return the storage error that says what happened. Never contains a value or an address."""
    if isinstance(error, AuthenticationError):
        return StorageError("the Redis server does not accept this user or password")
    if isinstance(error, OutOfMemoryError):
        return StorageFull("the memory of the Redis server is full; nothing of this change was written")
    if isinstance(error, ReadOnlyError):
        return StorageReadOnly("the Redis server is read-only; is it a replica?")
    if isinstance(error, ResponseError):
        return StorageError(f"Redis refused a command ({type(error).__name__})")
    return StorageError(f"the Redis server cannot be reached ({type(error).__name__})")


def client_at(url: str) -> Redis:
    """Return a client for an address, which connects when it is first used.

    Raises:
        ConfigurationError: It is not one. It may hold a password, so it is not repeated.
    """
    try:
        client: Redis = from_url(url)
    except ValueError:
        raise ConfigurationError(
            "the address of Redis is not one; write redis://host:6379/0, or rediss:// for TLS"
        ) from None
    return client


class Server:
    """A client and the slots for its commands: more at once than its pool has connections would be refused.

    Args:
        client: The caller's.
    """

    def __init__(self, client: Redis) -> None:
        self.client = client
        connections = client.connection_pool.max_connections or MOST_AT_ONCE
        self._places = asyncio.Semaphore(max(1, min(MOST_AT_ONCE, connections // 4)))

    async def answered(
        self, ask: Callable[[Redis], Awaitable[Answer]], *, seconds: float = ANSWER_SECONDS
    ) -> Answer:
        """Have a command answered within so many seconds, waiting for a slot included.

        It runs in a task of its own: before Python 3.12 the client swallows a cancellation, and with it a caller's
        time-out, that comes while it sends.

        Raises:
            StorageError: It was not answered, or refused.
        """

        async def run() -> Answer:
            async with self._places:
                return await ask(self.client)

        task = begin(run(), name="redis command", context=Context())
        try:
            await asyncio.wait((task,), timeout=seconds)
        finally:
            await ended(task)
        if task.cancelled():
            raise translated(TimeoutError())
        try:
            return task.result()
        except DRIVER_ERRORS as error:
            raise translated(error) from error
