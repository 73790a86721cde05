"""Objects with `generate_json_async` or `generate_json`, as providers of an engine."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final

from llm_client.errors import ConfigurationError
from llm_client.json_text import dumps
from llm_client.messages import CompletionResult, StreamEvent
from llm_client.providers.capabilities import Capabilities
from llm_client.spec import RequestContext, RequestSpec
from llm_client.tools.threads import call_in_thread
from llm_client.usage import Usage

_INPUT: Final = ("input_tokens", "prompt_tokens")
_OUTPUT: Final = ("output_tokens", "completion_tokens")


class JsonProvider:
    """Asks an object that answers with JSON, and nothing else.

    It is called with `messages` – a list of `{"role": …, "content": …}` – `model`, and as far as it takes them `temperature` and
    `max_tokens`. It returns the object that was answered; or something whose `content` that is, or its text, and whose `metadata` or
    itself may have a `token_usage` or `usage`. A plain method runs in a thread.

    Args:
        wrapped: The object.
    """

    capabilities: Final = Capabilities(
        supports_output_schema=False, supports_tools_with_output_schema=False, supports_embeddings=False
    )

    def __init__(self, wrapped: object) -> None:
        method = getattr(wrapped, "generate_json_async", None) or getattr(wrapped, "generate_json", None)
        if not callable(method):
            raise ConfigurationError(
                f"{type(wrapped).__name__} has neither generate_json_async nor generate_json"
            )
        self._wrapped = wrapped
        self._generate: Callable[..., Any] = method
        self._takes = _keywords(method)

    @property
    def name(self) -> str:
        """What the object calls its vendor, else the name of its class."""
        said = getattr(self._wrapped, "provider_type", None) or getattr(self._wrapped, "name", None)
        return str(getattr(said, "value", said) or type(self._wrapped).__name__)

    @property
    def model(self) -> str:
        """What the object calls its model."""
        return str(getattr(self._wrapped, "model", None) or "default")

    async def complete(self, spec: RequestSpec, context: RequestContext) -> CompletionResult:
        """Ask, and return what was answered."""
        asked: dict[str, Any] = {
            "messages": [{"role": one.role, "content": one.text} for one in spec.messages],
            "model": spec.model or self.model,
            "temperature": spec.temperature,
            "max_tokens": spec.max_tokens,
        }
        wanted = {
            name: value
            for name, value in asked.items()
            if value is not None and (self._takes is None or name in self._takes)
        }
        if inspect.iscoroutinefunction(self._generate):
            answer = await self._generate(**wanted)
        else:
            answer = await call_in_thread(self._generate, wanted, "generate-json")
            answer = await answer if inspect.isawaitable(answer) else answer
        return self._result(answer, spec)

    def _result(self, answer: object, spec: RequestSpec) -> CompletionResult:
        metadata = getattr(answer, "metadata", None)
        content = answer if isinstance(answer, Mapping | list | str) else getattr(answer, "content", None)
        if content is None:
            raise ConfigurationError(
                f"{type(self._wrapped).__name__} returned {type(answer).__name__}, which is no answer"
            )
        told = _first(metadata, "token_usage", "usage") or _first(answer, "token_usage", "usage")
        return CompletionResult(
            content=content if isinstance(content, str) else dumps(content, default=str).decode(),
            usage=Usage(input_tokens=_tokens(told, _INPUT), output_tokens=_tokens(told, _OUTPUT), requests=1),
            model=str(_first(metadata, "model") or spec.model or self.model),
            provider=self.name,
            request_id=_first(metadata, "response_id", "request_id"),
        )

    async def stream(self, spec: RequestSpec, context: RequestContext) -> AsyncIterator[StreamEvent]:
        """Ask, and tell the whole answer at once."""
        result = await self.complete(spec, context)
        yield StreamEvent(type="token", text=result.content)
        yield StreamEvent(type="done", usage=result.usage, result=result)

    async def embed(self, texts: Sequence[str], *, model: str | None = None) -> list[list[float]]:
        """Refuse: it answers with JSON alone."""
        raise ConfigurationError(f"{type(self._wrapped).__name__} has no embeddings")

    async def aclose(self) -> None:
        """Leave the object open: it is somebody else's."""


def _keywords(method: Callable[..., Any]) -> frozenset[str] | None:
    """Return the keywords that a method takes; `None` where it takes any."""
    try:
        parameters = inspect.signature(method).parameters
    except (TypeError, ValueError):
        return None
    if any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        return None
    return frozenset(parameters)


def _first(holder: object, *names: str) -> Any:
    for name in names:
        found = holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)
        if found is not None:
            return found
    return None


def _tokens(usage: object, names: tuple[str, ...]) -> int:
    found = _first(usage, *names)
    return found if isinstance(found, int) and not isinstance(found, bool) and found >= 0 else 0
