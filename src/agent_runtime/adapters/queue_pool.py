"""The queue's connections: no round trip but the one that does the work.

procrastinate takes a connection from its pool for every statement, by default asks the server first whether it is there,
and puts a transaction around each. Its statements are single ones, so they need none; and whether the server has closed
a connection is seen in its socket, without asking. Together that is one round trip for each statement instead of four.
"""

from __future__ import annotations

import select
from typing import Any

import psycopg
import psycopg_pool


def queue_pool(**arguments: Any) -> psycopg_pool.AsyncConnectionPool:
    """Return a pool as procrastinate wants it made, with a cheaper check of its connections."""
    return psycopg_pool.AsyncConnectionPool(**arguments | {"check": check_socket, "configure": _autocommit})


async def _autocommit(connection: psycopg.AsyncConnection[Any]) -> None:
    await connection.set_autocommit(True)


async def check_socket(connection: psycopg.AsyncConnection[Any]) -> None:
    """Ask the server whether it is there, if it has said something unasked: usually that it goes.

    Raises:
        psycopg.OperationalError: The connection is of no use any more.
    """
    socket = select.poll()
    socket.register(connection.fileno(), select.POLLIN)
    if socket.poll(0):
        await psycopg_pool.AsyncConnectionPool.check_connection(connection)
