"""The decorator that makes a tool of a function."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any, get_args, overload

from llm_client.errors import ConfigurationError
from llm_client.tools.schema import read_signature
from llm_client.tools.tool import Effect, Reconcile, Tool


def _check_effect(effect: Effect, reconcile: Reconcile | None) -> None:
    if effect not in get_args(Effect):
        raise ConfigurationError(f"effect={effect!r} is none of {', '.join(get_args(Effect))}")
    if effect == "reconcilable" and reconcile is None:
        raise ConfigurationError("effect='reconcilable' needs a reconcile function")


@overload
def tool(function: Callable[..., object], /) -> Tool: ...


@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    effect: Effect = "unsafe",
    timeout: float | None = None,
    retries: int | None = None,
    requires_approval: bool = False,
    approval_timeout: float | None = None,
    reconcile: Reconcile | None = None,
    strict: bool = False,
    connectors: Iterable[str] = (),
) -> Callable[[Callable[..., object]], Tool]: ...


def tool(
    function: Callable[..., object] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    effect: Effect = "unsafe",
    timeout: float | None = None,
    retries: int | None = None,
    requires_approval: bool = False,
    approval_timeout: float | None = None,
    reconcile: Reconcile | None = None,
    strict: bool = False,
    connectors: Iterable[str] = (),
) -> Tool | Callable[[Callable[..., object]], Tool]:
    """Make a tool of a function; the result can still be called like the function.

    The arguments' JSON Schema comes from the type hints, the texts from the docstring. A parameter annotated
    `ToolContext` is filled in by the agent and hidden from the model. A plain function runs in a thread.

    Args:
        function: The function, when the decorator is used without parentheses.
        name: Name shown to the model; by default the function's. An agent gives one that vendors refuse a legal alias.
        description: Text shown to the model; by default the docstring up to its sections.
        effect: What happens when a call is lost in a crash; see `Effect`.
        timeout: Seconds around all attempts; by default the agent's.
        retries: Further attempts after a failure, for effects that may be repeated; by default the agent's.
        requires_approval: Whether a person must agree before each call; a runtime asks, a bare agent refuses the call.
        approval_timeout: Seconds a person has to answer; `None` waits for ever.
        reconcile: For `effect="reconcilable"`: tells whether a lost operation happened.
        strict: Whether a value of the wrong type is refused instead of converted.
        connectors: Names of the sources of data it reaches, for a runtime's policy to decide about.

    Raises:
        ConfigurationError: The function cannot be described to a model.
    """
    names = dict(sys._getframe(1).f_locals)  # noqa: SLF001 -- annotations may use names local to the caller
    _check_effect(effect, reconcile)

    def make(function: Callable[..., Any]) -> Tool:
        signature = read_signature(function, names=names, strict=strict)
        return Tool(
            name=name or str(getattr(function, "__name__", type(function).__name__)),
            description=description if description is not None else signature.description,
            parameters=signature.parameters,
            handler=function,
            validate=signature.validate,
            complete=signature.complete,
            takes_context=signature.takes_context,
            effect=effect,
            reconcile=reconcile,
            timeout=timeout,
            retries=retries,
            requires_approval=requires_approval,
            approval_timeout=approval_timeout,
            strict=strict,
            connectors=tuple(connectors),
        )

    return make if function is None else make(function)
