"""A client for an address, its errors as ours, and the patience with a server that does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from redis.asyncio import Redis, from_url
from redis.exceptions import AuthenticationError, OutOfMemoryError, ReadOnlyError, RedisError, ResponseError

from agent_runtime.errors import ConfigurationError, StorageError, StorageFull, StorageReadOnly

ANSWER_SECONDS: Final = 5.0
"""Seconds after which a server that does not answer is given up."""
DRIVER_ERRORS = (RedisError, OSError, TimeoutError)


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


@asynccontextmanager
async def answered(seconds: float = ANSWER_SECONDS) -> AsyncIterator[None]:
    """Give a server so many seconds, and raise the client's errors as `StorageError`s."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except DRIVER_ERRORS as error:
        raise translated(error) from error
