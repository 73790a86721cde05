"""Who asks, and what for: keys and tokens are checked before a request is read, and every route says which permission it takes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import Depends, Request
from fastapi.security import APIKeyCookie, APIKeyHeader, HTTPBearer
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import cookie_parser
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from agent_runtime.errors import AgentRuntimeError
from agent_runtime.kernel.kernel import Kernel
from agent_runtime.server.jwt.bearer import Bearer, looks_like_token
from agent_runtime.server.problems import deny, problem, problem_of
from agent_runtime.server.rates import Rates
from agent_runtime.values.api_key import ApiKey, Permission, Role
from agent_runtime.values.context import DEFAULT_SCOPE

if TYPE_CHECKING:
    from agent_runtime.server.jwt.tokens import Tokens

HEALTH: Final = frozenset({"/health/live", "/health/ready"})
"""What needs no key, and tells nothing of anybody."""
OPEN: Final = frozenset({("POST", "/v1/session"), ("DELETE", "/v1/session")})
"""What a key is brought to in another way, and what only lets go of it."""
COOKIE: Final = "agent_runtime_session"
FROM_ELSEWHERE: Final = "who changes something with a cookie sends the header X-Own-Page: 1"
OWN_PAGE: Final = "X-Own-Page"
"""A header that a page of another origin cannot send without being asked for leave: who changes something with a cookie sends it."""
BEARER: Final = "bearer."
"""With a key behind it, a subprotocol of a WebSocket: a browser's page that has a key cannot send it there in any other way."""
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
CALLER: Final = "agent_runtime.caller"
_CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="agent-runtime"'}


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Whoever sent a request."""

    name: str
    """Of the key, or of whom a token names, to count by: never the key or token itself."""
    key_id: str | None = None
    expires_at: datetime | None = None
    """Of a token: from when it does not hold any more."""
    role: Role
    scope_id: str | None = None
    """The one scope that exists for the caller; `None` is all of them."""
    principal_id: str | None = None
    only_reads: bool = False
    """It came by a cookie, and perhaps from a page of another site: whatever its role, it changes nothing."""

    @classmethod
    def of(cls, key: ApiKey, *, only_reads: bool = False) -> Caller:
        """Return who asks with a key."""
        return cls(
            only_reads=only_reads,
            name=f"key:{key.key_id}",
            key_id=key.key_id,
            role=key.role,
            scope_id=key.scope_id,
            principal_id=key.principal_id,
        )

    @classmethod
    def of_token(cls, bearer: Bearer, *, only_reads: bool = False) -> Caller:
        """Return who asks with a token."""
        return cls(
            only_reads=only_reads,
            name=f"token:{bearer.principal_id}",
            expires_at=bearer.expires_at,
            role=bearer.role,
            scope_id=bearer.scope_id,
            principal_id=bearer.principal_id,
        )

    @property
    def person(self) -> str:
        """Who is named as having done what this caller does: the key's principal, or the key."""
        return self.principal_id or self.name

    def sees(self, asked: str | None) -> str | None:
        """Return the scope to look in: the caller's own, or the one that is asked for. `None` is all of them."""
        if self.scope_id is not None and asked not in (None, self.scope_id):
            raise HTTPException(403, "this key is for another scope")
        return self.scope_id or asked

    def acts_in(self, asked: str | None) -> str:
        """Return the scope to make something in."""
        return self.sees(asked) or DEFAULT_SCOPE

    def acts_for(self, asked: str | None) -> str | None:
        """Return on whose behalf something is done: a key that names a person acts for that one alone."""
        if self.principal_id is not None and asked not in (None, self.principal_id):
            raise HTTPException(403, "this key is another person's")
        return self.principal_id or asked


EVERYBODY: Final = Caller(name="anybody", role=Role.ADMIN)
"""Who asks where nobody is asked for a key."""
OWN_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
"""What a machine is called by itself."""

_bearer = HTTPBearer(
    auto_error=False,
    description="An API key: `Authorization: Bearer ark_…`; or a token of the identity provider that the service knows.",
)
_cookie = APIKeyCookie(
    name=COOKIE, auto_error=False, description=f"A session; what changes something sends {OWN_PAGE}, too."
)
_header = APIKeyHeader(name="X-API-Key", auto_error=False, description="An API key.")


