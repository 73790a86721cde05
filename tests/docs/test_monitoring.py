"""The board and the alerts in `examples/monitoring` are about metrics that there are."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from agent_runtime import ExecutionContext, Role, RuntimeKernel
from llm_client.usage import Usage
from support.service import service_of

FOLDER = Path(__file__).parents[2] / "examples" / "monitoring"
BOARD: Any = json.loads((FOLDER / "board.json").read_text())
RULES: Any = yaml.safe_load((FOLDER / "rules.yml").read_text())
QUERIES = [
    *(target["expr"] for panel in BOARD["panels"] for target in panel["targets"]),
    *(rule["expr"] for group in RULES["groups"] for rule in group["rules"]),
]


@pytest.fixture
async def told() -> dict[str, set[str]]:
    """Return the names of all samples, each with its labels."""
    async with service_of(RuntimeKernel()) as service:
        usage = Usage(input_tokens=1, requests=1)
        await service.kernel.ledger.record_model_usage(ExecutionContext(), usage, provider="p", model="m")
        async with service.client(await service.key(Role.VIEWER, None)) as client:
            await client.get("/v1/jobs")
            text = (await client.get("/metrics")).text
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_asks_for_metrics_and_labels_that_there_are(query: str, told: dict[str, set[str]]) -> None:
    names = set(re.findall(r"agent_runtime_\w+", query))
    assert names <= set(told), query
    known = set().union(*(told[name] for name in names), {"job", "instance"})
    for labels in re.findall(r"\bby \(([^)]*)\)", query):
        assert {label.strip() for label in labels.split(",")} <= known, query
    for matchers in re.findall(r"{([^}]*)}", query):
        assert set(re.findall(r"(\w+)[!=]", matchers)) <= known, query


def test_every_alert_says_what_is_wrong_and_every_panel_has_its_place() -> None:
    rules = [rule for group in RULES["groups"] for rule in group["rules"]]
    assert len(rules) == len({rule["alert"] for rule in rules})
    assert all(
        rule["annotations"]["summary"] and rule["labels"]["severity"] in ("page", "ticket") for rule in rules
    )
    places = set()
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & places
        assert max(x for x, _ in cells) < 24
        places |= cells
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
