"""Messages of clients, read and counted before the SDK reads them, which it does on the event loop, and before it asks who may send them."""

from __future__ import annotations

import re
from functools import partial
from typing import Final

from mcp_types import INVALID_REQUEST, PARSE_ERROR, ErrorData, JSONRPCError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope

from llm_client.json_text import TooDeep, TooManyParts, check_lists, dumps, holds_more, loads
from llm_client.turns import read_aside

MAX_VALUES: Final = 20_000
"""Values of a message in all: fields, and items of lists. Arguments are what a model has written, or what a program hands to an operator."""
MAX_BESIDE: Final = 2_000
"""Values beside the arguments: answers to questions, what a client can do, what it says of itself. Each of them is looked at by several schemas."""
TOO_MUCH: Final = (
    f"a message may hold {MAX_VALUES:,} values, and {MAX_BESIDE:,} beside the arguments of a tool"
)
_HALF: Final = re.compile(rb"\\u[dD][89a-fA-F]")


class Refused(Exception):
    """A message that is not handed on.

    Args:
        status: Of the answer.
        code: Of JSON-RPC.
        words: Why.
    """

    def __init__(self, status: int, code: int, words: str) -> None:
        super().__init__(words)
        error = JSONRPCError(jsonrpc="2.0", id=None, error=ErrorData(code=code, message=words))
        self.response = Response(
            error.model_dump_json(by_alias=True, exclude_unset=True), status, media_type="application/json"
        )


async def read_message(scope: Scope, receive: Receive) -> Receive | None:
    """Read the message of a request, and return what gives it once more; `None` when its sender has left.

    Raises:
        Refused: It is no JSON, or holds more than anybody means.
    """
    try:
        body = await Request(scope, receive).body()
    except ClientDisconnect:
        return None
    body = await read_aside(body, partial(_checked, body))
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _checked(body: bytes) -> bytes:
    """Return a message as the SDK can read it: halves of surrogate pairs are joined, or become U+FFFD, as everywhere here."""
    try:
        check_lists(body, MAX_VALUES)  # before each becomes an object
        message = loads(body)
    except (TooDeep, TooManyParts) as error:
        raise Refused(413, INVALID_REQUEST, f"this is no message: {error.msg}") from error
    except ValueError as error:
        raise Refused(400, PARSE_ERROR, "this is no JSON") from error
    if not isinstance(message, dict):
        raise Refused(400, INVALID_REQUEST, "a request brings one message")
    params = message.get("params")
    beside = {**message, "params": _without_arguments(params)} if isinstance(params, dict) else message
    if holds_more(message, MAX_VALUES) or holds_more(beside, MAX_BESIDE):
        raise Refused(413, INVALID_REQUEST, TOO_MUCH)
    return body if _HALF.search(body) is None else dumps(message)


def _without_arguments(params: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in params.items() if name != "arguments"}
