"""Agents as files: read whole or refused whole, with every line that is wrong and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from agent_runtime.errors import ConfigurationError, FileInvalid, InvalidInput, PromptInvalid
from agent_runtime.residents.ai_config import AIConfig
from agent_runtime.residents.definitions import AgentDefinition
from agent_runtime.residents.prompts import read_text
from agent_runtime.residents.settings import AgentSettings
from agent_runtime.values.document import MAX_FILE_BYTES, Document, Problems, read_yaml
from llm_client.agent.config import AgentConfig
from llm_client.private_files import bounded_content
from llm_client.providers.registry import known_prefixes

MAX_FILES: Final = 1000
"""YAML files of one folder."""
ENDINGS: Final = (".yaml", ".yml")
_TOP: Final = {"agents", "components"}
_MODEL: Final = {"model", "provider", "generation_params", "api_key", "base_url"}
_AGENT: Final = {
    "description",
    "prompt",
    "prompt_file",
    "components",
    "tools",
    "ai_config",
    "settings",
    "max_turns",
}


@dataclass(slots=True)
class Declared:
    """What files say."""

    definitions: list[AgentDefinition] = field(default_factory=list)
    components: dict[str, str] = field(default_factory=dict)


def read_files(path: Path) -> Declared:
    """Read a file, or all YAML files of a folder.

    Raises:
        FileInvalid: One cannot be read, or something in it is wrong.
    """
    if not path.is_dir():
        return _read_file(path)
    files = sorted(one for one in path.iterdir() if one.suffix in ENDINGS)
    if len(files) > MAX_FILES:
        raise FileInvalid(f"{path.name}: more than {MAX_FILES:,} files")
    together = Declared()
    for file in files:
        one = _read_file(file)
        together.definitions += one.definitions
        together.components.update(one.components)
    return together


def _read_file(path: Path) -> Declared:
    try:
        content = bounded_content(path, MAX_FILE_BYTES)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise FileInvalid(f"{path.name} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise FileInvalid(f"{path.name} is not UTF-8") from None
    return read_agents(text, source=path.name, folder=path.parent)


def read_agents(text: str, *, source: str = "agents", folder: Path | None = None) -> Declared:
    """Read agents from YAML (or JSON) text.

    Args:
        text: `agents:`, a mapping from names to agents, and `components:`, a mapping from names to texts.
        source: How messages name the file.
        folder: Where files of prompts are.

    Raises:
        FileInvalid: It is not YAML, or something in it is wrong; nothing of it is used.
    """
    return _Reading(read_yaml(text, source=source), folder).read()


class _Reading:
    """One pass over a document, which gathers every problem before it gives up."""

    def __init__(self, document: Document, folder: Path | None) -> None:
        self._document = document
        self._folder = folder
        self._problems = Problems(document.source, document.lines)

    def read(self) -> Declared:
        values, found = self._document.values, Declared()
        if not isinstance(values, Mapping):
            self._problems.add((), "a file of agents is a mapping with `agents`")
        else:
            self._problems.check_keys(values, _TOP, ())
            for name, text in self._mapping(values, "components").items():
                if isinstance(text, str):
                    found.components[name] = text
                else:
                    self._problems.add(("components", name), f"the component {name!r} is a text")
            for name, given in self._mapping(values, "agents").items():
                self._agent(name, given, found)
        if self._problems:
            raise FileInvalid(str(self._problems), line=self._problems.line)
        return found

    def _mapping(self, values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
        given = values.get(key)
        if given is None:
            return {}
        if isinstance(given, Mapping):
            return given
        self._problems.add((key,), f"`{key}` is a mapping")
        return {}

    def _agent(self, name: str, given: Any, found: Declared) -> None:
        place = ("agents", name)
        if not isinstance(given, Mapping):
            self._problems.add(place, "an agent is a mapping")
            return
        if not self._problems.check_keys(given, _AGENT | _MODEL | set(known_prefixes()), place):
            return
        try:
            found.definitions.append(self._definition(name, given))
        except (InvalidInput, PromptInvalid, ConfigurationError, TypeError) as error:
            self._problems.add(place, str(error))

    def _definition(self, name: str, given: Mapping[str, Any]) -> AgentDefinition:
        tools, components = given.get("tools") or [], given.get("components") or []
        for key, listed in (("tools", tools), ("components", components)):
            if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
                raise InvalidInput(f"`{key}` is a list of names")
        turns = given.get("max_turns")
        if turns is not None and (isinstance(turns, bool) or not isinstance(turns, int)):
            raise InvalidInput("`max_turns` is a whole number")
        return AgentDefinition(
            name=name,
            description=given.get("description") or "",
            prompt=self._prompt(given),
            components=tuple(components),
            tools=tuple(tools),
            ai_config=self._ai_config(given),
            settings=AgentSettings.from_json(given.get("settings") or {}),
            config=None if turns is None else AgentConfig(max_turns=turns),
        )

    def _prompt(self, given: Mapping[str, Any]) -> str | None:
        prompt, file = given.get("prompt"), given.get("prompt_file")
        if prompt is not None and file is not None:
            raise InvalidInput("an agent has `prompt` or `prompt_file`, not both")
        if prompt is not None and not isinstance(prompt, str):
            raise InvalidInput("`prompt` is a text")
        if file is None:
            return prompt
        if not isinstance(file, str) or self._folder is None:
            raise InvalidInput("`prompt_file` is the name of a file beside this one")
        base = self._folder.resolve()
        path = (base / file).resolve()
        if not path.is_relative_to(base):
            raise InvalidInput("`prompt_file` leads out of the folder of its agent")
        return read_text(path)

    def _ai_config(self, given: Mapping[str, Any]) -> AIConfig | None:
        beside = {key: given[key] for key in (*_MODEL, *known_prefixes()) if given.get(key) is not None}
        inside = given.get("ai_config")
        if beside and inside is not None:
            raise InvalidInput("the model stands in `ai_config` or beside it, not in both")
        chosen = inside if inside is not None else beside
        return AIConfig.of(chosen) if chosen else None
