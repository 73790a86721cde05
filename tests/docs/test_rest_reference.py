"""The reference of the routes is that of the service as it is."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from agent_runtime import RuntimeKernel
from agent_runtime.client import key_models, models, schedule_models
from agent_runtime.server import create_app

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "rest_reference.py"


def test_the_reference_is_written_from_the_document_as_it_is_now() -> None:
    written: dict[str, Any] = runpy.run_path(str(SCRIPT))

    assert written["PAGE"].read_text(encoding="utf-8") == written["page"](), (
        "out of date: run `.venv/bin/python scripts/rest_reference.py`, and read the difference"
    )


def test_the_reference_tells_of_every_route_and_model() -> None:
    document = create_app(RuntimeKernel()).openapi()
    page = (ROOT / "docs" / "reference" / "rest.md").read_text(encoding="utf-8")

    for path, item in document["paths"].items():
        for method in item:
            assert f"\n### `{method.upper()} {path}`\n" in page
    for name in document["components"]["schemas"]:
        assert f"\n### {name}\n" in page or name.startswith("Page_")
    assert "Takes *administer* (`admin`), with a key for all scopes." in page


def test_every_example_is_one() -> None:
    found = 0
    for name, schema in create_app(RuntimeKernel()).openapi()["components"]["schemas"].items():
        for example in schema.get("examples", ()):
            found_in = next(one for one in (models, key_models, schedule_models) if hasattr(one, name))
            getattr(found_in, name).model_validate(example)
            found += 1
    assert found > 8