def needs(
    permission: Permission, *, all_scopes: bool = False
) -> Callable[[Request], Coroutine[None, None, Caller]]:
    """Return the dependency of a route that takes a permission; it gives the route its caller.

    Args:
        permission: Which one.
        all_scopes: Whether it is for those alone who run the installation, with a key for all scopes.
    """

    async def caller_of(
        request: Request,
        _bearer: Annotated[object, Depends(_bearer)] = None,
        _header: Annotated[object, Depends(_header)] = None,
        _cookie: Annotated[object, Depends(_cookie)] = None,
    ) -> Caller:
        caller: Caller = request.scope[CALLER]
        if caller.only_reads and permission is not Permission.READ:
            raise HTTPException(403, FROM_ELSEWHERE)
        if not caller.role.allows(permission):
            raise HTTPException(403, f"the role {caller.role} may not {permission}")
        if all_scopes and caller.scope_id is not None:
            raise HTTPException(403, "this takes a key for all scopes")
        return caller

    caller_of.__dict__.update(
        permission=permission, all_scopes=all_scopes
    )  # for whoever walks through the routes
    return caller_of


Reader = Annotated[Caller, Depends(needs(Permission.READ))]
Operating = Annotated[Caller, Depends(needs(Permission.OPERATE))]
Approving = Annotated[Caller, Depends(needs(Permission.APPROVE))]
Administering = Annotated[Caller, Depends(needs(Permission.ADMINISTER))]
INSTALLING = Depends(needs(Permission.ADMINISTER, all_scopes=True))
"""For routes that ask no more than that their caller is one of those who run the installation."""
WATCHING = Depends(needs(Permission.READ, all_scopes=True))


def what_is_needed(tokens: Tokens | None) -> str:
    """Say what would have let somebody in."""
    return "a valid API key is needed" if tokens is None else "a valid API key or token is needed"


