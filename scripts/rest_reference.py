"""Write docs/reference/rest.md from the service's OpenAPI document: rest_reference.py, in the project's environment."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fastapi.routing import APIRoute

from agent_runtime import Role, RuntimeKernel, errors
from agent_runtime.server import create_app
from agent_runtime.server.problems import status_of

PAGE: Final = Path(__file__).parents[1] / "docs" / "reference" / "rest.md"
HEAD: Final = """# The REST routes

<!-- Written by scripts/rest_reference.py from the OpenAPI document; a test says when it is out of date. -->

What [the service](../service.md) answers, route by route: the same as its `/openapi.json` (OpenAPI 3.1). Every request brings a
[key](../keys.md), whose role has to have the permission that a route takes; a key for one scope sees that scope alone. From Python there is
[a client](service-client.md) with the same models.

A *page* of a list is `{"items": […], "next": …}`: with `cursor` set to `next` (`after_seq`, of events) the next one goes on where this one
has ended, and `next` is null on the last one.
"""
PROBLEMS: Final = """
## Problems

Whatever is not done is answered with a [Problem](#problem), as `application/problem+json`, whose `code` is stable. Beside the codes of HTTP
itself, such as `UNAUTHORIZED` (401), `FORBIDDEN` (403), `NOT_FOUND` (404) and `TOO_MANY_REQUESTS` (429), there are:

| code | status | |
|---|---|---|
"""
Schema = Mapping[str, Any]
_PAGE: Final = re.compile(r"Page_(\w+)_")


def page() -> str:
    """Return the page as it has to be."""
    app = create_app(RuntimeKernel())
    document = app.openapi()
    permissions = dict(_permissions(app))
    groups: dict[str, list[str]] = {}
    for path, item in document["paths"].items():
        for method, told in item.items():
            name = f"{method.upper()} {path}"
            groups.setdefault(told["tags"][0], []).append(
                "\n".join(_route(name, told, permissions.get(name)))
            )
    parts = [HEAD]
    for tag, routes in groups.items():
        parts += [f"\n## {_title(tag)}\n", *routes]
    parts.append(
        PROBLEMS + "".join(f"| `{code}` | {status} | {what} |\n" for code, status, what in _problems())
    )
    parts.append("\n## Models\n")
    models = sorted(document["components"]["schemas"].items())
    parts += ["\n".join(_model(name, told)) for name, told in models if _PAGE.fullmatch(name) is None]
    return "".join(parts)


def _permissions(router: Any) -> Iterator[tuple[str, str]]:
    """Yield what each route takes, in words."""
    for route in router.routes:
        if hasattr(route, "original_router"):
            yield from _permissions(route.original_router)
        if not isinstance(route, APIRoute):
            continue
        for dependency in route.dependant.dependencies:
            permission = getattr(dependency.call, "permission", None)
            if permission is None:
                continue
            roles = ", ".join(f"`{role}`" for role in Role if role.allows(permission))
            scopes = ", with a key for all scopes" if getattr(dependency.call, "all_scopes", False) else ""
            for method in route.methods:
                yield f"{method} {route.path}", f"*{permission}* ({roles}){scopes}"


def _title(tag: str) -> str:
    return tag if tag.isupper() else tag.replace("-", " ").capitalize()


def _route(name: str, told: Schema, permission: str | None) -> Iterator[str]:
    """Yield the lines about a route."""
    yield f"\n### `{name}`\n"
    yield _in_one_line(told["description"]) + "\n"
    yield f"Takes {permission}.\n" if permission else "Takes no key.\n"
    rows = [_parameter(one) for one in told.get("parameters", ())]
    if rows:
        yield from ("| parameter | in | type | default | |", "|---|---|---|---|---|", *rows, "")
    body = told.get("requestBody")
    if body is not None:
        schema = body["content"]["application/json"]["schema"]
        yield f"Body: {_type(schema)}{'' if body.get('required') else ', which may be left out'}.\n"
        yield from _example(schema)
    answers = [
        f"`{status}` {_answer(answer)}" for status, answer in told["responses"].items() if status != "default"
    ]
    yield f"Answers: {'; '.join(answers)}.\n"


def _parameter(one: Schema) -> str:
    schema = one["schema"]
    default = "" if schema.get("default") is None else f"`{json.dumps(schema['default'])}`"
    if one.get("required"):
        default = "required"
    what = _in_one_line(one.get("description") or schema.get("description") or "")
    return f"| `{one['name']}` | {one['in']} | {_type(schema)} | {default} | {what} |"


def _answer(answer: Schema) -> str:
    kinds = [
        _type(content["schema"]) if content.get("schema") else f"`{media}`"
        for media, content in answer.get("content", {}).items()
    ]
    said = answer["description"]
    what = "" if said == "Successful Response" else f" {_in_one_line(said).rstrip('.')}"
    return (" or ".join(kinds) or "without a body") + (f":{what}" if what else "")


def _example(schema: Schema) -> Iterator[str]:
    """Yield an example of a body, where its model has one."""
    name = schema.get("$ref", "").rpartition("/")[2]
    for one in _SCHEMAS.get(name, {}).get("examples", ())[:1]:
        yield from ("```json", json.dumps(one, indent=2, ensure_ascii=False), "```\n")


def _model(name: str, told: Schema) -> Iterator[str]:
    """Yield the lines about a model."""
    yield f"\n### {name}\n"
    if told.get("description"):
        yield _in_one_line(told["description"]) + "\n"
    if "enum" in told:
        yield "One of " + ", ".join(f"`{value}`" for value in told["enum"]) + ".\n"
        return
    required = set(told.get("required", ()))
    yield "| field | type | default | |"
    yield "|---|---|---|---|"
    for field, schema in told.get("properties", {}).items():
        default = "" if schema.get("default") is None else f"`{json.dumps(schema['default'])}`"
        default = "required" if field in required and "default" not in schema else default
        yield f"| `{field}` | {_type(schema)} | {default} | {_in_one_line(schema.get('description', ''))} |"
    yield ""


def _type(schema: Schema) -> str:
    """Return a type as people read it, with its bounds."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        item = _PAGE.fullmatch(name)
        return f"[{name}](#{_anchor(name)})" if item is None else f"page of [{item[1]}](#{_anchor(item[1])})"
    if "anyOf" in schema:
        kinds = [_type(one) for one in schema["anyOf"] if one.get("type") != "null"]
        may_be_null = " or null" if len(kinds) < len(schema["anyOf"]) else ""
        return " or ".join(dict.fromkeys(kinds)) + may_be_null
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type", "any JSON value")
    if kind == "array":
        kind = f"list of {_type(schema.get('items', {}))}"
    elif kind == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        kind = f"object of {_type(schema['additionalProperties'])}"
    elif schema.get("format"):
        kind = f"{kind} ({schema['format']})"
    bounds = ", ".join(_bounds(schema))
    return f"{kind} ({bounds})" if bounds else kind


def _bounds(schema: Schema) -> Iterator[str]:
    words = {
        "minimum": "at least {:,}",
        "exclusiveMinimum": "above {:,}",
        "maximum": "at most {:,}",
        "maxLength": "at most {:,} characters",
        "maxItems": "at most {:,}",
    }
    for name, text in words.items():
        if name in schema:
            yield text.format(schema[name])


def _problems() -> Sequence[tuple[str, int, str]]:
    """Return the codes of the runtime's own errors that a caller can do something about."""
    found = {
        (kind.code, status, _in_one_line(inspect.getdoc(kind) or "").partition(". ")[0].rstrip("."))
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.AgentRuntimeError)
        and isinstance(kind.code, str)
        and "raised by storages" not in (inspect.getdoc(kind) or "")
        and (status := _status(kind)) not in (500, 502)
    }
    return sorted(found, key=lambda one: (one[1], one[0]))


def _status(kind: type[errors.AgentRuntimeError]) -> int:
    return status_of(kind.__new__(kind))


def _in_one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _anchor(heading: str) -> str:
    """Return the anchor that the site gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-")


_SCHEMAS: Final[Mapping[str, Schema]] = create_app(RuntimeKernel()).openapi()["components"]["schemas"]

if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
