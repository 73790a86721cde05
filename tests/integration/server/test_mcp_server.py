"""Operators as tools of an MCP server: what clients see of them, calls as jobs, and whose they are; the SDK's client on the other side."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import MCPError

from agent_runtime import Operator, OperatorContext, Role, RuntimeKernel
from agent_runtime.server import McpConfig
from agent_runtime.server.mcp.endpoint import server_of
from agent_runtime.server.mcp.refusals import PERMISSIONS, WITHOUT
from agent_runtime.values.api_key import Permission
from llm_client import Agent, McpServer, ScriptedProvider
from support.kernels import QUICK, opened, status_becomes, until
from support.mcp_clients import job_of, mcp_client, text_of
from support.mcp_scene import (
    HEADERS,
    OPERATORS,
    SHIPPING,
    runs,
    serving,
)
from support.service import BOUND, problem_in


async def test_every_operator_is_a_tool_as_it_describes_itself() -> None:
    agent = Agent(provider=ScriptedProvider(["Hello."]))
    kernel = RuntimeKernel(agent=agent, operators=OPERATORS)
    async with serving(kernel) as service, mcp_client(service, Role.VIEWER) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}

        assert len(tools) == len(OPERATORS) + 1
        assert (tools["ship"].description, tools["ship"].input_schema) == ("Ship an order.", SHIPPING)
        assert (tools["count"].description, tools["count"].input_schema) == (
            "Count.\n\nSlowly.",
            {"type": "object"},
        )
        assert tools["send"].input_schema["properties"].keys() == {"to", "grams"}
        assert tools["send"].input_schema["required"] == ["to"]
        assert tools["agent"].input_schema["required"] == ["prompt"]
        (odd,) = (tool for name, tool in tools.items() if name.startswith("Gr_"))
        assert odd.description == "Runs the operator Größe messen."

    async with (
        serving(kernel=RuntimeKernel(operators=OPERATORS), operators=("ship",)) as service,
        mcp_client(service) as client,
    ):
        assert [tool.name for tool in (await client.list_tools()).tools] == ["ship"]
        with pytest.raises(MCPError, match="there is no tool 'count'"):
            await client.call_tool("count", {})


class Odd(Operator):
    """Says of itself what cannot be said."""

    def __init__(self, name: str, schema: Any, description: str | None = None) -> None:
        self._name = name
        self._schema = schema
        self.description = description

    @property
    def name(self) -> str:
        return self._name

    @property
    def input_schema(self) -> Any:
        if isinstance(self._schema, Exception):
            raise self._schema
        return self._schema

    async def execute(self, input_data: Any, context: OperatorContext) -> Any:
        return "done"


NODE = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_what_one_operator_says_of_itself_takes_no_tool_away(
    mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    said = {
        "raises": (ValueError("not today"), {"type": "object"}),
        "set": ({"type": "object", "enum": {1, 2}}, {"type": "object"}),
        "text": ({"type": "string"}, {"type": "object"}),
        "list": ([1], {"type": "object"}),
        "half": ({"type": "object", "title": "\ud800"}, {"type": "object", "title": "\ufffd"}),
        "untyped": ({"required": ["a"]}, {"type": "object", "required": ["a"]}),
        "recursive": (
            {"$ref": "#/$defs/Node", "$defs": {"Node": NODE}},
            {"type": "object", "$ref": "#/$defs/Node", "$defs": {"Node": NODE}},
        ),
        "perhaps": ({"type": ["object", "null"]}, {"type": "object"}),
        "elsewhere": (
            {"type": "object", "$ref": "https://example.com/schema"},
            {"type": "object", "$ref": "https://example.com/schema"},
        ),
        "slow": (
            {"type": "object", "properties": {"a": {"pattern": "^(a+)+$"}}},
            {"type": "object", "properties": {"a": {"pattern": "^(a+)+$"}}},
        ),
    }
    operators = {name: Odd(name, schema, "half \ud800") for name, (schema, _) in said.items()}
    kernel = RuntimeKernel(operators=operators, options=QUICK)
    async with serving(kernel) as service, mcp_client(service, mode=mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}

        assert {name: tool.input_schema for name, tool in tools.items()} == {
            name: told for name, (_, told) in said.items()
        }
        assert tools["half"].description == "half \ufffd"
        for name in said:
            result = await client.call_tool(name, {"a": "a" * 40 + "!"})
            assert text_of(result) == "done", name
    logged = [record.getMessage() for record in caplog.records]
    assert any("`input_schema` cannot be read" in line for line in logged)
    assert any("the operator 'set' is none" in line for line in logged)


@pytest.mark.parametrize("sessions", [False, True])
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_call_is_a_job_of_the_key(mode: str, sessions: bool) -> None:
    async with (
        serving(sessions=sessions) as service,
        mcp_client(service, Role.OPERATOR, mode=mode, principal_id="ann") as client,
    ):
        result = await client.call_tool("whoami", {})

        assert result.structured_content == {"scope": "acme", "person": "ann"}
        assert json.loads(text_of(result)) == result.structured_content
        job = await service.kernel.jobs.get(job_of(result))
        assert (job.operator, job.scope_id, job.principal_id) == ("whoami", "acme", "ann")
        odd = next(tool.name for tool in (await client.list_tools()).tools if tool.name.startswith("Gr_"))
        assert text_of(await client.call_tool(odd, {})) == "done"


async def test_an_agent_is_asked_as_a_tool() -> None:
    agent = Agent(provider=ScriptedProvider(["It is blue."]))
    async with serving(RuntimeKernel(agent=agent)) as service, mcp_client(service) as client:
        assert text_of(await client.call_tool("agent", {"prompt": "Which colour?"})) == "It is blue."


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_what_goes_wrong_is_told_to_the_model_and_what_is_no_call_to_the_client(mode: str) -> None:
    async with serving() as service, mcp_client(service, mode=mode) as client:
        failed = await client.call_tool("fail", {})
        assert (failed.is_error, text_of(failed)) == (True, "not today")

        wrong = await client.call_tool("ship", {"order": "seventeen"})
        assert wrong.is_error
        assert "order" in text_of(wrong)
        assert not runs

        with pytest.raises(MCPError) as refused:
            await client.call_tool("nothing", {})
        assert refused.value.code == -32602


async def test_a_call_that_says_which_one_it_is_is_one_job() -> None:
    async with serving() as service, mcp_client(service) as client:
        meta = {"agent-runtime/operation-id": "job-1:step-2"}
        first = await client.call_tool("ship", {"order": 17}, meta=meta)
        again = await client.call_tool("ship", {"order": 17}, meta=meta)
        other = await client.call_tool("ship", {"order": 18}, meta=meta)

        assert job_of(first) == job_of(again)
        assert runs == [{"order": 17}]
        assert (other.is_error, (other.meta or {})["agent-runtime/code"]) == (True, "IDEMPOTENCY_CONFLICT")
        assert job_of(await client.call_tool("ship", {"order": 17})) != job_of(first)


async def test_progress_is_told_as_it_is_made() -> None:
    async with serving() as service, mcp_client(service) as client:
        told: list[tuple[float, str | None]] = []

        async def note(progress: float, total: float | None, message: str | None) -> None:
            told.append((progress, message))

        await client.call_tool("count", {}, progress_callback=note)

        assert [progress for progress, _ in told] == sorted({progress for progress, _ in told})
        assert "50%: half of it" in [message for _, message in told]


async def test_nobody_is_asked_to_send_text_that_no_client_is_told() -> None:
    """Who watches a job has other processes send what its models write, through the database."""
    async with serving() as service, mcp_client(service) as client:
        told = asyncio.Event()

        async def note(progress: float, total: float | None, message: str | None) -> None:
            told.set()

        calling = asyncio.ensure_future(client.call_tool("wait", {}, progress_callback=note))
        async with asyncio.timeout(BOUND):
            await told.wait()
        assert not service.kernel.live.watched
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)


async def test_who_joins_late_is_not_told_of_everything() -> None:
    async with serving() as service, mcp_client(service) as client:
        told: list[float] = []

        async def note(progress: float, total: float | None, message: str | None) -> None:
            told.append(progress)

        await client.call_tool("busy", {"steps": 300}, meta={"agent-runtime/operation-id": "busy"})
        await client.call_tool(
            "busy", {"steps": 300}, meta={"agent-runtime/operation-id": "busy"}, progress_callback=note
        )

        assert 0 < len(told) < 100
        assert told == sorted(set(told))


async def test_a_key_and_its_role_decide() -> None:
    async with serving() as service:
        async with service.client() as anybody:
            problem_in(await anybody.post("/mcp", json={}), 401)
        for role, permission in ((Role.VIEWER, "operate"), (Role.APPROVER, "operate")):
            async with mcp_client(service, role) as client:
                assert (await client.list_tools()).tools
                with pytest.raises(MCPError, match=f"the role {role} may not {permission}"):
                    await client.call_tool("ship", {"order": 17})
        assert not runs


async def test_every_method_says_what_it_takes() -> None:
    async with serving() as service:
        server = server_of(service.app.state.service, McpConfig(), "1")
        methods = set(server._request_handlers)

        assert methods - WITHOUT == set(PERMISSIONS)
        assert PERMISSIONS["tasks/update"] is Permission.APPROVE


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_job_ends_with_the_call_that_its_caller_leaves_unless_that_can_be_found_again(
    mode: str,
) -> None:
    async with serving(sessions=True) as service:
        for meta, status in ((None, "cancelled"), ({"agent-runtime/idempotency-key": "k"}, "sleeping")):
            async with mcp_client(service, mode=mode) as client:
                calling = asyncio.ensure_future(client.call_tool("wait", {}, meta=meta))  # type: ignore[arg-type]

                async def begun() -> Any:
                    jobs = await service.kernel.jobs.list()
                    return jobs if jobs and jobs[0].status == "sleeping" else None

                job = (await until(begun))[0]
                calling.cancel()
                await asyncio.gather(calling, return_exceptions=True)
            await status_becomes(service.kernel.handle(job.job_id), status)


async def test_a_service_that_ends_answers_and_cancels_nothing(tmp_path: Path) -> None:
    async with opened("sqlite", tmp_path) as storage:
        kernel = RuntimeKernel(storage=storage, operators=OPERATORS, options=QUICK)
        async with serving(kernel) as service, mcp_client(service) as client:
            calling = asyncio.ensure_future(client.call_tool("wait", {}))

            async def begun() -> Any:
                return await kernel.jobs.list()

            (job,) = await until(begun)
            service.app.state.service.stopping.set()
            result = await calling
        assert (result.meta or {})["agent-runtime/code"] == "UNFINISHED"
        stored = await storage.get_job(job.job_id)
        assert stored is not None
        assert stored.status.is_active


async def test_a_runtime_calls_another_as_its_tool() -> None:
    async with serving() as service:
        headers = {"Authorization": f"Bearer {await service.key(Role.OPERATOR)}"}
        async with McpServer(url=f"{service.url}/mcp", headers=headers) as server:
            names = {tool.name for tool in await server.tools()}

        assert {"ship", "count"} <= names


async def test_a_client_with_nothing_but_http_calls_a_tool() -> None:
    """One request, one answer, as the protocol has it since 2026-07-28."""
    async with serving() as service, service.client(await service.key(), **HEADERS) as client:
        meta = {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        }
        said = {"Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "ship"}
        params = {"name": "ship", "arguments": {"order": 17}, "_meta": meta}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        async with asyncio.timeout(BOUND):
            answer: httpx2.Response = await client.post("/mcp", json=body, headers=said)

        assert answer.json()["result"]["structuredContent"] == {"shipped": 17}


@pytest.mark.parametrize("sessions", [False, True])
async def test_what_is_asked_and_answered_is_in_no_log(
    sessions: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    private = "between you and me"

    async def tell(context: OperatorContext, given: Any) -> Any:
        return {"said": given["asked"], "again": given["asked"]}

    kernel = RuntimeKernel(operators={"tell": tell}, options=QUICK)
    async with serving(kernel, sessions=sessions) as service:
        for mode in ("auto", "legacy"):
            async with mcp_client(service, mode=mode) as client:
                told = await client.call_tool("tell", {"asked": private})
                assert (told.structured_content or {})["said"] == private
    ours = ("agent_runtime", "mcp.server", "sse_starlette", "uvicorn", "asyncio")
    logged = [record for record in caplog.records if record.name.startswith(ours)]
    assert logged
    assert not [record for record in logged if private in record.getMessage()]
