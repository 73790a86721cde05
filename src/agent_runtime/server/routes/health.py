"""Whether the process lives, and whether it can do its work. Nobody needs a key, and nobody is told of anybody."""

from __future__ import annotations

import asyncio
from typing import Final

from fastapi import APIRouter, Response

from agent_runtime.client import models as schemas
from agent_runtime.errors import AgentRuntimeError
from agent_runtime.server.parts import TheService

router = APIRouter(prefix="/health", tags=["health"])

READY_SECONDS: Final = 2.0
"""How long the storage may take to answer."""


@router.get("/live")
async def live() -> schemas.Health:
    """Say that the process lives."""
    return schemas.Health(status="ok")


@router.get(
    "/ready", responses={503: {"model": schemas.Health, "description": "It cannot, or is about to end."}}
)
async def ready(service: TheService, response: Response) -> schemas.Health:
    """Say whether requests can be served: the storage answers, and the process is not about to end."""
    try:
        async with asyncio.timeout(READY_SECONDS):
            await service.kernel.start()
            await service.kernel.storage.list_workers()
        is_ready = not service.stopping.is_set()
    except (AgentRuntimeError, TimeoutError):
        is_ready = False
    if not is_ready:
        response.status_code = 503
    return schemas.Health(status="ok" if is_ready else "unavailable")
