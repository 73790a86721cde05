"""What can be called, as data: a name, typed params, what comes back, and the permission that it takes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from agent_runtime.server.rpc.refusals import invalid, invalid_params
from agent_runtime.values.api_key import Permission
from llm_client.json_text import holds_more
from llm_client.turns import read_aside

MOST_VALUES: Final = 20_000
"""Values that params may hold: to check them keeps the interpreter, in a thread as well."""


class Model(BaseModel):
    """A part of params or of a result; its names are in camel case on the wire."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


class Params(Model):
    """The params of a method, by name or, in the order of the fields, by position."""


class Scoped(Params):
    """Params of a method that works in one scope."""

    scope_id: str | None = Field(
        default=None,
        description="The scope, for keys of all scopes; that of the key, or `default`, where it is left out.",
    )


Given = TypeVar("Given", bound=Params)
Answerer: TypeAlias = Callable[[Any, Any], Awaitable[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Method(Generic[Given]):
    """A method."""

    name: str
    params: type[Given]
    result: Any
    """The type of what comes back, as pydantic takes one."""
    permission: Permission | None
    """`None`: every key may."""
    summary: str
    answer: Answerer
    """Is given what the caller is to it, and the params."""

    @property
    def positions(self) -> Sequence[str]:
        """The names of the params in the order in which they may be given without names: the scope comes last."""
        fields = self.params.model_fields
        own = [name for name in fields if name != "scope_id"]
        return [
            fields[name].alias or name for name in (*own, *(["scope_id"] if "scope_id" in fields else []))
        ]

    async def read(self, params: Mapping[str, object] | Sequence[object] | None) -> Given:
        """Return the params that somebody gives. Raises `Refused`."""
        named = params if isinstance(params, Mapping) else self._named(params or ())
        if holds_more(named, MOST_VALUES):
            raise invalid_params(f"they hold more than {MOST_VALUES:,} values")
        try:
            return await read_aside(named, lambda: self.params.model_validate(named))
        except ValidationError as error:
            raise invalid(error) from None

    def _named(self, params: Sequence[object]) -> dict[str, object]:
        if len(params) > len(self.positions):
            raise invalid_params(f"{self.name} takes {len(self.positions)} at most")
        return dict(zip(self.positions, params, strict=False))


def table(*groups: Iterable[Method[Any]]) -> Mapping[str, Method[Any]]:
    """Return methods by their names. Raises `ValueError` where two have the same."""
    methods: dict[str, Method[Any]] = {}
    for group in groups:
        for method in group:
            if method.name in methods:
                raise ValueError(f"two methods are called {method.name}")
            methods[method.name] = method
    return methods
