"""A spec as an operator of durable jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from agent_runtime.errors import ConfigurationError, InvalidInput
from agent_runtime.operators.context import OperatorContext
from agent_runtime.operators.operator import Operator
from agent_runtime.operators.result import OperatorResult
from agent_runtime.runner.spec import AgentMode, AgentSpec
from agent_runtime.values.call_record import CallPrompts
from llm_client.codec import dump_message, load_message

if TYPE_CHECKING:
    from agent_runtime.runner.runner import AsyncAgentRunner


class SpecOperator(Operator):
    """An agent that is data, as an operator. Made by `AsyncAgentRunner.as_operator`.

    Its prompts are rendered once for each job: a file that is changed meanwhile counts for later jobs.

    Args:
        runner: What runs it.
        spec: The agent.

    Raises:
        ConfigurationError: The agent is conversational.
    """

    def __init__(self, runner: AsyncAgentRunner, spec: AgentSpec) -> None:
        super().__init__()
        if spec.mode is AgentMode.CONVERSATIONAL:
            raise ConfigurationError(
                f"{spec.name!r} is conversational, and remembers in one process what a job must find in any; "
                "make it oneshot, and give it what was said as a variable"
            )
        self._runner = runner
        self._spec = spec

    @property
    def name(self) -> str:
        """The spec's name."""
        return self._spec.name

    async def execute(self, input_data: object, context: OperatorContext) -> OperatorResult:
        """Run the agent once.

        Raises:
            InvalidInput: The job's input has no variables.
        """
        variables = _variables(input_data)
        prompts = _loaded(await context.step(self._rendered, variables, name="prompts", effect="read"))
        given = {**self._spec.default_variables, **variables}
        result, answer = await self._runner.run_rendered(
            self._spec, prompts, given, context.execution_ctx.to_request_context()
        )
        error = result.error
        return OperatorResult(
            content="" if answer is None else answer.content,
            output_data={"output": result.data} if result.success else {},
            success=result.success,
            error=result.error_message,
            error_code=None if error is None else str(getattr(error, "code", type(error).__name__)).upper(),
            usage=result.usage,
            turns=1 + int(result.metadata.get("schema_repair_attempts", 0)),
        )

    async def _rendered(self, variables: dict[str, Any]) -> dict[str, Any]:
        prompts = await self._runner.render(self._spec, variables)
        return {**asdict(prompts), "examples": [dump_message(one) for one in prompts.examples]}


def _loaded(rendered: Mapping[str, Any]) -> CallPrompts:
    return CallPrompts(**{**rendered, "examples": tuple(map(load_message, rendered["examples"]))})


def _variables(input_data: object) -> dict[str, Any]:
    given = {} if input_data is None else input_data
    found = given.get("variables", given) if isinstance(given, Mapping) else None
    if not isinstance(found, Mapping):
        raise InvalidInput('the agent is run with an input such as {"variables": {…}}')
    return {str(name): value for name, value in found.items()}
