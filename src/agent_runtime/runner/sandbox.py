"""Templates that can do nothing but text, and not too much of it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from time import perf_counter
from typing import Any, Final

from jinja2 import FunctionLoader, StrictUndefined, Template
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError
from jinja2.nodes import Concat, Node
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_CHARACTERS: Final = 1_000_000
"""Of a rendered prompt, and of every text on the way to it."""
RENDER_SECONDS: Final = 2.0
MAX_NUMBER: Final = 1_000_000
"""What a template may count or pad to."""

_ENDS: ContextVar[float] = ContextVar("agent_runtime_template_ends")


class TooMuch(SecurityError):
    """A template makes more text, or takes longer, than a prompt may."""


class _BoundedCode(CodeGenerator):
    """Has every block of a template, so every round of a loop, look at the time."""

    def blockvisit(self, nodes: Iterable[Node], frame: Frame) -> None:
        self.writeline("environment.tick()")
        super().blockvisit(nodes, frame)

    def visit_Concat(self, node: Concat, frame: Frame) -> None:  # noqa: N802 -- Jinja's name
        self.write("environment.joined((")
        for one in node.nodes:
            self.visit(one, frame)
            self.write(", ")
        self.write("))")


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """A sandbox in which texts, numbers and time have bounds.

    Args:
        load: Returns a template's text, its file, and whether that is still the same.
    """

    code_generator_class = _BoundedCode
    intercepted_binops = frozenset({"*", "**", "%"})

    def __init__(self, load: Callable[[str], tuple[str, str, Callable[[], bool]]]) -> None:
        super().__init__(loader=FunctionLoader(load), undefined=StrictUndefined, keep_trailing_newline=False)
        self.filters = {name: _bounded(function) for name, function in self.filters.items()}

    def tick(self) -> None:
        """Raise `TooMuch` when the time is up."""
        if perf_counter() > _ENDS.get():
            raise TooMuch(f"the template takes longer than {RENDER_SECONDS:g} seconds")

    def joined(self, parts: Iterable[object]) -> str:
        """Return what `~` makes of its operands."""
        return _joined(map(str, parts))

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call something for a template, if that makes no text that is too long."""
        self.tick()
        _check_call(getattr(obj, "__self__", None), getattr(obj, "__name__", ""), args, kwargs)
        return super().call(context, obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Compute something for a template, if the outcome is not too large."""
        _check_operands(operator, left, right)
        return super().call_binop(context, operator, left, right)

    def render(self, name: str, variables: Mapping[str, object]) -> str:
        """Return a template's text. Raises Jinja's errors, and `TooMuch`."""
        token = _ENDS.set(perf_counter() + RENDER_SECONDS)
        try:
            template: Template = self.get_template(name)
            return _joined(template.generate(dict(variables)))
        finally:
            _ENDS.reset(token)


def _joined(parts: Iterable[str]) -> str:
    """Join texts as long as they are not too many."""
    kept, size = [], 0
    for part in parts:
        size += len(part)
        _check_size(size)
        kept.append(part)
    return "".join(kept)


BoundedEnvironment.concat = staticmethod(_joined)  # what buffers of blocks, macros and loops are joined with


def _check_size(size: int) -> None:
    if size > MAX_CHARACTERS:
        raise TooMuch(f"the template makes a text of more than {MAX_CHARACTERS:,} characters")


def _bounded(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        texts = [one for one in args if isinstance(one, str)]
        _check_call(texts[0] if texts else None, function.__name__.removeprefix("do_"), args, kwargs)
        return function(*args, **kwargs)

    return checked


def _check_call(text: object, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Refuse what would make a text far longer than those that go in."""
    given = [*args, *kwargs.values()]
    if any(isinstance(one, int) and abs(one) > MAX_NUMBER for one in given):
        raise TooMuch(f"a template counts to no more than {MAX_NUMBER:,}")
    if not isinstance(text, str):
        return
    texts = [len(one) for one in given if isinstance(one, str)]
    if name == "replace":
        _check_size(
            len(text) + len(text) * max(texts, default=0)
            if len(text) * max(texts, default=0) > MAX_CHARACTERS
            else 0
        )
    elif name == "join":
        _check_size(len(text) * max((len(one) for one in given if hasattr(one, "__len__")), default=0))
    elif name in ("format", "format_map") or name == "translate":
        _check_format(text)


def _check_format(text: str) -> None:
    digits = "".join(letter if letter.isdigit() or letter == "*" else " " for letter in text).split()
    if any("*" in run or len(run) > len(str(MAX_NUMBER)) for run in digits):
        raise TooMuch("a template pads to no such width")


def _check_operands(operator: str, left: Any, right: Any) -> None:
    if operator == "**":
        if not all(isinstance(one, int | float) and abs(one) <= MAX_NUMBER for one in (left, right)) or (
            isinstance(left, int)
            and isinstance(right, int)
            and right * max(1, left.bit_length()) > MAX_NUMBER
        ):
            raise TooMuch("a template computes no such power")
    elif operator == "*":
        for one, times in ((left, right), (right, left)):
            if isinstance(times, int) and hasattr(one, "__len__"):
                _check_size(len(one) * max(0, times))
    elif isinstance(left, str):
        _check_format(left)