class Authentication:
    """Lets in who has a valid key or token, as often as the key or its person may ask. Nothing else of a request is read before.

    Args:
        app: What is behind it.
        kernel: Whose keys count.
        tokens: What reads tokens of an identity provider, where one is named.
        required: Whether a key is needed; otherwise everybody on this machine is let in.
        origins: Of pages that may ask without one.
        rates: How often each key may ask.
    """

    def __init__(
        self,
        app: ASGIApp,
        kernel: Kernel,
        *,
        tokens: Tokens | None,
        required: bool,
        origins: Collection[str],
        rates: Rates,
    ) -> None:
        self._app = app
        self._kernel = kernel
        self._tokens = tokens
        self._required = required
        self._origins = origins
        self._rates = rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request and hand it on, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if path in HEALTH:
            await self._app(scope, receive, send)
            return
        method, headers = scope.get("method", "GET"), Headers(scope=scope)
        is_open = (method, path) in OPEN
        try:
            caller, wait = await self._counted(scope, headers, is_open)
        except AgentRuntimeError as error:  # the storage is away, or the identity provider
            await deny(problem_of(error), scope, receive, send)
            return
        refused: Response | None = None
        if wait > 0:
            retry = {"Retry-After": str(wait)}
            refused = problem(429, "TOO_MANY_REQUESTS", "too many requests; wait a moment", headers=retry)
        elif caller is None and not is_open and not self._required:
            refused = problem(
                403, "FORBIDDEN", "without keys, only this machine is answered, by its own names"
            )
        elif caller is None and not is_open:
            refused = problem(401, "UNAUTHORIZED", what_is_needed(self._tokens), headers=_CHALLENGE)
        elif caller is not None and caller.only_reads and method not in _SAFE:
            refused = problem(403, "FORBIDDEN", FROM_ELSEWHERE)
        elif scope["type"] == "websocket" and not self._may_open(headers):
            refused = problem(403, "FORBIDDEN", "pages of other origins open no socket here")
        scope[CALLER] = caller
        if refused is not None:
            await deny(refused, scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _counted(self, scope: Scope, headers: Headers, is_open: bool) -> tuple[Caller | None, int]:
        """Return who asks, and after how many seconds another request makes sense if this is one too many.

        Who brings a key that nobody has brought before is counted by its address before it is looked for: the ids that a stranger makes up cost
        no more readings than the stranger may ask. One whose key is found has asked for nothing there.
        """
        host = _host(scope)
        is_strange = self._required and not is_open and not self._kernel.keys.is_known(_text_in(headers))
        if is_strange and (wait := self._rates.take(host)) > 0:
            return None, wait
        caller = None if is_open else await self._caller(headers, scope["type"] == "websocket")
        if caller is None:
            return None, 0 if is_strange else self._rates.take(host)
        if is_strange:
            self._rates.give_back(host)
        return caller, self._rates.take(caller.name)

    def _may_open(self, headers: Headers) -> bool:
        """Whether a socket is asked for by no page, by one of our own, or by one that is allowed: no browser keeps what comes through it from others."""
        origin = headers.get("origin")
        return origin is None or origin in self._origins or _is_own(origin, headers)

    async def _caller(self, headers: Headers, is_socket: bool) -> Caller | None:
        """Return who asks: by a key or a token, or by the cookie of a session, which changes nothing unless a page of our own sends it.

        For sockets, to which pages send no headers of theirs, the origin says whose page it is, and from any other no cookie is taken at all.
        """
        if not self._required:
            return EVERYBODY if is_at_home(headers, self._origins) else None
        await self._kernel.start()  # nobody else has, where this stands behind another application
        keys, given = self._kernel.keys, _key_in(headers)
        if given is None and is_socket and not _is_own(headers.get("origin"), headers):
            return None
        only_reads = given is None and not is_socket and OWN_PAGE not in headers
        text = _text_in(headers)
        if self._tokens is not None and looks_like_token(text):
            bearer = await self._tokens.authenticate(text)
            return None if bearer is None else Caller.of_token(bearer, only_reads=only_reads)
        key = await (keys.authenticate_session(text) if given is None else keys.authenticate(text))
        return None if key is None else Caller.of(key, only_reads=only_reads)


def is_at_home(headers: Headers, origins: Collection[str] = ()) -> bool:
    """Whether a request that brings no key was sent by a program of this machine, or by a page that came from this service.

    A browser sends what any page asks it to. So the name that it was given for this machine has to be one of its own, which no other site has,
    and the page, if it says where it came from, has to have come from here.

    Args:
        headers: Of the request.
        origins: Of other pages that may ask.
    """
    host, origin = headers.get("host", ""), headers.get("origin")
    if _name_in(host) not in OWN_NAMES or len(headers.getlist("host")) > 1:
        return False
    if origin is not None and origin not in origins:
        return _is_own(origin, headers)
    return origin is not None or headers.get("sec-fetch-site", "none") in ("none", "same-origin")


def _is_own(origin: str | None, headers: Headers) -> bool:
    """Whether a page came from where it asks."""
    host = headers.get("host", "")
    return origin in (f"http://{host}", f"https://{host}")


def _name_in(host: str) -> str:
    """Return the name of a host, without its port."""
    name = host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]
    return name.lower()


def _key_in(headers: Headers) -> str | None:
    """Return the key that a request brings; the one in `Authorization` counts where both are there."""
    scheme, _, given = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and given:
        return given.strip()
    offered = (one.strip() for one in headers.get("sec-websocket-protocol", "").split(","))
    return headers.get("x-api-key") or next(
        (one.removeprefix(BEARER) for one in offered if one.startswith(BEARER)), None
    )


def _session_in(headers: Headers) -> str:
    return cookie_parser(headers.get("cookie", "")).get(COOKIE, "")


def _text_in(headers: Headers) -> str:
    """Return what a request brings to be let in by."""
    given = _key_in(headers)
    return _session_in(headers) if given is None else given


def _host(scope: Scope) -> str:
    client = scope.get("client")
    return f"host:{client[0]}" if client else "host:?"
