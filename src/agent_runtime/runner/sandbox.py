"""Templates that can do nothing but text, and not too much of it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, Final, TypeVar

from jinja2 import FunctionLoader, StrictUndefined, Template, pass_context
from jinja2.compiler import CodeGenerator, Frame
from jinja2.lexer import Token, TokenStream
from jinja2.nodes import Concat, Dict, List, Node, Tuple
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from agent_runtime.runner.template_bounds import (
    MAX_CHARACTERS,
    MAX_GIVEN,
    Rendering,
    TooMuch,
    check_call,
    check_operands,
    check_size,
    largest_result,
    listed,
)

T = TypeVar("T")

MAX_TOKENS: Final = 30_000
"""Words and signs of a template between its braces: what is compiled at once keeps the interpreter to itself."""

_RENDERING: ContextVar[Rendering] = ContextVar("agent_runtime_template_rendering")


class _BoundedCode(CodeGenerator):
    """Has every block of a template, so every round of a loop, look at the time, and everything that is put together at its size."""

    def blockvisit(self, nodes: Iterable[Node], frame: Frame) -> None:
        self.writeline("environment.tick()")
        super().blockvisit(nodes, frame)

    def visit_Concat(self, node: Concat, frame: Frame) -> None:  # noqa: N802 -- Jinja's name
        self.write("environment.joined((")
        for one in node.nodes:
            self.visit(one, frame)
            self.write(", ")
        self.write("))")

    def visit_List(self, node: List, frame: Frame) -> None:  # noqa: N802
        self._made(super().visit_List, node, frame)

    def visit_Dict(self, node: Dict, frame: Frame) -> None:  # noqa: N802
        self._made(super().visit_Dict, node, frame)

    def visit_Tuple(self, node: Tuple, frame: Frame) -> None:  # noqa: N802
        if node.ctx == "load":
            self._made(super().visit_Tuple, node, frame)
        else:
            super().visit_Tuple(node, frame)

    def _made(self, visit: Callable[[Any, Frame], None], node: Node, frame: Frame) -> None:
        self.write("environment.made(")
        visit(node, frame)
        self.write(")")


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """A sandbox in which texts, lists, numbers and time have bounds.

    Args:
        load: Returns a template's text, its file, and whether that is still the same.
    """

    code_generator_class = _BoundedCode
    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "**", "%"})

    def __init__(self, load: Callable[[str], tuple[str, str, Callable[[], bool]]]) -> None:
        super().__init__(
            loader=FunctionLoader(load),
            undefined=StrictUndefined,
            keep_trailing_newline=False,
            finalize=_shown,
            optimized=False,  # what is computed while a template is compiled would become a part of its code
        )
        self.filters = {name: self._bounded(name, function) for name, function in self.filters.items()}
        del self.globals["lipsum"]

    def tick(self) -> None:
        """Raise `TooMuch` when the time is up."""
        _RENDERING.get().tick()

    def made(self, value: T, most: int = MAX_CHARACTERS) -> T:
        """Return a value that a template has put together, if it is not too large."""
        return _RENDERING.get().made(value, most)

    def joined(self, parts: Iterable[object]) -> str:
        """Return what `~` makes of its operands."""
        return self.made(_joined(str(self.made(part)) for part in parts))

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call something for a template, if that makes nothing that is too large."""
        self.tick()
        text = getattr(getattr(obj, "__wrapped__", obj), "__self__", None)
        name = getattr(obj, "__name__", "") if isinstance(text, str | bytes) else ""
        if name == "join":
            args = tuple(map(listed, args))
        if name:
            check_call(name, text, args, kwargs)
        return self.made(super().call(context, obj, *args, **kwargs), MAX_GIVEN)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Compute something for a template, if the outcome is not too large."""
        check_operands(operator, left, right)
        return self.made(super().call_binop(context, operator, left, right))

    def render(self, name: str, variables: Mapping[str, object]) -> str:
        """Return a template's text. Raises Jinja's errors, and `TooMuch`."""
        token = _RENDERING.set(Rendering())
        try:
            template: Template = self.get_template(name)
            return _joined(template.generate(dict(variables)))
        finally:
            _RENDERING.reset(token)

    def _bounded(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        first = int(hasattr(function, "jinja_pass_arg"))  # of some it is the context

        @functools.wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            self.tick()
            if name == "join":
                args = tuple(map(listed, args))
            check_call(name, args[first] if len(args) > first else None, args[first + 1 :], kwargs)
            return self.made(function(*args, **kwargs), largest_result(name))

        return checked

    def _tokenize(
        self, source: str, name: str | None, filename: str | None = None, state: str | None = None
    ) -> TokenStream:
        stream = super()._tokenize(source, name, filename, state)
        return TokenStream(_few(stream), name, filename)


@pass_context
def _shown(context: Context, value: Any) -> Any:
    """Return what is to be printed, if it is not too large. It is given the context so that Jinja prints nothing while it compiles."""
    del context
    return _RENDERING.get().made(value)


def _few(tokens: Iterable[Token]) -> Iterator[Token]:
    for number, token in enumerate(tokens):
        if number > MAX_TOKENS:
            raise TooMuch(f"a template has no more than {MAX_TOKENS:,} words and signs between its braces")
        yield token


def _joined(parts: Iterable[str]) -> str:
    """Join texts as long as they are not too many."""
    kept, size = [], 0
    for part in parts:
        size += len(part)
        check_size(size)
        kept.append(part)
    return "".join(kept)


BoundedEnvironment.concat = staticmethod(_joined)  # what buffers of blocks, macros and loops are joined with
