"""Bodies of requests: bounded, and read as JSON is read everywhere here: number for number, and no deeper than anybody means."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent_runtime.server.access import CALLER
from agent_runtime.server.problems import problem
from llm_client.json_text import loads

MAX_UNKNOWN: Final = 8 * 1024
"""Bytes of a request that brings no key: it can only bring one in another way."""

BODY_SECONDS: Final = 60.0
"""How long a body may take to come: what has come is kept, and nobody can know whether the rest ever will."""


class BodyLimit:
    """Refuses requests that are too long, before they are read as far as they say how long they are, and while otherwise; and those that do not come.

    Args:
        app: What is behind it.
        most: Bytes.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = self._most if scope.get(CALLER) is not None else min(self._most, MAX_UNKNOWN)
        said = Headers(scope=scope).get("content-length", "0")
        if not said.isascii() or not said.isdigit() or int(said[:19]) > most:
            await _too_long(most)(scope, receive, send)
            return
        body, is_whole, answered = 0, False, False
        until = asyncio.get_running_loop().time() + BODY_SECONDS

        async def counted() -> Message:
            nonlocal body, is_whole
            if is_whole:  # who asks once more waits for the client to leave
                return await receive()
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError:
                raise _RefusedBody(_too_slow()) from None
            body += len(message.get("body", b""))
            if body > most:
                raise _RefusedBody(_too_long(most))
            is_whole = not message.get("more_body", False)
            return message

        async def noted(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self._app(scope, counted, noted)
        except _RefusedBody as refused:
            if answered:
                raise
            await refused.response(scope, receive, send)


class _RefusedBody(BaseException):
    """A request is not read to its end.

    Args:
        response: What is answered.
    """

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


def _too_long(most: int) -> Response:
    return problem(413, "CONTENT_TOO_LARGE", f"a request may have {most:,} bytes")


def _too_slow() -> Response:
    said = f"a request has to be there within {BODY_SECONDS:.0f} seconds"
    return problem(408, "REQUEST_TIMEOUT", said, headers={"Connection": "close"})


class JsonRequest(Request):
    """A request whose body is read by the bounded reader of the vendors' answers."""

    async def json(self) -> Any:
        """Return the body. Raises `JSONDecodeError` for what is not JSON, or more than anybody means."""
        return loads(await self.body())


class JsonRoute(APIRoute):
    """A route whose requests are read so."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        handle = super().get_route_handler()

        async def handle_json(request: Request) -> Response:
            return await handle(JsonRequest(request.scope, request.receive))

        return handle_json
