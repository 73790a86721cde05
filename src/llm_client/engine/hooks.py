"""Hooks: callables that are told what the engine does, and can neither change nor break it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from llm_client.logs import logger_of
from llm_client.spec import RequestContext

logger = logger_of(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class HookEvent:
    """Something the engine did.

    Names: `request.start|attempt|retry|end`, `provider.success|error`, `router.fallback`, `circuit.open`,
    `cache.hit|miss|write|error`, `stream.start|event|error|end`, `embed.start|end|error`,
    `idempotency.start|hit|conflict|complete|fail`.
    """

    name: str
    data: Mapping[str, Any]
    """Numbers and names, and the objects themselves (`spec`, `result`, `error`), which may hold private text."""
    context: RequestContext


Hook = Callable[[HookEvent], Awaitable[None] | None]


class Hooks:
    """The hooks of an engine, called in order; false when there are none.

    Args:
        hooks: Callables, synchronous or not. What they raise is logged.
    """

    def __init__(self, hooks: Iterable[Hook] = ()) -> None:
        self._hooks = tuple(hooks)

    def __bool__(self) -> bool:
        return bool(self._hooks)

    async def fire(self, name: str, context: RequestContext, **data: object) -> None:
        """Tell every hook."""
        if not self._hooks:
            return
        event = HookEvent(name=name, data=data, context=context)
        for hook in self._hooks:
            try:
                pending = hook(event)
                if inspect.isawaitable(pending):
                    await pending
            except Exception:
                logger.exception("hook %r failed on %s", hook, name)
