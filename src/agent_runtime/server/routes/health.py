"""Whether the process lives, and whether it can do its work. Nobody needs a key, and nobody is told of anybody."""

from __future__ import annotations

from fastapi import APIRouter, Response

from agent_runtime.client import models as schemas
from agent_runtime.server.parts import TheService

router = APIRouter(prefix="/health", tags=["health"])


@router.get("/live")
async def live() -> schemas.Health:
    """Say that the process lives."""
    return schemas.Health(status="ok")


@router.get(
    "/ready", responses={503: {"model": schemas.Health, "description": "It cannot, or is about to end."}}
)
async def ready(service: TheService, response: Response) -> schemas.Health:
    """Say whether requests can be served: the storage answers, and the process is not about to end."""
    is_ready = not service.stopping.is_set() and await service.storage_answers()
    if not is_ready:
        response.status_code = 503
    return schemas.Health(status="ok" if is_ready else "unavailable")


# Whoever watches with the method that sends no body back. It stands in no document: a client has no use for it.
for path, endpoint in (("/live", live), ("/ready", ready)):
    router.add_api_route(path, endpoint, methods=["HEAD"], include_in_schema=False)
