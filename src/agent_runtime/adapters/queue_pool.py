"""The queue's connections: no round trip but the one that does the work.

procrastinate takes a connection from its pool for every statement, by default asks the server first whether it is there,
and puts a transaction around each. Its statements are single ones, so they need none; and whether the server has closed
a connection is seen in its socket, without asking. Together that is one round trip for each statement instead of four.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from typing import Any, Final
from weakref import WeakSet

import psycopg
import psycopg_pool

from llm_client.logs import drop_foreign

POOL: Final = "agent-runtime entries"
BY_KEY: Final = """
SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off
"""
"""The queue finds its rows by key; a plan made while a table was small must not scan it when a burst has come. And a
statement about a thousand jobs looks dear to the server, which would take seconds to compile it. That plans are made anew for
each call would not do: to plan what procrastinate fetches with, the server reads past all entries that were there."""


def _tells_of_an_outage(said: str) -> bool:
    """Whether the drivers of this pool say once more that the server is away: the queue tells of that once a minute."""
    return POOL in said or " error: ConnectorException" in said


def queue_pool(**arguments: Any) -> psycopg_pool.AsyncConnectionPool:
    """Return a pool as procrastinate wants it made, with a cheaper check of its connections."""
    drop_foreign(("psycopg.pool", "procrastinate.utils"), _tells_of_an_outage)
    own = {"name": POOL, "configure": _autocommit}
    return psycopg_pool.AsyncConnectionPool(**{**own, **arguments, "check": check_socket})


async def _autocommit(connection: psycopg.AsyncConnection[object]) -> None:
    await connection.set_autocommit(True)


class QueueConnections:
    """All connections of one queue, those in use and the one that listens included."""

    def __init__(self) -> None:
        self._all: WeakSet[psycopg.AsyncConnection[object]] = WeakSet()

    async def configure(self, connection: psycopg.AsyncConnection[object]) -> None:
        """Prepare a new connection."""
        self._all.add(connection)
        await _autocommit(connection)
        await connection.execute(BY_KEY)

    def abort(self) -> None:
        """Let everything that still waits for the server fail, as if the server had gone.

        What procrastinate's worker does when it is stopped cannot be cancelled, and a server that does not answer would
        keep it, and the process, for ever.
        """
        for connection in self._all:
            if not connection.closed:
                with contextlib.suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as own:
                    own.shutdown(socket.SHUT_RDWR)


async def check_socket(connection: psycopg.AsyncConnection[object]) -> None:
    """Ask the server whether it is there, if it has said something unasked: usually that it goes.

    Raises:
        psycopg.OperationalError: The connection is of no use any more.
    """
    watched = select.poll()
    watched.register(connection.fileno(), select.POLLIN)
    if watched.poll(0):
        await psycopg_pool.AsyncConnectionPool.check_connection(connection)
