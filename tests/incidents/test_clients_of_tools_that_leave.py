"""java-sdk #1021, LibreChat #14248: clients of MCP servers went without a word, and each left something behind: a connection that waited with a thread of its
own until none was left and nobody was answered any more, a session with its buffers until the memory was full.

Here clients open sessions and leave in the middle of their calls, more of them than may be served at a time. Nothing is left of them.
"""

import asyncio
from typing import Any

import pytest

from support.kernels import until
from support.mcp_clients import mcp_client, text_of
from support.mcp_scene import HEADERS, INITIALIZE, call_of, serving
from support.service import BOUND

pytestmark = pytest.mark.timeout(BOUND * 3)
CLIENTS = 40
AT_A_TIME = 5


@pytest.mark.parametrize("sessions", [False, True])
async def test_clients_that_go_without_a_word_leave_nothing_behind(sessions: bool) -> None:
    bounds = {"max_streams_per_key": AT_A_TIME, "max_streams": AT_A_TIME}
    async with serving(
        sessions=sessions, max_sessions_per_key=AT_A_TIME, session_idle=0.05, config=bounds
    ) as service:
        key = await service.key()
        readers = service.app.state.service.readers

        async def nobody_waits() -> bool:
            return not len(readers)

        async def leaves(number: int) -> None:
            async with service.client(key, **HEADERS) as client:
                session: dict[str, str] = {}
                if sessions:

                    async def begun() -> Any:
                        told = await client.post("/mcp", json=INITIALIZE)
                        return told.headers.get("mcp-session-id") if told.status_code == 200 else None

                    session = {"Mcp-Session-Id": await until(begun)}
                calling = asyncio.ensure_future(
                    client.post("/mcp", json=call_of("wait", number=number), headers=session)
                )

                async def waits() -> bool:
                    return len(readers) > 0

                await until(waits)
                calling.cancel()
                await asyncio.gather(calling, return_exceptions=True)

        for number in range(CLIENTS // AT_A_TIME):
            await asyncio.gather(*(leaves(number * AT_A_TIME + one) for one in range(AT_A_TIME)))
            await until(nobody_waits)

        async def none_runs() -> bool:
            return not [job for job in await service.kernel.jobs.list() if job.status.is_active]

        await until(none_runs)
        async with mcp_client(service, key=key) as client:
            assert text_of(await client.call_tool("count", {})) == "counted"
