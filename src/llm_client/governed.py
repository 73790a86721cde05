"""Calls that a host would not see: refused for what belongs to a host that runs jobs, unless they say why they are made.

The host is found in the context of the task. A thread of a pool (`run_in_executor`, `ThreadPoolExecutor`) and a fresh
`contextvars.Context` have none, so a call from there would pass every rule, budget and journal unseen. Engines and tools that a
running host calls its own are therefore not called without it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

from llm_client.errors import ConfigurationError, UngovernedCall
from llm_client.middleware import HOST, NO_HOST, Host

if TYPE_CHECKING:
    from llm_client.engine.engine import ExecutionEngine
    from llm_client.tools.tool import Tool

_REASON: ContextVar[str | None] = ContextVar("llm_client_ungoverned", default=None)
_GOVERNING: Final[WeakSet[Host]] = WeakSet()
"""The hosts of this process that run jobs; one process has one set of threads, so this cannot be anybody's attribute."""
_changing = threading.Lock()


def govern(host: Host) -> None:
    """Let a host's engines and tools be called in its context alone, until `release`."""
    with _changing:
        _GOVERNING.add(host)


def release(host: Host) -> None:
    """Let what belongs to a host be called from anywhere again."""
    with _changing:
        _GOVERNING.discard(host)


def host_for(called: ExecutionEngine | Tool) -> Host:
    """Return the host that a call of an engine or a tool goes through.

    Raises:
        UngovernedCall: There is no host here, and one that runs jobs calls this its own.
    """
    host = HOST.get()
    if host is NO_HOST and _GOVERNING and _REASON.get() is None:
        with _changing:
            governing = list(_GOVERNING)
        if any(one.owns(called) for one in governing):
            raise UngovernedCall(
                f"{type(called).__name__} {_name(called)!r} belongs to a runtime that executes jobs, and this call comes from "
                "outside of them: from a thread of a pool, from a task with a context of its own, or from other code. No rule, "
                "budget or journal would see it. Call it in the job's context (a plain function as a step or tool, "
                "`asyncio.to_thread`), use another engine for what belongs to no job, or write "
                "`with llm_client.ungoverned('why'):` around it"
            )
    host.adopt(called)
    return host


def _name(called: ExecutionEngine | Tool) -> str:
    return str(getattr(called, "name", None) or getattr(getattr(called, "provider", None), "name", ""))


@contextmanager
def ungoverned(reason: str) -> Iterator[None]:
    """Let calls in a body be made outside of every job, although they are of engines and tools that jobs use.

    Inside a job it changes nothing: what is called in a job's context is always seen.

    Args:
        reason: Why no rule, budget or journal has to see them, for whoever reads the code.

    Raises:
        ConfigurationError: No reason is given.
    """
    if not (reason or "").strip():
        raise ConfigurationError("ungoverned(…) takes the reason why nothing has to see these calls")
    token = _REASON.set(reason)
    try:
        yield
    finally:
        _REASON.reset(token)
