"""Server tools: what a vendor lets its model do on its own machines, beside the tools that run here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Final

from llm_client.errors import ConfigurationError, InvalidRequest
from llm_client.extra_fields import WRAPPER, folded_field
from llm_client.json_text import JsonObject, JsonValue

_SAME: Final = {
    "websearch": "web_search",
    "websearchpreview": "web_search",
    "googlesearch": "web_search",
    "googlesearchretrieval": "web_search",
    "googlesearchweb": "web_search",
    "enterprisewebsearch": "web_search",
    "browsersearch": "web_search",
    "web": "web_search",
    "codeexecution": "code_execution",
    "codeinterpreter": "code_execution",
    "filesearch": "file_search",
    "imagegeneration": "image_generation",
}
"""What vendors call what rules and journals know by one name, as small letters alone."""
_NO_LETTER: Final = re.compile(r"[^a-z]+")
_DATE: Final = re.compile(r"(_\d+)+$")
_NAMED_FREELY: Final = (None, "", "function", "custom")
"""Types of tools that go by the name somebody has given them; of all others it counts what they do."""
_BUILT_IN: Final = ("builtin_function",)
"""Types of tools that say what they do by their name, as Moonshot's `$web_search` does."""
_SAYS: Final = ("type", "name", "id", "function")
"""Fields in which an entry says what it is, where it does not say so by its fields."""
_LISTS: Final = ("tools", "plugins", "functions")
"""Fields of vendors' bodies that hold tools, one an entry, by their letters."""
_OPTIONS: Final = {
    "websearchoptions": "web_search",
    "searchparameters": "web_search",
    "mcpservers": "mcp",
    "prompt": "stored_prompt",
    "cachedcontent": "cached_content",
    "preset": "stored_prompt",
    "promptid": "stored_prompt",
    "enablesearch": "web_search",
    "vectorstoreids": "file_search",
}
"""Fields of vendors' bodies that are a tool each, or that name what is stored at the vendor with tools in it."""
_MOST_NAME: Final = 200
"""Characters of a name that are looked at."""


