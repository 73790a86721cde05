"""A function's parameters as JSON Schema, and the check of a model's arguments against it.

Pydantic does both, so that whatever pydantic understands can be a parameter: enums, `Annotated` constraints, models,
dataclasses, typed dictionaries, unions, defaults. It is imported at the first use.
"""

from __future__ import annotations

import contextlib
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Union

from llm_client.errors import ConfigurationError, ToolError
from llm_client.json_text import JsonObject, JsonValue, non_finite
from llm_client.tools.docstring import parse_docstring
from llm_client.tools.tool import ToolContext

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

MAX_PROBLEMS = 10
"""How many problems of one call's arguments the model is told."""
_TOO_MANY = 10_000
"""Problems beyond which only their number is told: naming each takes pydantic longer than anybody may be held up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What a model and the agent must know of a function."""

    description: str
    parameters: Mapping[str, Any]
    """JSON Schema of the arguments object."""
    validate: Callable[[Mapping[str, Any]], dict[str, Any]]
    """Turns a model's arguments into keyword arguments; raises `ToolError`."""
    complete: Callable[[Mapping[str, Any]], dict[str, Any]]
    """Turns a model's arguments into what the function will take, as JSON values; raises `ToolError`."""
    takes_context: str | None


def read_signature(
    function: Callable[..., object], *, names: JsonObject | None = None, strict: bool = False
) -> Signature:
    """Derive the schema of a function's arguments from its type hints and docstring.

    Args:
        function: The function; `self` must be bound.
        names: Local names its annotations may use besides its module's.
        strict: Whether a value of the wrong type is refused instead of converted.

    Raises:
        ConfigurationError: The function cannot be called by a model, with the parameter at fault.
    """
    hints = _hints(function, names)
    docstring = parse_docstring(_routine(function))
    context: str | None = None
    fields: dict[str, tuple[Any, Any]] = {}
    for parameter in inspect.signature(function).parameters.values():
        hint = hints.get(parameter.name, Any)
        if _is_context(hint):
            context = parameter.name
            continue
        _check_kind(function, parameter)
        fields[parameter.name] = (hint, parameter.default)
    model, slots = _model(_name(function), fields, docstring.parameters, strict)
    return Signature(
        description=docstring.description,
        parameters=_schema(_name(function), model),
        validate=partial(_validated, model, slots),
        complete=partial(_completed, model, slots),
        takes_context=context,
    )


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)


