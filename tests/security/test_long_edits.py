"""An approver's edit, and the schema that it is compared with, cost no more than anybody can mean, whatever they hold."""

import time
from collections.abc import Mapping
from typing import Any

import pytest

from agent_runtime import ActionManager, ActionSpec, InMemoryActionStore, InvalidInput
from support.kernels import BOUND

pytestmark = pytest.mark.timeout(BOUND * 3)


async def edited(schema: Mapping[str, Any], value: Any) -> Mapping[str, Any]:
    """Ask for an approval, answer with an edit, and return the edit as it is taken."""
    actions = ActionManager(InMemoryActionStore())
    whole = {"type": "object", "properties": {"x": schema}}
    asked = await actions.require_action(
        ActionSpec(type="approval", payload={"arguments": {"x": 1}}, argument_schema=whole)
    )
    answered = await actions.resolve_by_id(
        asked.action_id, {"approved": True, "arguments": {"x": value}}, resolved_by="ann"
    )
    assert answered.resolution is not None
    return answered.resolution["arguments"]


CODES = [f"c{number}" for number in range(1_000)]


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"items": {"enum": CODES}}, ["c999"] * 19_000),
        ({"items": {"$ref": "#/" + "x/" * 30_000}}, [1] * 15_000),
        ({"items": {"type": ["string"] * 6_000 + ["integer"]}}, [1] * 15_000),
        ({"allOf": [{"anyOf": [{"enum": ["a"]}, {}]}] * 9_000}, "y" * 3_000_000),
    ],
    ids=["enum", "reference", "types", "text"],
)
async def test_a_long_edit_is_compared_in_no_time(schema: Mapping[str, Any], value: Any) -> None:
    started = time.process_time()
    assert (await edited(schema, value))["x"] == value
    assert time.process_time() - started < BOUND


async def test_what_is_worked_out_once_holds_for_the_values_it_was_worked_out_for() -> None:
    schema = {"items": {"enum": [1, "1", None, 2.5]}}
    assert (await edited(schema, [1.0, "1", None, 2.5, 1] * 50))["x"][:2] == [1.0, "1"]
    for wrong in (True, "2.5", 3, [[2]]):
        with pytest.raises(InvalidInput, match="none of the values"):
            await edited(schema, [1] * 50 + [wrong] if not isinstance(wrong, list) else [4])
    referred = {"items": {"$ref": "#/properties/x/one"}, "one": {"const": 7}}
    with pytest.raises(InvalidInput, match="not the one value"):
        await edited(referred, [7, 7, 8])


async def test_a_schema_that_refers_to_itself_is_followed_as_far_as_the_edit_goes() -> None:
    tree = {"$ref": "#"}
    assert await edited(tree, {"x": {"x": {}}})
    for bare in ({"$ref": "#/properties/x"}, {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}):
        assert (await edited(bare, {"y": 1}))["x"] == {"y": 1}
    with pytest.raises(InvalidInput, match="not of type object"):
        await edited(tree, "no object")
