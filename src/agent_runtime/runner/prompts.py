"""Prompt packs: a folder with the texts of an agent, as templates.

`system.j2` has to be there; `developer.j2`, `user.j2` and `examples.jsonl` may. Templates see the variables of a run, and
`response_schema`, the JSON Schema of the answer; what they do not define is an error. They include others by their path below the base folder.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agent_runtime.errors import PromptInvalid
from agent_runtime.values.call_record import CallPrompts
from llm_client.json_text import dumps
from llm_client.messages import Message
from llm_client.private_files import bounded_content
from llm_client.public_text import text_of
from llm_client.turns import aside

if TYPE_CHECKING:
    from agent_runtime.runner.sandbox import BoundedEnvironment

SYSTEM: Final = "system.j2"
DEVELOPER: Final = "developer.j2"
USER: Final = "user.j2"
EXAMPLES: Final = "examples.jsonl"
MAX_FILE_BYTES: Final = 1_000_000
"""Of one file of a pack."""
_OF_TEMPLATES: Final = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    SyntaxError,  # more loops inside each other than Python compiles
    TypeError,
    ValueError,
)
_ROLES: Final = ("user", "assistant")


@dataclass(frozen=True, slots=True)
class _Source:
    text: str
    path: Path
    stamp: tuple[int, int]


class PromptPacks:
    """The prompt packs of a folder.

    Args:
        base: The folder; packs are folders below it.
    """

    def __init__(self, base: str | Path) -> None:
        self._base = Path(base)

    async def render(self, pack: str, variables: Mapping[str, object]) -> CallPrompts:
        """Return a pack's texts, rendered in a thread.

        Raises:
            PromptInvalid: There is no such pack, a file of it is wrong, or a variable is missing.
        """
        return await aside(self._render, pack, variables)

    def _render(self, pack: str, variables: Mapping[str, object]) -> CallPrompts:
        if not self._path(pack).is_dir():
            raise PromptInvalid(f"there is no prompt pack {pack!r} in {str(self._base)!r}")
        user = self._text(f"{pack}/{USER}", variables)
        system = self._text(f"{pack}/{SYSTEM}", variables)
        if system is None:
            raise PromptInvalid(f"prompt pack {pack!r} has no {SYSTEM}")
        return CallPrompts(
            system=system,
            developer=self._text(f"{pack}/{DEVELOPER}", variables) or "",
            user=_as_json(variables) if user is None else user,
            examples=self._examples(f"{pack}/{EXAMPLES}"),
        )

    @cached_property
    def _environment(self) -> BoundedEnvironment:
        from agent_runtime.runner.sandbox import BoundedEnvironment

        return BoundedEnvironment(self._load)

    def _text(self, name: str, variables: Mapping[str, object]) -> str | None:
        """Return a rendered template; `None` where there is none."""
        from jinja2 import TemplateError

        if not self._path(name).exists():
            return None
        try:
            return self._environment.render(name, variables)
        except PromptInvalid:
            raise
        except TemplateError as error:
            line = getattr(error, "lineno", None)
            where = f"{name}, line {line}" if line else name
            raise PromptInvalid(f"{where}: {text_of(error)}") from error
        except _OF_TEMPLATES as error:
            raise PromptInvalid(f"{name}: {type(error).__name__}: {text_of(error)}") from error

    def _load(self, name: str) -> tuple[str, str, Callable[[], bool]]:
        source = self._read(name)

        def is_current() -> bool:
            try:
                return _stamp(source.path) == source.stamp
            except OSError:
                return False

        return source.text, str(source.path), is_current

    def _path(self, name: str) -> Path:
        """Return a file's path. Raises `PromptInvalid` if it leads out of the folder, links included."""
        base = self._base.resolve()
        try:
            path = (base / name).resolve()
        except (ValueError, OSError, RuntimeError):
            raise PromptInvalid(f"{name!r} is no name of a prompt") from None
        if not name or not path.is_relative_to(base) or path == base:
            raise PromptInvalid(f"{name!r} is not in the folder of the prompts")
        return path

    def _read(self, name: str) -> _Source:
        path = self._path(name)
        try:
            stamp = _stamp(path)
            content = bounded_content(path, MAX_FILE_BYTES)
        except OSError as error:
            raise PromptInvalid(f"{name} cannot be read: {error.strerror}") from error
        if len(content) > MAX_FILE_BYTES:
            raise PromptInvalid(f"{name} is larger than {MAX_FILE_BYTES:,} bytes")
        try:
            return _Source(content.decode("utf-8-sig"), path, stamp)
        except UnicodeDecodeError:
            raise PromptInvalid(f"{name} is not UTF-8") from None

    def _examples(self, name: str) -> tuple[Message, ...]:
        """Return the messages of the examples: a line has a `role` and a `content`, or both sides as `user` and `assistant`."""
        if not self._path(name).exists():
            return ()
        found: list[Message] = []
        for number, line in enumerate(self._read(name).text.splitlines(), 1):
            if line.strip():
                found += _example(line, f"{name}, line {number}")
        return tuple(found)


def _stamp(path: Path) -> tuple[int, int]:
    there = path.stat()
    return there.st_mtime_ns, there.st_size


def _example(line: str, where: str) -> list[Message]:
    try:
        given = json.loads(line)
    except (ValueError, RecursionError):
        raise PromptInvalid(f"{where}: not JSON") from None
    if isinstance(given, dict):
        if given.keys() == {"role", "content"} and given["role"] in _ROLES:
            return [Message(given["role"], _as_text(given["content"]))]
        if given.keys() == set(_ROLES):
            return [Message(role, _as_text(given[role])) for role in ("user", "assistant")]
    raise PromptInvalid(
        f'{where}: an example is {{"role": …, "content": …}} or {{"user": …, "assistant": …}}'
    )


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else dumps(value).decode()


def _as_json(variables: Mapping[str, object]) -> str:
    """Return what a model is told where no template says it: the variables."""
    told = {name: value for name, value in variables.items() if name != RESPONSE_SCHEMA}
    return dumps(told, default=str).decode()


RESPONSE_SCHEMA: Final = "response_schema"