def _routine(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return what carries the hints and the docstring: of a callable object, its `__call__`."""
    return function if inspect.isroutine(function) else type(function).__call__


def _hints(function: Callable[..., Any], names: Mapping[str, Any] | None) -> dict[str, Any]:
    try:
        return typing.get_type_hints(_routine(function), localns=dict(names or {}), include_extras=True)
    except NameError as error:
        raise ConfigurationError(
            f"tool {_name(function)!r}: the annotation {error.name!r} is not known where the tool is made; "
            "define or import it first"
        ) from error


def _is_context(hint: Any) -> bool:
    if hint is ToolContext:
        return True
    if typing.get_origin(hint) in {Union, types.UnionType}:
        return ToolContext in typing.get_args(hint)
    return False


def _check_kind(function: Callable[..., Any], parameter: inspect.Parameter) -> None:
    if parameter.kind in {parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
        raise ConfigurationError(
            f"tool {_name(function)!r}: a model gives arguments by name, so {str(parameter)!r} cannot be a parameter"
        )
    if parameter.name in {"self", "cls"}:
        raise ConfigurationError(
            f"tool {_name(function)!r} is a method; make the tool from the bound method: tool(instance.method)"
        )


def _model(
    title: str, fields: Mapping[str, tuple[Any, Any]], texts: Mapping[str, str], strict: bool
) -> tuple[type[BaseModel], Mapping[str, str]]:
    """Make a pydantic model whose fields are aliased, so that no parameter's name can clash with pydantic's own.

    Returns:
        The model, and the parameters' names by those of its fields.
    """
    from pydantic import ConfigDict, PydanticUserError, create_model
    from pydantic.errors import PydanticSchemaGenerationError
    from pydantic_core import PydanticUndefined

    slots = {f"field_{position}": name for position, name in enumerate(fields)}
    definitions: dict[str, Any] = {}
    for slot, name in slots.items():
        hint, default = fields[name]
        definitions[slot] = _field(
            name, hint, PydanticUndefined if default is inspect.Parameter.empty else default, texts
        )
    try:
        model = create_model(
            title,
            __config__=ConfigDict(extra="forbid", strict=strict, protected_namespaces=()),
            **definitions,
        )
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        raise _undescribable(title, error) from error
    return model, slots


def _schema(title: str, model: type[BaseModel]) -> dict[str, Any]:
    from pydantic import PydanticUserError
    from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError

    try:
        schema = model.model_json_schema()
    except (PydanticSchemaGenerationError, PydanticInvalidForJsonSchema, PydanticUserError) as error:
        raise _undescribable(title, error) from error
    schema.setdefault("properties", {})
    schema.pop("description", None)
    return without_titles(schema)


def _undescribable(title: str, error: Exception) -> ConfigurationError:
    reason = str(error).splitlines()[0]
    return ConfigurationError(f"tool {title!r}: a parameter cannot be described as JSON: {reason}")


def _checked(model: type[BaseModel], arguments: Mapping[str, Any]) -> BaseModel:
    from pydantic import ValidationError

    try:
        return model.model_validate(dict(arguments))
    except ValidationError as error:
        raise ToolError(describe_problems(error)) from None


def _validated(
    model: type[BaseModel], slots: Mapping[str, str], arguments: Mapping[str, Any]
) -> dict[str, Any]:
    checked = _checked(model, arguments)
    return {name: getattr(checked, slot) for slot, name in slots.items()}


def _completed(
    model: type[BaseModel], slots: Mapping[str, str], arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what the function will take, written so that reading it again gives the same.

    What JSON cannot give back (a secret that prints as stars, a type that writes itself differently) stays as it was given, and a
    default of that kind stays out: a rule about it then cannot tell.
    """
    checked = _checked(model, arguments)
    written: dict[str, Any] = {}
    for slot, name in slots.items():
        with contextlib.suppress(Exception):  # a parameter's own type decides what it raises
            written[name] = checked.model_dump(mode="json", by_alias=True, include={slot}, warnings="none")[
                name
            ]
    same = _read_the_same(model, slots, checked, {**arguments, **written})
    if same is None:  # one of them cannot be read again: which one, only each by itself tells
        same = {
            name
            for slot, name in slots.items()
            if name in written
            and _read_the_same(model, {slot: name}, checked, {**arguments, name: written[name]})
        }
    same &= written.keys()
    completed = {
        name: written[name] if name in same else arguments[name]
        for name in slots.values()
        if name in same or name in arguments
    }
    endless = [
        name for name in completed if non_finite([completed[name], written.get(name)]) is not None
    ]  # `"inf"` and `"nan"` are read as numbers, about which nobody could be asked
    if endless:
        raise ToolError(f"- {', '.join(endless)}: NaN and the infinities are no numbers of JSON")
    return completed


def _read_the_same(
    model: type[BaseModel], slots: Mapping[str, str], checked: BaseModel, written: Mapping[str, Any]
) -> set[str] | None:
    """Return which parameters are read as what they were; `None` where the whole cannot be read."""
    try:
        again = model.model_validate(dict(written))
    except Exception:  # noqa: BLE001 -- as above
        return None
    same = set()
    for slot, name in slots.items():
        with contextlib.suppress(Exception):
            if getattr(again, slot) == getattr(checked, slot):
                same.add(name)
    return same


def _field(name: str, hint: Any, default: Any, texts: Mapping[str, str]) -> tuple[Any, Any]:
    from pydantic import Field
    from pydantic.fields import FieldInfo

    described = isinstance(default, FieldInfo) and default.description is not None
    for extra in getattr(hint, "__metadata__", ()):
        described = described or (isinstance(extra, FieldInfo) and extra.description is not None)
    text = None if described else texts.get(name)
    alias = Field(alias=name, description=text) if text else Field(alias=name)
    return typing.Annotated[hint, alias], default


def describe_problems(error: ValidationError) -> str:
    """Return a pydantic error as lines a model can act on, without the values it sent."""
    if error.error_count() > _TOO_MANY:
        return f"- {error.error_count()} problems"
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    lines = []
    for problem in problems[:MAX_PROBLEMS]:
        place = ".".join(str(step) for step in problem["loc"]) or "value"
        lines.append(f"- {place}: {problem['msg']}")
    if len(problems) > MAX_PROBLEMS:
        lines.append(f"- and {len(problems) - MAX_PROBLEMS} more")
    return "\n".join(lines)


def without_titles(schema: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Return a JSON Schema without pydantic's generated titles, which cost tokens and say nothing."""
    cleaned: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "title" and isinstance(value, str):
            continue
        if key in {"properties", "$defs", "patternProperties"} and isinstance(value, dict):
            cleaned[key] = {name: without_titles(entry) for name, entry in value.items()}
        elif key in {"default", "examples", "enum", "const"}:
            cleaned[key] = value
        elif isinstance(value, dict):
            cleaned[key] = without_titles(value)
        elif isinstance(value, list):
            cleaned[key] = [without_titles(entry) if isinstance(entry, dict) else entry for entry in value]
        else:
            cleaned[key] = value
    return cleaned
