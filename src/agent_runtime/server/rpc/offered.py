"""All that can be called, and what tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent_runtime.server.rpc.agent_methods import AGENT_METHODS
from agent_runtime.server.rpc.mail_methods import MAIL_METHODS
from agent_runtime.server.rpc.methods import Method, Params, table
from agent_runtime.server.rpc.openrpc import document
from agent_runtime.server.rpc.session import SESSION_METHODS


class Discover(Params):
    """Nothing is asked."""


def offered(version: str) -> Mapping[str, Method[Any]]:
    """Return all methods by their names.

    Args:
        version: Of the service, for its document.
    """

    async def discover(_: object, __: Discover) -> dict[str, Any]:
        return document(methods.values(), version)

    found = Method(
        name="rpc.discover",
        params=Discover,
        result=dict[str, Any],
        permission=None,
        summary="Tell what can be called, as an OpenRPC document.",
        answer=discover,
    )
    methods = table(SESSION_METHODS, AGENT_METHODS, MAIL_METHODS, [found])
    return methods
