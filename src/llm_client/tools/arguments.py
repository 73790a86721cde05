"""A call's arguments as the tool will take them: checked, converted, with defaults filled in, and as JSON values.

Whoever rules on a call, or is asked about it, must see what will be done and not what the model wrote: `"5000"` is 5000, and what the
model leaves out is the default, which can be 5,000 as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from llm_client.errors import ToolError
from llm_client.json_text import MOST_ALIKE, JsonObject, JsonValue, has_alike
from llm_client.tools.mistakes import MOST_MISTAKES, has_room_for_mistakes
from llm_client.tools.tool import Tool
from llm_client.turns import read_aside

_MAX_DEPTH = 16


def completed(tool: Tool, arguments: JsonObject) -> dict[str, JsonValue]:
    """Return the arguments that a tool will take when it is called with these; completing them again changes nothing.

    Raises:
        ToolError: The tool cannot be called like this; the text is for the model.
    """
    if (why := uncheckable(tool, arguments)) is not None:
        raise ToolError(why)
    if tool.complete is not None:
        return tool.complete(arguments)
    given = with_defaults(tool.parameters, arguments)
    if tool.validate is not None:
        tool.validate(given)
    return given


def uncheckable(tool: Tool, arguments: JsonObject) -> str | None:
    """Return why arguments are not compared with a tool's types, if that would take too long; it would be done in one go."""
    if has_alike(arguments):
        return f"the arguments have more than {MOST_ALIKE}"
    if tool.definition is None and has_room_for_mistakes(arguments, tool.parameters):
        return f"more than {MOST_MISTAKES} the arguments"
    return None


async def completed_aside(tool: Tool, arguments: JsonObject) -> dict[str, JsonValue]:
    """As `completed`; large arguments in a thread, so that others go on meanwhile."""
    return await read_aside(arguments, partial(completed, tool, arguments))


def with_defaults(schema: JsonObject, given: JsonObject, depth: int = _MAX_DEPTH) -> dict[str, JsonValue]:
    """Return an object with the defaults of its JSON Schema where it holds nothing, in objects inside it as well."""
    filled = dict(given)
    properties = schema.get("properties")
    if not isinstance(properties, Mapping) or depth <= 0:
        return filled
    for name, about in properties.items():
        if not isinstance(about, Mapping):
            continue
        if name not in filled and "default" in about:
            filled[name] = about["default"]
        inner = filled.get(name)
        if isinstance(inner, Mapping):
            filled[name] = with_defaults(about, inner, depth - 1)
    return filled
