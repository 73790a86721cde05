"""The operators every command knows, so that any of them can go on with a job that another one began."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent_runtime.cli.prompted import ChosenAgent
    from agent_runtime.operators.operator import Operator


def known_operators(chosen: ChosenAgent | None = None) -> dict[str, Operator]:
    """Return the command line's own operators by name; `chosen` is the agent of prompts, whatever their jobs name."""
    from agent_runtime.cli.prompted import PromptedRun
    from agent_runtime.demo.audit import LicenceAudit
    from agent_runtime.trust import TrustStore

    operators: tuple[Operator, ...] = (PromptedRun(chosen), LicenceAudit(TrustStore()))
    return {operator.name: operator for operator in operators}
