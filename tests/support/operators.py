"""Small operators that many tests of the kernel use."""

from typing import Any

from agent_runtime import ActionSpec, OperatorContext
from llm_client.messages import Message
from llm_client.spec import RequestSpec


def asking(text: str = "?") -> RequestSpec:
    """Return a request of one message."""
    return RequestSpec(messages=[Message.user(text)])


def identity(value: str) -> str:
    """Return what it was given."""
    return value


def increment(value: int) -> int:
    """Add one."""
    return value + 1


async def ask(context: OperatorContext, given: object) -> Any:
    """Ask a person for a value and return it."""
    answered = await context.action(ActionSpec(type="input", payload={"q": "how many?"}))
    assert answered.resolution is not None
    return answered.resolution["value"]


async def stepping(context: OperatorContext, given: str) -> str:
    """Take one step that returns the input."""
    return str(await context.step(identity, given, effect="idempotent"))
