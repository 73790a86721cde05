"""`/metrics`: what Prometheus reads. It takes a key for all scopes, which Prometheus sends as its `authorization`."""

from __future__ import annotations

from fastapi import APIRouter, Response

from agent_runtime.server.access import WATCHING
from agent_runtime.server.metrics import CONTENT_TYPE
from agent_runtime.server.parts import TheService

router = APIRouter(tags=["health"])


@router.get(
    "/metrics",
    dependencies=[WATCHING],
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def get_metrics(service: TheService) -> Response:
    """Return metrics in the format of Prometheus."""
    return Response(await service.metrics.text(), media_type=CONTENT_TYPE)
