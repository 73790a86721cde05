"""The reference of the JSON-RPC methods is that of the service as it is."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from agent_runtime.server.rpc.offered import offered

SCRIPT = Path(__file__).parents[2] / "scripts" / "rpc_reference.py"


def test_the_reference_is_written_from_the_methods_as_they_are_now() -> None:
    written: dict[str, Any] = runpy.run_path(str(SCRIPT))
    page = written["PAGE"].read_text(encoding="utf-8")

    assert page == written["page"](), (
        "out of date: run `.venv/bin/python scripts/rpc_reference.py`, and read the difference"
    )
    for name in offered(""):
        assert f"\n## `{name}`\n" in page
