"""The decorator and the registry."""

import pytest

from llm_client import (
    Agent,
    ConfigurationError,
    Reconciliation,
    RequestSpec,
    ScriptedProvider,
    Tool,
    ToolCall,
    ToolRegistry,
    tool,
)
from llm_client.tools.aliases import LEGAL_NAME, aliases


@tool
def plain(x: int) -> int:
    """Double."""
    return x * 2


async def was_it_sent(_operation_id: str) -> Reconciliation:
    return Reconciliation(outcome="did_not_happen")


def test_without_parentheses_everything_has_its_default() -> None:
    assert isinstance(plain, Tool)
    assert (plain.name, plain.effect, plain.timeout, plain.retries) == ("plain", "unsafe", None, None)
    assert not plain.requires_approval


def test_a_tool_can_still_be_called_like_its_function() -> None:
    assert plain(4) == 8


async def test_an_asynchronous_tool_can_still_be_awaited() -> None:
    @tool()
    async def later(x: int) -> int:
        return x + 1

    assert await later(1) == 2


def test_every_option_reaches_the_tool() -> None:
    @tool(
        name="send-mail",
        description="Send it.",
        effect="reconcilable",
        timeout=10,
        retries=1,
        requires_approval=True,
        approval_timeout=60,
        reconcile=was_it_sent,
        strict=True,
    )
    def send(to: str) -> str:
        """Something else."""
        return to

    assert (send.name, send.description, send.effect) == ("send-mail", "Send it.", "reconcilable")
    assert (send.timeout, send.retries, send.requires_approval, send.approval_timeout) == (10, 1, True, 60)
    assert send.reconcile is was_it_sent
    assert send.strict


def test_a_reconcilable_tool_needs_somebody_to_ask() -> None:
    with pytest.raises(ConfigurationError, match="reconcile"):

        @tool(effect="reconcilable")
        def send(to: str) -> str:
            return to


def named(name: str) -> Tool:
    return Tool(name=name, description="", parameters={}, handler=print)


@pytest.mark.parametrize("name", ["1st", "with space", "a.b", "x" * 65, "ünicode"])
def test_names_that_vendors_refuse_get_a_legal_alias_and_only_they(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    registry = ToolRegistry([named(name), plain])
    alias = aliases([name])[name]

    assert LEGAL_NAME.fullmatch(alias)
    assert registry.names() == sorted([alias, "plain"])
    assert [entry.name for entry in registry] == [alias, "plain"]
    assert repr(alias) in caplog.text


def test_alias_is_never_another_tools_name_whichever_comes_first() -> None:
    early, late = ToolRegistry([named("_3d"), named("3d")]), ToolRegistry([named("3d")])
    (before,) = late
    late.add(named("_3d"))

    assert before.name == "_3d"
    assert early.names() == late.names()
    assert len(early.names()) == 2


def test_tool_of_an_alias_is_removed_by_it_and_stays_what_it_was_when_others_come() -> None:
    registry = ToolRegistry()
    added = registry.add(named("3d"))
    registry.add(plain)

    assert registry.get("_3d") is added
    registry.remove("_3d")
    assert registry.names() == ["plain"]
    registry.add(named("3d"))
    assert registry.names() == ["_3d", "plain"]


def test_tool_without_a_name_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="has a name"):
        ToolRegistry([named("")])


async def test_model_calls_a_tool_by_its_alias() -> None:
    def render() -> str:
        return "a cube"

    model = ScriptedProvider([[ToolCall("1", "_3d_render", {})], "Done."])
    agent = Agent(
        provider=model,
        tools=[tool(name="3d_render", effect="read")(render)],
        request=RequestSpec(messages=(), tool_choice="3d_render"),
    )
    result = await agent.run("Render it.")

    assert [entry.name for entry in model.requests[0].tools] == ["_3d_render"]
    assert model.requests[0].tool_choice == "_3d_render"
    assert result.messages[2].text == "a cube"


def test_a_registry_makes_tools_of_functions_and_keeps_their_order() -> None:
    def zebra() -> str:
        return "z"

    registry = ToolRegistry([zebra, plain])

    assert [entry.name for entry in registry] == ["zebra", "plain"]
    assert registry.names() == ["plain", "zebra"]
    assert "plain" in registry
    assert registry.get("nothing") is None


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="two tools named 'plain'"):
        ToolRegistry([plain, plain])


def test_a_removed_tool_is_gone_and_its_name_free() -> None:
    registry = ToolRegistry([plain])
    registry.remove("plain")
    registry.remove("plain")
    registry.add(plain)

    assert len(registry) == 1


def test_a_misspelt_effect_is_refused_before_it_can_do_harm() -> None:
    with pytest.raises(ConfigurationError, match="'reed' is none of pure, read, idempotent"):
        tool(effect="reed")  # type: ignore[call-overload]
