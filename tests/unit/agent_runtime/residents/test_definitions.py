"""What agents are made of: in Python and in YAML, in both documented forms of a model's configuration, with keys that nothing shows."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent_runtime.errors import ConfigurationError, FileInvalid, InvalidInput, PromptInvalid
from agent_runtime.residents.ai_config import AIConfig
from agent_runtime.residents.definitions import AgentDefinition, AgentRegistry
from agent_runtime.residents.prompts import PromptSystem
from agent_runtime.residents.settings import AgentSettings
from agent_runtime.runner.prompts import PromptPacks
from llm_client import Agent, ExecutionEngine, ScriptedProvider, tool
from llm_client.errors import AuthenticationError

KEY = "sk-" + "or-" + "1234567890abcdef" * 2


@tool(effect="read")
def disks() -> str:
    """Look at the disks."""
    return "fine"


@pytest.mark.parametrize(
    "given",
    [
        {"model": "vendor/one", "provider": "openrouter", "generation_params": {"temperature": 0.5}},
        {"openrouter": {"model": "vendor/one", "params": {"temperature": 0.5}}},
        SimpleNamespace(model="vendor/one", provider="openrouter", generation_params={"temperature": 0.5}),
        SimpleNamespace(openrouter=SimpleNamespace(model="vendor/one", params={"temperature": 0.5})),
        {"openrouter": SimpleNamespace(model="vendor/one", params={"temperature": 0.5}), "logging": {}},
    ],
)
def test_every_documented_form_of_a_configuration_says_the_same(given: Any) -> None:
    config = AIConfig.of(given)

    assert config == AIConfig(
        model="vendor/one", provider="openrouter", generation_params={"temperature": 0.5}
    )
    assert config.full_name == "openrouter:vendor/one"


@pytest.mark.parametrize("given", [{}, {"params": {}}, {"nobody": {"model": "x"}}, None, {"openrouter": {}}])
def test_what_is_no_configuration_is_refused(given: Any) -> None:
    with pytest.raises(InvalidInput, match="model"):
        AIConfig.of(given)


async def test_a_key_of_the_configuration_reaches_the_vendor_and_nothing_else() -> None:
    definition = AgentDefinition(name="duty", ai_config={"openrouter": {"model": "m", "api_key": KEY}})
    async with AgentRegistry() as registry:
        registry.add(definition)
        agent = registry.agent("duty")

        assert await vars(agent.engine.provider)["_endpoint"].key() == KEY
        for shown in (definition, definition.ai_config, agent, agent.request, registry):
            assert KEY not in repr(shown)
        assert KEY not in str(definition.defaults.to_json())


async def test_a_missing_key_is_named_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENROUTER_API_KEY", raising=False)
    async with AgentRegistry() as registry:
        registry.add(AgentDefinition(name="duty", ai_config="openrouter:vendor/one"))

        result = await registry.agent("duty").run("Hello")

    assert isinstance(result.error, AuthenticationError)
    assert "no API key for openrouter: set OPENROUTER_API_KEY" in str(result.error)


def test_settings_name_another_vendor_and_model() -> None:
    registry = AgentRegistry(engine=ExecutionEngine(ScriptedProvider([])))
    registry.add(AgentDefinition(name="duty"))
    agent = registry.agent("duty")

    by_provider = registry.request_for(agent, AgentSettings(provider="openai", model="gpt-5.2"))
    by_name = registry.request_for(agent, AgentSettings(model="openai:gpt-5.2"))
    own = registry.request_for(agent, AgentSettings(model="small"))

    assert by_provider[0].model == by_name[0].model == "gpt-5.2"
    assert by_provider[1] is by_name[1]
    assert own[0].model == "small"
    assert own[1] is None
    with pytest.raises(ConfigurationError, match="no model"):
        registry.request_for(agent, AgentSettings(provider="openai"))
    with pytest.raises(ConfigurationError, match="unknown vendor"):
        registry.request_for(agent, AgentSettings(provider="nobody", model="x"))


def test_an_agent_without_any_model_says_what_to_do() -> None:
    registry = AgentRegistry()
    registry.add(AgentDefinition(name="duty"))

    with pytest.raises(ConfigurationError, match="ai_config such as"):
        registry.agent("duty")


def test_tools_are_known_by_name_and_none_is_there_twice() -> None:
    registry = AgentRegistry(engine=ExecutionEngine(ScriptedProvider([])), tools=[disks])
    registry.add(AgentDefinition(name="duty", tools=["disks"]))

    assert registry.agent("duty", tools=[disks]).tools.names() == ["disks"]
    with pytest.raises(InvalidInput, match=r"'tapes'.*known: disks"):
        registry.add(AgentDefinition(name="night", tools=["tapes"]))


def test_a_name_is_given_once_and_an_unknown_one_is_told_with_those_there_are() -> None:
    registry = AgentRegistry()
    registry.add("duty", Agent(provider=ScriptedProvider([])))

    with pytest.raises(InvalidInput, match="two definitions"):
        registry.add(AgentDefinition(name="duty"))
    with pytest.raises(InvalidInput, match="there are: duty"):
        registry.get("night")
    assert registry.names() == ("duty",)
    assert "duty" in registry


YAML = """
components:
  style: Be brief.
