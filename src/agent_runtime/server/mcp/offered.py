"""Which operators are tools, and what is said of them: their names, their docstrings, and what they take."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, get_type_hints

from pydantic import PydanticUserError, TypeAdapter
from typing_extensions import is_typeddict

from agent_runtime.errors import UnknownOperator
from agent_runtime.execution.operations.annotations import readable
from agent_runtime.kernel.kernel import Kernel
from agent_runtime.operators.operator import AgentOperator, FunctionOperator, Operator
from agent_runtime.residents.turn import OPERATOR_PREFIX
from llm_client.json_text import JsonObject, dumps, loads, whole_text, whole_value
from llm_client.logs import logger_of
from llm_client.tools.docstring import parse_docstring

logger = logger_of(__name__)

ANY_OBJECT: Final[JsonObject] = {"type": "object"}
"""What an operator takes that says nothing of it."""
ASKED_AGENT: Final[JsonObject] = {
    "type": "object",
    "properties": {"prompt": {"type": "string", "description": "What the agent is asked."}},
    "required": ["prompt"],
}
MAX_DESCRIPTION: Final = 8_000
"""Characters of a docstring that clients, and their models, are shown."""
_FIT: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
"""Names that clients take (SEP-986)."""
_UNFIT: Final = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST_STEM: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedTool:
    """An operator as a tool."""

    name: str
    """What clients call it: the operator's name, or one made of it where clients would not take that."""
    operator: str
    description: str
    input_schema: JsonObject


class OfferedTools:
    """The operators of a kernel, and of the workers of its database, as tools.

    Args:
        kernel: Whose operators.
        chosen: Those of them that are offered; `None` is all.
    """

    def __init__(self, kernel: Kernel, chosen: Iterable[str] | None) -> None:
        self._kernel = kernel
        self._chosen = None if chosen is None else frozenset(chosen)
        self._made: dict[str, tuple[object, OfferedTool]] = {}
        """What was made of each operator: looking at annotations takes its time."""

    async def all(self) -> Mapping[str, OfferedTool]:
        """Return the tools by their names, sorted. Raises `StorageError`."""
        names = set(self._kernel.operators.names())
        if self._kernel.storage.is_shared:
            for worker in await self._kernel.storage.list_workers():
                names.update(() if worker.only_waits else worker.operators)
        # The turns of resident agents are begun by what is sent to them, and by nothing else.
        names = {name for name in names if not name.startswith(OPERATOR_PREFIX)}
        made = (self._tool_of(name) for name in names if self._chosen is None or name in self._chosen)
        return {tool.name: tool for tool in sorted(made, key=lambda tool: tool.name)}

    async def get(self, name: str) -> OfferedTool:
        """Return a tool. Raises `UnknownOperator`."""
        tool = (await self.all()).get(name)
        if tool is None:
            raise UnknownOperator("there is no such tool")
        return tool

    def schema_of(self, name: str) -> JsonObject | None:
        """Return what a tool takes whose operator is known in this process."""
        for operator in self._kernel.operators.names():
            if tool_name(operator) == name:
                return self._tool_of(operator).input_schema
        return None

    def _tool_of(self, name: str) -> OfferedTool:
        known = self._kernel.operators.get(name) if name in self._kernel.operators else None
        of, made = self._made.get(name, (None, None))
        if made is None or of is not known:
            made = OfferedTool(
                name=tool_name(name),
                operator=name,
                description=_description_of(known, name),
                input_schema=_schema_of(known, name),
            )
            self._made[name] = (known, made)
        return made


def tool_name(operator: str) -> str:
    """Return the name of an operator as a tool. Two operators never have the same one."""
    if _FIT.fullmatch(operator):
        return operator
    stem = _UNFIT.sub("_", operator)[:_LONGEST_STEM]
    return f"{stem}-{sha256(operator.encode()).hexdigest()[:12]}"


def _description_of(operator: object, name: str) -> str:
    said = _told_by(operator, "description")
    if not isinstance(said, str) or not said.strip():
        said = _docstring_of(operator)
    return whole_text(said.strip()[:MAX_DESCRIPTION]) or f"Runs the operator {name}."


def _told_by(operator: object, name: str) -> object:
    """Return an attribute of somebody's operator. One that raises is none: the other tools are there all the same."""
    try:
        return getattr(operator, name, None)
    except Exception:  # whatever its property does
        logger.exception("what an operator says as `%s` cannot be read", name)
        return None


def _docstring_of(operator: object) -> str:
    if isinstance(operator, FunctionOperator):
        return parse_docstring(operator.function).description
    if operator is None or type(operator) in (AgentOperator, Operator):
        return ""
    kind = type(operator)
    return parse_docstring(kind).description if kind.__doc__ else ""  # its own, not that of a base class


def _schema_of(operator: object, name: str) -> JsonObject:
    said = _told_by(operator, "input_schema")
    if said is None and isinstance(operator, FunctionOperator):
        said = _annotated(operator.function)
    if isinstance(said, Mapping):
        try:
            return _of_an_object(loads(dumps(whole_value(dict(said)))))
        except (TypeError, ValueError, RecursionError) as error:
            logger.warning(
                "the input schema of the operator %r is none, so it takes any object: %s", name, error
            )
    return ASKED_AGENT if isinstance(operator, AgentOperator) else ANY_OBJECT


def _of_an_object(schema: JsonObject) -> JsonObject:
    """Return a schema that says it is one of an object, as the protocol wants it; raise `ValueError` where it is one of something else."""
    kinds = schema.get("type", "object")
    if kinds != "object" and not (isinstance(kinds, list) and "object" in kinds):
        raise ValueError("arguments are an object")
    return {**schema, "type": "object"}


def _annotated(function: Callable[..., object]) -> object:
    """Return the schema of a function's input where its annotation is a `TypedDict`: JSON values are what it is given, and nothing else."""
    try:
        hints = get_type_hints(function, include_extras=True)
        _, given, *_ = inspect.signature(function).parameters
        hint = hints.get(given)
        return TypeAdapter(readable(hint)).json_schema() if is_typeddict(hint) else None
    except (TypeError, ValueError, NameError, AttributeError, PydanticUserError):
        return None