def _check_list(name: str, value: object) -> None:
    """Refuse one text where there should be a list of them: it is a list of letters, too."""
    if isinstance(value, str):
        raise InvalidRequest(f"{name} is a list of texts, not one text")


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSearch:
    """Let the vendor's model search the web."""

    name: ClassVar[str] = "web_search"
    max_uses: int | None = None
    """Searches of one answer at most."""
    allowed_domains: Sequence[str] = ()
    """Only results from these, such as `example.com`."""
    blocked_domains: Sequence[str] = ()
    """No results from these."""

    def __post_init__(self) -> None:
        _check_list("allowed_domains", self.allowed_domains)
        _check_list("blocked_domains", self.blocked_domains)
        if self.allowed_domains and self.blocked_domains:
            raise InvalidRequest(
                "a web search has domains that are allowed or domains that are blocked, not both"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeExecution:
    """Let the vendor's model run code in the vendor's sandbox."""

    name: ClassVar[str] = "code_execution"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSearch:
    """Let the vendor's model search files that were uploaded to the vendor."""

    name: ClassVar[str] = "file_search"
    stores: Sequence[str]
    """The vendor's names of what is searched: vector stores at OpenAI, file search stores at Google."""
    max_results: int | None = None

    def __post_init__(self) -> None:
        _check_list("stores", self.stores)
        if not self.stores:
            raise InvalidRequest("a file search needs the name of a store")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageGeneration:
    """Let the vendor's model have another one draw pictures, which come as `MediaPart`s."""

    name: ClassVar[str] = "image_generation"
    model: str | None = None
    """The model that draws; the vendor's default otherwise."""
    size: str | None = None
    """Such as `1024x1024`."""
    quality: str | None = None
    """`low`, `medium` or `high`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorTool:
    """A tool of one vendor's that has no value of its own here, in the vendor's words: it stands beside the others all the same.

    Rules know it by what it does, as `declared_in` tells it.
    """

    provider: str
    """Whose it is, such as `anthropic`; other vendors refuse it."""
    body: JsonObject
    """What the vendor's list of tools holds for it."""

    def __post_init__(self) -> None:
        if not declarations_of(self):
            raise InvalidRequest("a vendor's tool needs a body that says which it is")

    @property
    def name(self) -> str:
        """What rules and journals know it by."""
        return declarations_of(self)[0][0]


ServerTool = WebSearch | CodeExecution | FileSearch | ImageGeneration | VendorTool
"""One of the tools that run at the vendor."""


def declarations_of(tool: ServerTool) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the names under which rules know a declared tool, one as a rule, each with what it is told."""
    if isinstance(tool, VendorTool):
        return list(declared_in({"tools": [tool.body]}))
    return [(tool.name, settings_of(tool))]


def body_for(provider: str, tool: VendorTool) -> dict[str, Any]:
    """Return a vendor's tool in its words. Raises `ConfigurationError` where it is another vendor's."""
    if tool.provider != provider:
        raise ConfigurationError(f"the tool {tool.name!r} is {tool.provider}'s; {provider} has no such tool")
    return dict(tool.body)


def settings_of(tool: ServerTool) -> dict[str, JsonValue]:
    """Return what a declared tool is told, as JSON values; what is not set is left out."""
    values = {field.name: getattr(tool, field.name) for field in fields(tool)}
    return {name: _plain(value) for name, value in values.items() if value not in (None, (), [])}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def lacks_tool(api: str, tool: ServerTool) -> ConfigurationError:
    """Return what says that a vendor has no such tool."""
    return ConfigurationError(
        f"{api} has no {tool.name.replace('_', ' ')} of its own; leave {type(tool).__name__} out"
    )


def lacks_setting(api: str, tool: ServerTool, *names: str) -> None:
    """Refuse settings that a vendor's tool does not have. Raises `ConfigurationError`."""
    told = settings_of(tool)
    if name := next((name for name in names if name in told), None):
        raise ConfigurationError(f"the {tool.name.replace('_', ' ')} of {api} has no {name}")


def dump_server_tool(tool: ServerTool) -> dict[str, JsonValue]:
    """Return a declared tool as JSON values."""
    return {"name": tool.name, **settings_of(tool)}


def declared_in(extra: Mapping[str, object]) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Yield the tools that a request's `extra` declares in a vendor's own words, each with what it is told.

    The name is that of a `ServerTool` where it is such a tool, else what the vendor or the caller calls it.
    """
    for field, told in extra.items():
        letters = folded_field(field)
        if letters in _LISTS:
            for entry in told if isinstance(told, list | tuple) else ():
                yield from _named(entry) if isinstance(entry, Mapping) else [(common_name(str(entry)), {})]
        elif letters in _OPTIONS and told is not None and told is not False:
            yield _OPTIONS[letters], told if isinstance(told, Mapping) else {field: told}
        elif letters == WRAPPER and isinstance(told, Mapping):
            yield from declared_in(told)


def _named(entry: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Yield what one entry of a list of tools declares: it says so in a field, or by its fields, as Google has it."""
    kind, function = entry.get("type"), entry.get("function")
    named = function.get("name") if isinstance(function, Mapping) else entry.get("name")
    says = kind in _NAMED_FREELY or kind in _BUILT_IN
    stated = (named, kind, entry.get("id")) if says else (kind,)
    name = next((each for each in stated if isinstance(each, str) and each), None)
    if name is not None:
        is_given = name == named and kind not in _BUILT_IN
        yield name if is_given else common_name(name), entry
        return
    for field, told in entry.items():
        if field in ("functionDeclarations", "function_declarations"):
            for declared in told if isinstance(told, list | tuple) else ():
                yield str(declared.get("name")) if isinstance(declared, Mapping) else field, {}
        elif field not in _SAYS:
            yield common_name(field), told if isinstance(told, Mapping) else {}


def common_name(stated: str) -> str:
    """Return the name under which rules know what a vendor calls so."""
    undated = _DATE.sub("", stated[:_MOST_NAME])
    bare = _NO_LETTER.sub("", undated.rpartition(":")[2].lower())
    return _SAME.get(bare, undated)
