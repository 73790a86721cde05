"""When a rule applies: scope, principal, session, tags, arguments, and how far the job has come."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final

from agent_runtime.errors import InvalidInput
from agent_runtime.policy.comparisons import (
    Answer,
    Comparison,
    Tests,
    as_tests,
    compare_path,
    comparisons,
)
from agent_runtime.values.policy import PolicyContext, PolicySubject
from llm_client.json_text import JsonObject, JsonValue

Globs = str | Iterable[str]

_LISTS: Final = (
    "scopes",
    "except_scopes",
    "principals",
    "except_principals",
    "sessions",
)
MEASURES: Final = ("spend", "depth", "turns", "tool_calls", "call_index", "context_tokens")
"""Numbers of `PolicyContext` that a rule can compare."""


def globs(given: object) -> tuple[str, ...]:
    """Return patterns as a tuple; one alone may be given as text. Raises `InvalidInput`."""
    if isinstance(given, Mapping) or not isinstance(given, Iterable):
        raise InvalidInput(f"patterns are a text or a list of texts, not {given!r}")
    found: tuple[object, ...] = (given,) if isinstance(given, str) else tuple(given)
    texts = tuple(one for one in found if isinstance(one, str) and one)
    if len(texts) < len(found):
        raise InvalidInput(f"patterns are texts that are not empty, not {list(found)!r}")
    return texts


def matches(value: str | None, patterns: Iterable[str]) -> bool:
    """Whether a value, case and all, matches one of the patterns; a missing value matches only `*`."""
    return any(pattern == "*" if value is None else fnmatchcase(value, pattern) for pattern in patterns)


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """Conditions, all of which must hold. Patterns are globs; what is not given does not matter.

    `arguments` maps paths such as `order.items.*.price` to tests such as `{">": 100}`; `measures` maps `spend`, `depth`,
    `turns`, `tool_calls`, `call_index` and `context_tokens` to tests.
    """

    scopes: Globs | None = None
    except_scopes: Globs = ()
    principals: Globs | None = None
    except_principals: Globs = ()
    sessions: Globs | None = None
    tags: Mapping[str, Globs] = field(default_factory=dict)
    arguments: Mapping[str, Tests] = field(default_factory=dict)
    measures: Mapping[str, Tests] = field(default_factory=dict)
    _compared: tuple[tuple[str, tuple[Comparison, ...]], ...] = field(init=False, repr=False, compare=False)
    _measured: tuple[tuple[str, tuple[Comparison, ...]], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in _LISTS:
            value = getattr(self, name)
            nobody = () if name.startswith("except_") else None
            object.__setattr__(self, name, nobody if value is None else globs(value))
        object.__setattr__(self, "tags", {tag: globs(value) for tag, value in self.tags.items()})
        for path in self.arguments:
            if not path or not all(path.split(".")):
                raise InvalidInput(f"{path!r} is no path; join keys with dots")
        for name in self.measures:
            if name not in MEASURES:
                raise InvalidInput(f"{name!r} cannot be compared; use one of {', '.join(MEASURES)}")
        compared = tuple((path, comparisons(tests)) for path, tests in self.arguments.items())
        measured = tuple((name, comparisons(tests)) for name, tests in self.measures.items())
        object.__setattr__(self, "_compared", compared)
        object.__setattr__(self, "_measured", measured)

    def holds(self, subject: PolicySubject, *, permits: bool = False) -> Answer:
        """Whether the conditions hold, for a rule that permits or for one that restricts; `None` when that cannot be told."""
        if not self.is_about(subject.context):
            return False
        answer: Answer = True
        for path, tests in self._compared:
            one = compare_path(path, tests, subject.arguments, permits=permits)
            if one is False:
                return False
            answer = None if one is None else answer
        return answer

    def is_about(self, context: PolicyContext) -> bool:
        """Whether the conditions on who asks hold: the scope, the person, the session, the tags, and what was used."""
        if self.scopes is not None and not matches(context.scope_id, self.scopes):
            return False
        if self.principals is not None and not matches(context.principal_id, self.principals):
            return False
        if self.sessions is not None and not matches(context.session_id, self.sessions):
            return False
        if matches(context.scope_id, self.except_scopes):
            return False
        if self.except_principals and matches(context.principal_id, self.except_principals):
            return False
        if not all(matches(context.tags.get(tag), wanted) for tag, wanted in self.tags.items()):
            return False
        return all(test.holds(getattr(context, name)) for name, tests in self._measured for test in tests)

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the conditions as JSON values."""
        data: dict[str, Any] = {
            name: list(value)
            for name in _LISTS
            if (value := getattr(self, name)) or (value is not None and not name.startswith("except_"))
        }
        if self.tags:
            data["tags"] = {tag: list(value) for tag, value in self.tags.items()}
        if self._compared:
            data["arguments"] = {path: as_tests(tests) for path, tests in self._compared}
        data |= {name: as_tests(tests) for name, tests in self._measured}
        return data

    @classmethod
    def from_dict(cls, data: JsonObject) -> When:
        """Build from what `to_dict` gave, or from the `when` of a policy file. Raises `InvalidInput`."""
        known = {*_LISTS, "tags", "arguments", *MEASURES}
        if unknown := sorted(data.keys() - known):
            raise InvalidInput(f"{unknown[0]!r} is no condition; use one of {', '.join(sorted(known))}")
        values: dict[str, Any] = {name: data[name] for name in (*_LISTS, "tags", "arguments") if name in data}
        for name in ("tags", "arguments"):
            if not isinstance(values.get(name, {}), Mapping):
                raise InvalidInput(f"{name} maps names to what they are compared with")
        values["measures"] = {name: data[name] for name in MEASURES if name in data}
        return cls(**values)  # which checks them


ALWAYS = When()
