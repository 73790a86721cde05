"""The operators every command knows, so that any of them can go on with a job that another one began."""

from __future__ import annotations

from typing import Any


def known_operators() -> dict[str, Any]:
    """Return the command line's own operators by name."""
    from agent_runtime.cli.prompted import PromptedRun
    from agent_runtime.demo.audit import LicenceAudit

    operators = (PromptedRun(), LicenceAudit())
    return {operator.name: operator for operator in operators}
