"""What agents are told that they are: system prompts by name, from texts, files and packs, with components that several share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, Protocol

from agent_runtime.errors import PromptInvalid
from agent_runtime.values.call_record import CallPrompts
from agent_runtime.values.checks import check_text
from llm_client.private_files import bounded_content
from llm_client.turns import aside

MAX_PROMPT_BYTES: Final = 1_000_000
"""Of one prompt or component."""
ENDINGS: Final = (".md", ".txt")


class Packs(Protocol):
    """Renders prompt packs; `runner.prompts.PromptPacks` does."""

    async def render(self, pack: str, variables: Mapping[str, object]) -> CallPrompts:
        """Return a pack's texts. Raises `PromptInvalid`."""
        ...


class PromptSystem:
    """System prompts by name. The same sources give the same prompt: there is no time in it and no chance.

    Args:
        prompts: Texts by name.
        folder: Files `<name>.md` or `<name>.txt` for names that have no text, and for components.
        packs: Prompt packs for names that have neither.
        components: Texts by name that prompts share.
    """

    def __init__(
        self,
        prompts: Mapping[str, str] | None = None,
        *,
        folder: str | Path | None = None,
        packs: Packs | None = None,
        components: Mapping[str, str] | None = None,
    ) -> None:
        self._prompts = {name: _checked(name, text) for name, text in (prompts or {}).items()}
        self._components = {name: _checked(name, text) for name, text in (components or {}).items()}
        self._folder = None if folder is None else Path(folder)
        self._packs = packs

    def add(self, name: str, text: str) -> None:
        """Set the text of a prompt."""
        self._prompts[name] = _checked(name, text)

    def add_component(self, name: str, text: str) -> None:
        """Set the text of a component."""
        self._components[name] = _checked(name, text)

    async def prompt(
        self,
        name: str,
        *,
        text: str | None = None,
        components: Iterable[str] = (),
        variables: Mapping[str, object] | None = None,
    ) -> str | None:
        """Return a system prompt: its text, and after it its components, with an empty line between them.

        Args:
            name: The prompt's name.
            text: The text itself, where it is known already.
            components: Names of components.
            variables: For templates of packs.

        Returns:
            `None` where there is neither a prompt nor a component.

        Raises:
            PromptInvalid: A component is missing, or a file cannot be read.
        """
        found = text if text is not None else await self._found(name, variables or {})
        parts = [] if found is None else [found]
        parts += [await self._component(component) for component in components]
        joined = "\n\n".join(part.strip() for part in parts if part.strip())
        return joined or None

    async def _found(self, name: str, variables: Mapping[str, object]) -> str | None:
        known = self._prompts.get(name)
        if known is None:
            known = await self._file(name)
        if known is None and self._packs is not None:
            return (await self._packs.render(name, variables)).system
        return known

    async def _component(self, name: str) -> str:
        text = self._components.get(name)
        if text is None:
            text = await self._file(name)
        if text is None:
            raise PromptInvalid(f"there is no component {name!r} of prompts")
        return text

    async def _file(self, name: str) -> str | None:
        return None if self._folder is None else await aside(_file, self._folder, name)


def _checked(name: str, text: str) -> str:
    check_text("the name of a prompt", name)
    if not isinstance(text, str):
        raise PromptInvalid(f"the prompt {name!r} is a text")
    if len(text.encode("utf-8", "replace")) > MAX_PROMPT_BYTES:
        raise PromptInvalid(f"the prompt {name!r} is larger than {MAX_PROMPT_BYTES:,} bytes")
    return text


def _file(folder: Path, name: str) -> str | None:
    """Return what a file of the folder says, or `None` if there is none. Raises `PromptInvalid` for one that lies elsewhere."""
    base = folder.resolve()
    for ending in ENDINGS:
        path = (base / f"{name}{ending}").resolve()
        if not path.is_relative_to(base):
            raise PromptInvalid(f"{name!r} is not in the folder of the prompts")
        if path.exists():
            return read_text(path)
    return None


def read_text(path: Path) -> str:
    """Return the text of a prompt's file.

    Raises:
        PromptInvalid: It cannot be read, is too large, or no UTF-8.
    """
    try:
        content = bounded_content(path, MAX_PROMPT_BYTES)
    except OSError as error:
        raise PromptInvalid(f"{path.name} cannot be read: {error.strerror}") from error
    if len(content) > MAX_PROMPT_BYTES:
        raise PromptInvalid(f"{path.name} is larger than {MAX_PROMPT_BYTES:,} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise PromptInvalid(f"{path.name} is not UTF-8") from None
