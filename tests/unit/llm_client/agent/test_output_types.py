"""Answers of a type."""

from pydantic import BaseModel

from llm_client import (
    Agent,
    AgentConfig,
    OutputInvalid,
    ScriptedProvider,
)
from support.agents import scripted


class Person(BaseModel):
    name: str
    age: int


async def test_an_answer_of_a_type_is_asked_for_and_parsed() -> None:
    agent, provider = scripted('{"name": "Ada", "age": 36}', output_type=Person)
    result = await agent.run("Who?")

    assert result.output == Person(name="Ada", age=36)
    schema = provider.requests[0].output_schema
    assert schema is not None
    assert (schema.name, schema.schema["required"]) == ("Person", ["name", "age"])


async def test_a_wrong_answer_is_mended_within_bounds() -> None:
    agent, provider = scripted(
        "Ada, 36", '{"name": "Ada", "age": "old"}', '{"name": "Ada", "age": 36}', output_type=Person
    )
    result = await agent.run("Who?")

    assert (result.output, result.turns) == (Person(name="Ada", age=36), 3)
    assert "- age: Input should be a valid integer" in provider.requests[2].messages[-1].text


async def test_an_answer_that_stays_wrong_is_an_error() -> None:
    agent, _ = scripted(*["nope"] * 9, output_type=Person, config=AgentConfig(max_output_repairs=2))
    result = await agent.run("Who?")

    assert (result.status, result.turns, result.output) == ("error", 3, None)
    assert isinstance(result.error, OutputInvalid)


async def test_a_provider_that_cannot_enforce_a_schema_is_told_it_in_the_prompt() -> None:
    class Simple:
        supports_output_schema = False

    provider = ScriptedProvider(['```json\n{"value": [1, 2]}\n```'])
    provider.capabilities = Simple()
    result = await Agent(provider=provider, output_type=list[int], system_message="Count.").run("go")

    assert result.output == [1, 2]
    assert '"value"' in provider.requests[0].messages[0].text
