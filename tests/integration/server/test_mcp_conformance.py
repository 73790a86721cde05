"""The MCP server before the protocol's own conformance runner, where npm can bring it; tasks have no scenarios there, and have tests of our own."""

from __future__ import annotations

import asyncio

import pytest

from agent_runtime import RuntimeKernel
from agent_runtime.server import McpConfig, ServerConfig
from support.kernels import QUICK
from support.mcp_conformance import (
    INSTALLING,
    OPERATORS,
    SCENARIOS,
    WITHIN_SESSIONS,
    Runner,
    conformance_runner,
)
from support.service import served

pytestmark = pytest.mark.timeout(INSTALLING + 60)
AT_ONCE = 2


@pytest.fixture(scope="module")
def runner() -> Runner:
    return conformance_runner()


@pytest.mark.parametrize("sessions", [False, True])
async def test_every_scenario_of_what_operators_offer_is_as_the_protocol_has_it(
    runner: Runner, sessions: bool
) -> None:
    kernel = RuntimeKernel(operators=OPERATORS, options=QUICK)
    # The runner sends no keys; the service answers it as a program of this machine.
    config = ServerConfig(
        authenticate=False,
        requests_per_second=100_000,
        burst=100_000,
        mcp=McpConfig(sessions=sessions),
    )
    turns = asyncio.Semaphore(AT_ONCE)
    async with served(kernel, config) as service:

        async def played(scenario: str) -> str | None:
            async with turns:
                return await runner.says(scenario, f"{service.url}/mcp")

        wrong = await asyncio.gather(*map(played, (*SCENARIOS, *(WITHIN_SESSIONS if sessions else ()))))

    assert not any(wrong), "\n".join(filter(None, wrong))
