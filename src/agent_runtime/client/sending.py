"""Sending requests: what may be sent again is, for a while, and what a service refuses is raised."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final, TypeVar
from urllib.parse import quote

import httpx2
from pydantic import BaseModel, ValidationError

from agent_runtime.client.failures import error_of
from agent_runtime.client.models import Page
from agent_runtime.errors import InvalidInput, ServiceError, ServiceUnreachable
from llm_client.background import Backoff
from llm_client.public_text import public_text
from llm_client.turns import aside

Model = TypeVar("Model", bound=BaseModel)
Item = TypeVar("Item", bound=BaseModel)
QueryValue = str | int | float | bool | datetime | Sequence[str] | None

TRIES: Final = 5
"""Of what must not be done twice, and has not been done."""
FIRST_WAIT: Final = 0.2
LONGEST_WAIT: Final = 10.0
REFUSED: Final = 429
"""Nothing was done: whatever it was may be sent again."""
QUIET: Final = 60.0
"""Seconds for which a stream may bring nothing: the service gives signs of life more often."""
AWAY: Final = frozenset({502, 503, 504})
"""Nobody knows whether it was done."""


class Sender:
    """Sends requests to one service.

    Args:
        make: Makes what sends them, with the key: once, and in a thread, since it reads certificates.
        timeout: Seconds for which an answer may keep one waiting.
        tries: How often a request is sent at most; `None` for as often as patience allows, and five times what must not be done twice.
        patience: Seconds for which tries of one request may wait, all together: how long the service may be away for what only reads.
    """

    def __init__(
        self, make: Callable[[], httpx2.AsyncClient], *, timeout: float, tries: int | None, patience: float
    ) -> None:
        self._make = make
        self._http: httpx2.AsyncClient | None = None
        self.timeout = timeout
        self.tries = tries
        self.patience = patience

    async def aclose(self) -> None:
        """Close the connections."""
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()

    async def _connected(self) -> httpx2.AsyncClient:
        if self._http is None:
            self._http = await self._made()
        return self._http

    async def _made(self) -> httpx2.AsyncClient:
        made = await aside(self._make)
        return self._http or made  # another request may have been faster; this one has nothing open

    async def call(
        self,
        method: str,
        route: str,
        model: type[Model],
        *,
        path: Mapping[str, str] | None = None,
        query: Mapping[str, QueryValue] | None = None,
        body: BaseModel | None = None,
        headers: Mapping[str, str | None] | None = None,
        again: bool | None = None,
    ) -> Model:
        """Send a request, and return what is answered.

        Args:
            method: Of HTTP.
            route: The address, with the names of ids in braces.
            model: What is answered.
            path: The ids.
            query: Parameters; what is `None` is left out.
            body: What is sent; what was not set is left out.
            headers: Further ones; what is `None` is left out.
            again: Whether it may be done twice, and is sent again when nobody knows whether it was done; by default what only reads.

        Raises:
            AgentRuntimeError: The service has refused it; see `error_of`.
            ServiceUnreachable: It does not answer.
        """
        response = await self.send(
            method, route, path=path, query=query, body=body, headers=headers, again=again
        )
        try:
            return model.model_validate_json(response.content)
        except ValidationError:
            raise ServiceError(
                f"{method} {route} was answered with something else than a {model.__name__}: is this the service, and of this release?",
                status=response.status_code,
            ) from None

    async def send(
        self,
        method: str,
        route: str,
        *,
        path: Mapping[str, str] | None = None,
        query: Mapping[str, QueryValue] | None = None,
        body: BaseModel | None = None,
        headers: Mapping[str, str | None] | None = None,
        again: bool | None = None,
    ) -> httpx2.Response:
        """Send a request, and return the answer, which is none of a failure. Arguments and errors are those of `call`."""
        again = method == "GET" if again is None else again
        http = await self._connected()
        sent = {name: value for name, value in (headers or {}).items() if value is not None}
        content = None if body is None else body.model_dump_json(exclude_unset=True).encode()
        if content is not None:
            sent["Content-Type"] = "application/json"
        where, params = address(route, path or {}), parameters(query or {})
        backoff = Backoff(FIRST_WAIT, LONGEST_WAIT)
        left = self.patience
        most = TRIES if self.tries is None and not again else self.tries
        while True:
            is_last = most is not None and backoff.failures + 1 >= most
            asked: float | None = None
            try:
                response = await http.request(method, where, params=params, content=content, headers=sent)
            except httpx2.TransportError as error:
                is_last = is_last or not (again or isinstance(error, httpx2.ConnectError))
                failure: Exception = unreachable(error)
            else:
                if response.is_success:
                    return response
                asked = retry_after(response)
                failure = error_of(response.status_code, response.content, asked)
                is_last = is_last or not is_sent_again(response.status_code, again=again)
            wait = max(min(backoff.next(), left), asked or 0.0)
            if is_last or left <= 0 or wait > left:
                raise failure
            left -= wait
            await asyncio.sleep(wait)

    async def pages(
        self,
        route: str,
        item: type[Item],
        *,
        path: Mapping[str, str] | None = None,
        query: Mapping[str, QueryValue] | None = None,
        cursor: str = "cursor",
    ) -> AsyncGenerator[Item, None]:
        """Yield the items of a list, page by page, as they are asked for.

        Args:
            route: The list's.
            item: What is in it.
            path: The ids.
            query: Parameters of every page.
            cursor: The one that says where a page goes on.
        """
        asked = dict(query or {})
        while True:
            page = await self.call("GET", route, Page[item], path=path, query=asked)  # type: ignore[valid-type]  # made when it is called
            for one in page.items:
                yield one
            if page.next is None:
                return
            asked[cursor] = page.next

    @asynccontextmanager
    async def stream(
        self,
        route: str,
        *,
        path: Mapping[str, str],
        query: Mapping[str, QueryValue],
        headers: Mapping[str, str],
    ) -> AsyncIterator[httpx2.Response]:
        """Give the answer of a request whose content is read as it comes. Raises as `call` does, and `ServiceUnreachable` where the connection is lost."""
        http = await self._connected()
        try:
            quiet = httpx2.Timeout(self.timeout, read=max(self.timeout, QUIET))
            async with http.stream(
                "GET", address(route, path), params=parameters(query), headers=dict(headers), timeout=quiet
            ) as response:
                if not response.is_success:
                    content = await response.aread()
                    raise error_of(response.status_code, content, retry_after(response))
                yield response
        except httpx2.TransportError as error:
            raise unreachable(error) from None


def address(route: str, path: Mapping[str, str]) -> str:
    """Return the address of a route, with ids in their places. Raises `InvalidInput` for what would be another address."""
    for name, id_ in path.items():
        if id_ in ("", ".", ".."):
            raise InvalidInput(f"{name} cannot be {id_!r}")
        route = route.replace("{" + name + "}", quote(id_, safe=""))
    return route


def parameters(query: Mapping[str, QueryValue]) -> tuple[tuple[str, str], ...]:
    """Return parameters as they are written; those of a list are repeated."""
    written: list[tuple[str, str]] = []
    for name, value in query.items():
        if value is None:
            continue
        if isinstance(value, str):
            written.append((name, str(value)))
        elif isinstance(value, bool):
            written.append((name, "true" if value else "false"))
        elif isinstance(value, datetime):
            written.append((name, value.isoformat()))
        elif isinstance(value, Sequence):
            written += [(name, str(one)) for one in value]
        else:
            written.append((name, str(value)))
    return tuple(written)


def is_sent_again(status: int, *, again: bool) -> bool:
    """Whether a request that was refused so is sent again."""
    return status == REFUSED or (again and status in AWAY)


def retry_after(response: httpx2.Response) -> float | None:
    """Return the seconds for which a service wants to be left alone, `None` where it says nothing of it."""
    said = response.headers.get("retry-after", "")
    return float(said) if said.isascii() and said.isdigit() and len(said) < 8 else None


def unreachable(error: Exception) -> ServiceUnreachable:
    """Return the error of a service that does not answer, without what was sent."""
    return ServiceUnreachable(
        f"the service does not answer: {type(error).__name__}: {public_text(str(error))}"
    )
