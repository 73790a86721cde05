"""Tools and a typed answer at a provider that takes one of them at a time: the form is asked for when the tools are done."""

from typing import Any

import pytest
from pydantic import BaseModel

from llm_client import Agent, AgentConfig, OutputSchema, RequestSpec, ScriptedProvider, WebSearch
from support.agents import add, call


class Sum(BaseModel):
    total: int


class Apart:
    """What such a provider says of itself."""

    supports_tools_with_output_schema = False


def apart(*replies: Any, **options: Any) -> tuple[Agent, ScriptedProvider]:
    provider = ScriptedProvider(replies)
    provider.capabilities = Apart()
    return Agent(provider=provider, tools=[add], **options), provider


def asked(provider: ScriptedProvider) -> list[tuple[int, bool]]:
    """Return of each request how many tools it offers, and whether it asks for a schema."""
    return [(len(request.tools), request.output_schema is not None) for request in provider.requests]


async def test_the_schema_is_asked_for_in_the_last_turn() -> None:
    agent, provider = apart([call()], "That is three.", '{"total": 3}', output_type=Sum)
    result = await agent.run("Add.")

    assert (result.status, result.output, result.turns) == ("success", Sum(total=3), 3)
    assert asked(provider) == [(1, False), (1, False), (0, True)]
    assert provider.requests[-1].messages[-1].role == "user"


async def test_an_answer_that_has_its_form_is_not_asked_for_again() -> None:
    agent, provider = apart([call()], 'Here: {"total": 3}', output_type=Sum)
    result = await agent.run("Add.")

    assert (result.output, result.turns) == (Sum(total=3), 2)
    assert asked(provider) == [(1, False), (1, False)]


async def test_a_form_that_stays_wrong_is_mended_without_tools() -> None:
    agent, provider = apart("Three.", '{"total": "x"}', '{"total": 3}', output_type=Sum)
    result = await agent.run("Add.")

    assert result.output == Sum(total=3)
    assert asked(provider) == [(1, False), (0, True), (0, True)]


async def test_the_turn_for_the_form_counts() -> None:
    agent, provider = apart("Three.", output_type=Sum, config=AgentConfig(max_turns=1))
    result = await agent.run("Add.")

    assert (result.status, len(provider.requests)) == ("max_turns", 1)


async def test_a_forced_tool_is_not_forced_in_the_last_turn() -> None:
    request = RequestSpec(messages=(), tool_choice="auto")
    agent, provider = apart("Three.", '{"total": 3}', output_type=Sum, request=request)
    await agent.run("Add.")

    assert [request.tool_choice for request in provider.requests] == ["auto", None]


async def test_a_schema_without_a_type_is_asked_for_last_as_well() -> None:
    output = OutputSchema(name="sum", schema={"type": "object", "properties": {}})
    agent, provider = apart("Three.", '{"total": 3}', request=RequestSpec(messages=(), output_schema=output))
    result = await agent.run("Add.")

    assert result.content == '{"total": 3}'
    assert asked(provider) == [(1, False), (0, True)]


@pytest.mark.parametrize("tools", [[add], []])
async def test_where_both_go_together_nothing_changes(tools: list[Any]) -> None:
    provider = ScriptedProvider(['{"total": 3}'])
    result = await Agent(provider=provider, tools=tools, output_type=Sum).run("Add.")

    assert result.output == Sum(total=3)
    assert asked(provider) == [(len(tools), True)]


async def test_without_tools_the_schema_is_asked_for_at_once() -> None:
    provider = ScriptedProvider(['{"total": 3}'])
    provider.capabilities = Apart()
    await Agent(provider=provider, output_type=Sum).run("Add.")

    assert asked(provider) == [(0, True)]


async def test_tools_of_the_vendors_own_are_left_out_of_the_turn_for_the_form_too() -> None:
    provider = ScriptedProvider(["Three.", '{"total": 3}'])
    provider.capabilities = Apart()
    result = await Agent(provider=provider, server_tools=[WebSearch()], output_type=Sum).run("Add.")

    assert (result.output, result.turns) == (Sum(total=3), 2)
    asked = [(len(request.server_tools), request.output_schema is not None) for request in provider.requests]
    assert asked == [(1, False), (0, True)]
