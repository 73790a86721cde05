"""What functions say they return: the one annotation that matters, found and evaluated."""

from __future__ import annotations

import contextlib
import functools
import inspect
import operator
import types
import typing
from collections.abc import Awaitable, Callable, Coroutine
from typing import Annotated, Any, Final, Literal, Union

import typing_extensions

_AWAITABLES: Final = frozenset({Awaitable, Coroutine})


def underlying(function: object) -> object:
    """Return the function whose annotations count, which can be remembered by: what it is bound to need not be hashable."""
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif inspect.ismethod(function):
            function = function.__func__
        elif inspect.isroutine(function) or isinstance(function, type):
            return function
        else:
            return type(function).__call__


def returned(function: object) -> Any:
    """Return the annotation of what a function returns, or `Any` where it says nothing that can be understood."""
    if isinstance(function, type):
        return function
    raw = getattr(function, "__annotations__", {}).get("return", Any)
    if isinstance(raw, str):
        raw = _evaluated(function, raw)
    while typing.get_origin(raw) in _AWAITABLES:
        raw = typing.get_args(raw)[-1]
    return raw


def _evaluated(function: Any, raw: str) -> Any:
    """Evaluate the one annotation that matters: the others may name what exists for type checkers only."""
    inner = inspect.unwrap(function)
    holder = types.SimpleNamespace(__annotations__={"return": raw})
    try:
        return typing.get_type_hints(
            holder,
            globalns=getattr(inner, "__globals__", {}),
            localns=_enclosing_names(inner),
            include_extras=True,
        )["return"]
    except (NameError, TypeError, SyntaxError, AttributeError):
        return Any


def _enclosing_names(function: Any) -> dict[str, Any]:
    """Return what a function that was made inside another one sees of that."""
    names: dict[str, Any] = {}
    code = getattr(function, "__code__", None)
    for name, cell in zip(getattr(code, "co_freevars", ()), function.__closure__ or (), strict=False):
        with contextlib.suppress(ValueError):  # a name that has no value yet
            names[name] = cell.cell_contents
    return names


def readable(annotation: Any) -> Any:
    """Return the annotation as pydantic can read it: before Python 3.12 it refuses the standard `TypedDict`."""
    if typing.is_typeddict(annotation):
        return _readable_typed_dict(annotation)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if not arguments or origin in (Literal, Callable):
        return annotation
    if origin is Annotated:
        return Annotated[(readable(arguments[0]), *arguments[1:])]
    inner = tuple(map(readable, arguments))
    if inner == arguments:
        return annotation
    return functools.reduce(operator.or_, inner) if origin in (Union, types.UnionType) else origin[inner]


@functools.lru_cache(maxsize=256)
def _readable_typed_dict(kind: Any) -> Any:
    hints, said = (typing.get_type_hints(kind, include_extras=extras) for extras in (False, True))
    make: Any = typing_extensions.TypedDict
    return make(
        kind.__name__,
        {
            name: readable(hint)
            if _is_required(said[name], name in kind.__required_keys__)
            else typing_extensions.NotRequired[readable(hint)]
            for name, hint in hints.items()
        },
    )


def _is_required(said: Any, by_keys: bool) -> bool:
    """Whether a field has to be there. What its annotation says counts: the keys do not know it where annotations are texts."""
    origin = typing.get_origin(said)
    return origin is typing.Required if origin in (typing.Required, typing.NotRequired) else by_keys
