"""The service put together: its routes, and what stands before them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute

from agent_runtime.app import Application, Runtime
from agent_runtime.client.models import Problem
from agent_runtime.server.access import Authentication
from agent_runtime.server.bodies import BodyLimit
from agent_runtime.server.config import ServerConfig
from agent_runtime.server.metrics import Counted
from agent_runtime.server.parts import Service
from agent_runtime.server.problems import MEDIA_TYPE, add_handlers
from agent_runtime.server.routes import (
    actions,
    ag_ui,
    budgets,
    events,
    execution_logs,
    health,
    jobs,
    keys,
    ledger,
    metrics,
    overview,
    policies,
    schedules,
    session,
)
from agent_runtime.server.rpc.endpoint import PATH, RpcEndpoint
from agent_runtime.server.rpc.offered import offered
from agent_runtime.server.rpc.openrpc import document
from llm_client.json_text import dumps

if TYPE_CHECKING:
    from agent_runtime.server.mcp.endpoint import McpEndpoint

VERSION: Final = version("durable-agent-runtime")
_ROUTERS = (
    jobs,
    events,
    ag_ui,
    actions,
    schedules,
    budgets,
    ledger,
    policies,
    keys,
    session,
    overview,
    execution_logs,
    health,
    metrics,
)
_HEADERS: Final = (
    "Authorization",
    "X-API-Key",
    "Content-Type",
    "Idempotency-Key",
    "Last-Event-ID",
    "traceparent",
)
_MCP_HEADERS: Final = ("Mcp-Protocol-Version", "Mcp-Method", "Mcp-Name", "Mcp-Session-Id")
"""What pages of other origins may send, where they are let in."""


def create_app(application: Application, config: ServerConfig | None = None) -> FastAPI:
    """Return the service of an application, for any ASGI server.

    It starts the application with itself, and closes it at its end. Behind another application, which does not tell it of either, the
    first request starts it.

    Args:
        application: Whose jobs it serves: a `Runtime` or a `RuntimeKernel`.
        config: What it bounds and allows.

    Raises:
        MissingDependency: The extra `server` is not installed.
    """
    config = config or ServerConfig()
    kernel = application.kernel if isinstance(application, Runtime) else application
    service = Service(kernel, config)
    endpoint = _mcp_endpoint(service)
    kernel.live.always = True  # readers come after the first call has begun

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with application:
            yield
            service.stopping.set()
            if endpoint is not None:
                await endpoint.aclose()
            await service.aclose()

    app = FastAPI(
        title="agent-runtime",
        version=VERSION,
        summary="Agents as durable jobs.",
        lifespan=lifespan,
        docs_url=None,  # these pages load scripts from elsewhere
        redoc_url=None,
        openapi_url="/openapi.json",
        responses={
            "default": {"model": Problem, "description": "Why it was not done.", "content": {MEDIA_TYPE: {}}}
        },
    )
    app.state.service = service
    for module in _ROUTERS:
        app.include_router(module.router)
    if endpoint is not None:
        app.router.routes.append(Route(endpoint.path, endpoint, include_in_schema=False))
    _add_rpc(app, service)
    add_handlers(app)
    _guard(app, service)
    return app


def _guard(app: FastAPI, service: Service) -> None:
    """Put in front of the routes what every request passes: the last one added comes first."""
    kernel, config = service.kernel, service.config
    app.add_middleware(BodyLimit, most=config.max_body_bytes)
    app.add_middleware(
        Authentication,
        kernel=kernel,
        tokens=service.tokens,
        required=config.authenticate,
        origins=config.cors_origins,
        rates=service.rates,
    )
    app.add_middleware(Counted, metrics=service.metrics, clock=kernel.clock)
    if config.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=config.cors_origins,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=[*_HEADERS, *_MCP_HEADERS],
            expose_headers=["Location", "Retry-After", "Mcp-Session-Id"],
        )


def _add_rpc(app: FastAPI, service: Service) -> None:
    """Have an application answer JSON-RPC, and tell what can be called."""
    methods = offered(VERSION)
    app.state.rpc = RpcEndpoint(service, service.kernel.agent_events, methods)
    content = dumps(document(methods.values(), VERSION))

    async def openrpc(_: Request) -> Response:
        return Response(content, media_type="application/json")

    app.router.routes.append(WebSocketRoute(PATH, app.state.rpc))
    app.router.routes.append(Route("/openrpc.json", openrpc, include_in_schema=False))


def _mcp_endpoint(service: Service) -> McpEndpoint | None:
    """Return what answers MCP clients, where it is wanted and the SDK is there, of the version that has such a package."""
    if service.config.mcp is None or find_spec("mcp_types") is None:
        return None
    from agent_runtime.server.mcp.endpoint import McpEndpoint

    return McpEndpoint(service, service.config.mcp, VERSION)
