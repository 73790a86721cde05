"""Write docs/reference/json_rpc.md from the table of methods: rpc_reference.py, in the project's environment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from agent_runtime.server.rpc.notifications import NAMES
from agent_runtime.server.rpc.offered import offered
from agent_runtime.server.rpc.openrpc import document

PAGE: Final = Path(__file__).parents[1] / "docs" / "reference" / "json_rpc.md"
HEAD: Final = """# The methods of `/ws`

<!-- Written by scripts/rpc_reference.py from the table of methods; a test says when it is out of date. -->

What can be called by [JSON-RPC](../json_rpc.md): the same as `/openrpc.json` and `rpc.discover` say (OpenRPC 1.3). Params are given by name, or by
position in the order of the tables.
"""


def page() -> str:
    """Return the page as it has to be."""
    told = document(offered("").values(), "")
    schemas = told["components"]["schemas"]
    parts = [HEAD, *("\n".join(_method(method)) for method in told["methods"])]
    names = "\n".join(f"| `{name}` | `{kind}` |" for kind, name in NAMES.items())
    parts.append(f"\n## Notifications\n\n| method | entry of the history |\n|---|---|\n{names}\n")
    parts.append("\n## Models\n")
    results = {_last(method["result"]["schema"].get("$ref", "")) for method in told["methods"]}
    params = {method.params.__name__ for method in offered("").values()} - results
    parts += ["\n".join(_model(name, schemas[name])) for name in sorted(schemas) if name not in params]
    return "".join(parts)


def _method(method: Mapping[str, Any]) -> Iterator[str]:
    roles = ", ".join(f"`{role}`" for role in method["x-roles"])
    permission = f"*{method['x-permission']}* ({roles})" if method["x-permission"] else "any key"
    yield f"\n## `{method['name']}`\n\n{method['summary']} Takes {permission}. Returns {_type(method['result']['schema'])}.\n"
    if method["params"]:
        yield "| param | type | default | |\n|---|---|---|---|"
        for one in method["params"]:
            default = "required" if one["required"] else _default(one["schema"])
            yield f"| `{one['name']}` | {_type(one['schema'])} | {default} | {one.get('description', '')} |"
        yield ""


def _model(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield f"\n### {name}\n\n{' '.join(schema.get('description', '').split())}\n\n| field | type | |\n|---|---|---|"
    for field, one in schema.get("properties", {}).items():
        yield f"| `{field}` | {_type(one)} | {one.get('description', '')} |"
    yield ""


def _default(schema: Mapping[str, Any]) -> str:
    return "" if schema.get("default") in (None, "", {}, []) else f"`{schema['default']}`"


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = _last(schema["$ref"])
        return "any JSON value" if name == "JsonValue" else f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(one) for one in schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(f"`{one}`" for one in schema["enum"])
    kind = str(schema.get("type", "any JSON value"))
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return f"{kind} ({schema['format']})" if "format" in schema else kind


def _last(reference: str) -> str:
    return reference.rpartition("/")[2]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
