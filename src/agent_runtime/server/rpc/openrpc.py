"""The OpenRPC document (https://spec.open-rpc.org, 1.3) of all that can be called, made of the table of methods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic import TypeAdapter
from pydantic.json_schema import models_json_schema

from agent_runtime.server.rpc.methods import Method
from agent_runtime.server.rpc.notifications import NAMES
from agent_runtime.server.rpc.refusals import MESSAGES
from agent_runtime.values.api_key import Role

OPENRPC: Final = "1.3.2"
_REFERENCE: Final = "#/components/schemas/{model}"


def document(methods: Iterable[Method[Any]], version: str) -> dict[str, Any]:
    """Return the document.

    Args:
        methods: What can be called.
        version: Of the service.
    """
    told = list(methods)
    inputs = [(method.params, "validation") for method in told]
    _, schemas = models_json_schema(inputs, ref_template=_REFERENCE)  # type: ignore[arg-type]  # literals
    components: dict[str, Any] = dict(schemas.get("$defs", {}))
    described = [_method(method, components) for method in told]
    return {
        "openrpc": OPENRPC,
        "info": {
            "title": "agent-runtime",
            "version": version,
            "description": "Resident agents by JSON-RPC 2.0 over WebSocket. Notifications: "
            + ", ".join(sorted(NAMES.values()))
            + ".",
        },
        "methods": described,
        "components": {"schemas": dict(sorted(components.items()))},
    }


def _method(method: Method[Any], components: dict[str, Any]) -> dict[str, Any]:
    """Return what is said of one method; adds the models of its result to the others."""
    params = components[method.params.__name__]
    required = set(params.get("required", ()))
    result = TypeAdapter(method.result).json_schema(ref_template=_REFERENCE, mode="serialization")
    for name, schema in result.pop("$defs", {}).items():
        components.setdefault(name, schema)
    if isinstance(method.result, type) and result.get("type") == "object" and "properties" in result:
        components.setdefault(method.result.__name__, result)
        result = {"$ref": _REFERENCE.format(model=method.result.__name__)}
    return {
        "name": method.name,
        "summary": method.summary,
        "paramStructure": "either",
        "params": [
            {
                "name": name,
                "required": name in required,
                **_described(params["properties"][name]),
            }
            for name in method.positions
        ],
        "result": {"name": "result", "schema": result},
        "errors": [{"code": code, "message": message} for code, message in MESSAGES.items()],
        "x-permission": method.permission and str(method.permission),
        "x-roles": [
            str(role) for role in Role if method.permission is None or role.allows(method.permission)
        ],
    }


def _described(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema, with what it says beside it, where OpenRPC has it."""
    inner = {name: value for name, value in schema.items() if name != "description"}
    said = schema.get("description")
    return {"schema": inner} if said is None else {"description": said, "schema": inner}