agents:
  duty:
    description: Watches the servers
    prompt: You watch.
    components: [style]
    tools: [disks]
    openrouter: {model: vendor/one, params: {temperature: 0.2}}
    settings: {checkMailInterval: 30, max_concurrent_tasks: 2}
  night:
    prompt_file: night.md
    model: openai:gpt-5.2
    max_turns: 3
"""


async def test_agents_are_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "night.md").write_text("You watch at night.")
    (tmp_path / "agents.yaml").write_text(YAML)
    registry = AgentRegistry(tools=[disks])

    duty, night = await asyncio.to_thread(registry.load, tmp_path / "agents.yaml")

    assert (duty.name, duty.description) == ("duty", "Watches the servers")
    assert duty.defaults == AgentSettings(check_mail_interval=30, max_concurrent_tasks=2)
    assert (
        await registry.prompts.prompt("duty", text=duty.prompt, components=duty.components)
        == "You watch.\n\nBe brief."
    )
    agent = registry.agent("duty")
    assert (agent.request.temperature, agent.tools.names()) == (0.2, ["disks"])
    assert night.prompt == "You watch at night."
    assert registry.agent("night").config.max_turns == 3
    await registry.aclose()


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / f"{name}.yaml").write_text(f"agents: {{{name}: {{model: 'openai:m'}}}}")

    assert [one.name for one in AgentRegistry().load(tmp_path)] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("agents: {duty: {promt: x}}", "did you mean 'prompt'"),
        ("agents: {duty: {settings: {maxQueueSize: 0}}}", "max_queue_size"),
        ("agents: {duty: {prompt: [x]}}", "`prompt` is a text"),
        ("agents: {duty: {prompt_file: ../other/secret.md}}", "out of the folder"),
        ("agents: {duty: {prompt: x, prompt_file: y}}", "not both"),
        ("agents: {duty: {tools: disks}}", "`tools` is a list"),
        ("agents: {duty: {max_turns: 0}}", "at least one turn"),
        ("agents: {duty: {max_turns: often}}", "`max_turns`"),
        ("agents: {duty: {model: a, ai_config: {model: b}}}", "not in both"),
        ("agents: [duty]", "`agents` is a mapping"),
        ("agents: {duty: 7}", "an agent is a mapping"),
        ("components: {style: 7}", "'style' is a text"),
        ("7", "a mapping with `agents`"),
        ("agents: !!python/object:os.system {}", "has no place here"),
        (
            "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(f"{n}: &{n} [{', '.join([f'*{p}'] * 9)}]\n" for p, n in zip("abcdefg", "bcdefgh", strict=True)),
            "more than 50,000 values",
        ),
    ],
)  # fmt: skip
def test_a_file_is_used_whole_or_refused_with_the_line_that_is_wrong(
    tmp_path: Path, text: str, told: str
) -> None:
    file = tmp_path / "agents.yaml"
    file.write_text(text)
    registry = AgentRegistry()

    with pytest.raises(FileInvalid, match=r"agents\.yaml") as refused:
        registry.load(file)

    assert told in str(refused.value)
    assert len(registry) == 0


def test_a_key_in_a_file_that_is_wrong_is_not_repeated(tmp_path: Path) -> None:
    file = tmp_path / "agents.yaml"
    file.write_text(f"agents: {{duty: {{model: 'openai:m', api_key: {KEY}, max_turns: 0}}}}")

    with pytest.raises(FileInvalid) as refused:
        AgentRegistry().load(file)

    assert KEY not in str(refused.value)


def test_two_agents_of_one_name_in_a_folder_add_nothing(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text("agents: {duty: {model: 'openai:m'}}")
    registry = AgentRegistry()

    with pytest.raises(InvalidInput, match="two definitions"):
        registry.load(tmp_path)
    assert len(registry) == 0


async def test_prompts_come_from_texts_then_files_then_packs(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "filed.md").write_text("From a file.")
    (tmp_path / "prompts" / "style.txt").write_text("Be brief.")
    (tmp_path / "packs" / "packed").mkdir(parents=True)
    (tmp_path / "packs" / "packed" / "system.j2").write_text("From a pack, for {{ agent_id }}.")
    prompts = PromptSystem(
        {"told": "From a text."}, folder=tmp_path / "prompts", packs=PromptPacks(tmp_path / "packs")
    )

    assert await prompts.prompt("told", components=["style"]) == "From a text.\n\nBe brief."
    assert await prompts.prompt("filed") == "From a file."
    assert await prompts.prompt("packed", variables={"agent_id": "duty"}) == "From a pack, for duty."
    with pytest.raises(PromptInvalid, match="no component"):
        await prompts.prompt("told", components=["nowhere"])
    with pytest.raises(PromptInvalid, match="not in the folder"):
        await prompts.prompt("../packs/packed/system")


async def test_a_name_without_any_prompt_has_none() -> None:
    assert await PromptSystem().prompt("duty") is None
