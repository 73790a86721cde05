"""JSON-RPC 2.0 (https://www.jsonrpc.org/specification): from a text that came to the text that is answered, whatever carries both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import orjson
from pydantic import BaseModel

from agent_runtime.server.rpc.methods import Method
from agent_runtime.server.rpc.refusals import (
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    Refused,
    refusal_of,
)
from llm_client.json_text import dumps, loads
from llm_client.turns import LARGE, aside, read_aside

MAX_BATCH: Final = 100
"""Requests that may come as one array."""
MAX_NAME: Final = 200
"""Characters of a method's name that is looked for."""
_NO_ID: Final = object()
"""Where a request has none, it is a notification, to which nothing is answered."""


class Request(NamedTuple):
    """A request that is one."""

    method: str
    params: Mapping[str, object] | list[object] | None
    id: object
    """`_NO_ID` of a notification."""


class Dispatcher:
    """Answers what one client asks. Calls go on side by side, as many as there is room for; others wait for a place.

    Args:
        methods: What can be called.
        admit: Raises for a call that may not be made, before its params are read; it is told of each one.
        room: How many calls of this client go on at a time.
    """

    def __init__(
        self,
        methods: Mapping[str, Method[Any]],
        admit: Callable[[Method[Any] | None], None],
        *,
        room: int,
    ) -> None:
        self._methods = methods
        self._admit = admit
        self._room = asyncio.Semaphore(room)

    async def answer(self, text: str, caller: object) -> bytes | None:
        """Return what is answered to a text, or `None` where nothing is: to notifications.

        Args:
            text: A request, a notification, or an array of them.
            caller: Given to the methods.
        """
        try:
            said = loads(text) if len(text) <= LARGE else await aside(loads, text)
        except ValueError as error:  # `JSONDecodeError` is one
            return await _written(_failed(None, Refused(PARSE_ERROR, data=_detail(_why(error)))))
        if not isinstance(said, list):
            answered = await self._one(said, caller)
            return None if answered is None else await _written(answered)
        if not said:
            return await _written(_failed(None, _invalid("an empty array asks for nothing")))
        if len(said) > MAX_BATCH:
            return await _written(_failed(None, _invalid(f"an array has at most {MAX_BATCH} requests")))
        all_answered = await asyncio.gather(*(self._one(each, caller) for each in said))
        parts = [each for each in all_answered if each is not None]
        return await _written(parts) if parts else None

    async def _one(self, said: object, caller: object) -> dict[str, Any] | None:
        """Answer one request of an array, or the only one."""
        try:
            request = _request_in(said)
        except Refused as error:
            return _failed(_id_in(said), error)
        try:
            async with self._room:
                result = await self._called(request, caller)
            answered = {"jsonrpc": "2.0", "id": request.id, "result": result}
        except Exception as error:  # noqa: BLE001 -- logged there, where it is a mistake of ours
            answered = _failed(request.id, refusal_of(error, request.method[:MAX_NAME]))
        return None if request.id is _NO_ID else answered

    async def _called(self, request: Request, caller: object) -> object:
        method = self._methods.get(request.method)
        self._admit(method)
        if method is None:
            raise Refused(METHOD_NOT_FOUND, data=_detail("rpc.discover tells what there is"))
        made = await method.answer(caller, await method.read(request.params))
        # Written now, so that what cannot be written fails this call alone, and not the array that it came in.
        return orjson.Fragment(await read_aside(made, lambda: dumps(plain(made))))


def plain(value: object) -> object:
    """Return a result as JSON values, models with their names on the wire."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value


def _request_in(said: object) -> Request:
    """Return a request as it is meant. Raises `Refused` for what is none."""
    if not isinstance(said, dict):
        raise _invalid("a request is an object")
    if said.get("jsonrpc") != "2.0":
        raise _invalid('jsonrpc is "2.0"')
    method, id_ = said.get("method"), said.get("id", _NO_ID)
    params: Any = said.get("params", _NO_ID)
    if not isinstance(method, str):
        raise _invalid("method is a text")
    if id_ is not _NO_ID and not _is_id(id_):
        raise _invalid("id is a text, a number or null")
    if params is not _NO_ID and not isinstance(params, dict | list):
        raise _invalid("params are an object or an array")
    given: Any = None if params is _NO_ID else params
    return Request(method, given, id_)


def _id_in(said: object) -> object:
    """Return the id of what is no request, as far as it has one that can be an id."""
    found = said.get("id") if isinstance(said, dict) else None
    return found if _is_id(found) else None


def _is_id(value: object) -> bool:
    return value is None or (isinstance(value, str | int | float) and not isinstance(value, bool))


def _failed(id_: object, error: Refused) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id_, "error": error.told()}


def _invalid(detail: str) -> Refused:
    return Refused(INVALID_REQUEST, data=_detail(detail))


def _detail(detail: str) -> dict[str, str]:
    return {"detail": detail}


def _why(error: ValueError) -> str:
    """Return why a text was not read, without any of it."""
    return str(getattr(error, "msg", "it is no JSON"))[:200]


async def _written(answer: object) -> bytes:
    """Write an answer. Numbers of ids stand in it digit for digit."""
    return await read_aside(answer, lambda: dumps(answer))
