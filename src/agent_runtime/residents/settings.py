"""How a resident agent is looked after, as its creator says it and as it is stored."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, Final

from agent_runtime.errors import InvalidInput
from agent_runtime.ports.agents import Priority
from agent_runtime.values.checks import MAX_COUNT, check_json, check_seconds, check_text, check_whole
from agent_runtime.values.message import check_identity
from agent_runtime.values.money import MAX_DOLLARS, NO_LIMIT, Dollars, as_decimal
from llm_client.json_text import JsonObject, JsonValue
from llm_client.spec import MAX_MODEL_NAME

MAX_CONCURRENT_TASKS: Final = 1000
MAX_QUEUE_SIZE: Final = 100_000
MAX_ATTEMPTS: Final = 1000
MAX_CONTINUATIONS: Final = 100
MAX_MEMORY_MESSAGES: Final = 10_000
MAX_NAMES: Final = 200
"""Tools, or types of events, that one agent may name."""
MAX_PARAMS_BYTES: Final = 16 * 1024
"""JSON of `generation_params`."""
_PATTERN: Final = re.compile(r"(?:[^*]+\.)?\*|[^*]+")


def as_priority(name: str, given: object) -> Priority:
    """Return a priority, given as such or by its name.

    Raises:
        InvalidInput: It names the field.
    """
    if isinstance(given, Priority):
        return given
    if isinstance(given, str) and given.upper() in Priority.__members__:
        return Priority[given.upper()]
    raise InvalidInput(f"{name} is one of {', '.join(one.name.lower() for one in Priority)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """How a resident agent is looked after. Everybody who may read the agent may read them.

    Raises:
        InvalidInput: A value is not what is allowed for it; the message names the field.
    """

    max_concurrent_tasks: int = 1
    """Turns that go on at the same time."""
    check_mail_interval: float | None = None
    """Seconds after which mail is handled that does not wake a sleeping agent; `None` lets it wait for the next wake."""
    wake_on_priority: Priority | None = Priority.HIGH
    """Mail and tasks that matter at least as much wake a sleeping agent, unless its sleep says otherwise; `None`: none do."""
    max_queue_size: int = 1000
    """Messages that may wait; further ones are refused to their senders."""
    idle_timeout: float | None = None
    """Seconds without a message after which the agent hibernates until one comes."""
    max_attempts: int = 3
    """Turns that a message may fail before it is a dead letter."""
    retry_backoff: float = 5.0
    """Seconds from a failed turn to the next; doubled with every failure of the message."""
    max_retry_backoff: float = 3600.0
    """The longest such time, in seconds."""
    breaker_failures: int = 5
    """Turns failed in a row after which no turn begins for a while."""
    breaker_seconds: float = 60.0
    """How long that while is at first."""
    subscriptions: tuple[str, ...] = ()
    """Types of events that become messages to the agent; `*` stands for all, or after a dot for any rest."""
    max_wakes_per_day: int | None = None
    """How often it may be woken in a day of UTC."""
    max_cost_per_day: Dollars = NO_LIMIT
    """Dollars that its turns may cost in a day of UTC; further ones wait for the next day."""
    max_continuations: int = 5
    """How often one turn may go on in its own right before it has to end."""
    task_timeout: float | None = None
    """Seconds after which a turn is given up."""
    model: str | None = None
    """The model to ask, instead of the definition's."""
    provider: str | None = None
    """Whose it is, such as `openrouter`; the key comes from the environment or from the definition."""
    generation_params: JsonObject = field(default_factory=dict)
    """Temperature, bound of an answer and so on, instead of the definition's."""
    tools: tuple[str, ...] | None = None
    """The tools it has, of the definition's and of those that every resident agent may have; `None`: all."""
    memory_messages: int = 200
    """Messages that it remembers from one turn to the next; 0 for none."""
    memory_tokens: int | None = None
    """Tokens that they may have together, as far as that can be estimated."""

    def __post_init__(self) -> None:
        check_whole("max_concurrent_tasks", self.max_concurrent_tasks, least=1, most=MAX_CONCURRENT_TASKS)
        check_whole("max_queue_size", self.max_queue_size, least=1, most=MAX_QUEUE_SIZE)
        check_whole("max_attempts", self.max_attempts, least=1, most=MAX_ATTEMPTS)
        check_whole("breaker_failures", self.breaker_failures, least=1)
        check_whole("max_continuations", self.max_continuations, most=MAX_CONTINUATIONS)
        check_whole("memory_messages", self.memory_messages, most=MAX_MEMORY_MESSAGES)
        for name, least in (("max_wakes_per_day", 0), ("memory_tokens", 1)):
            if getattr(self, name) is not None:
                check_whole(name, getattr(self, name), least=least, most=MAX_COUNT)
        for name in ("retry_backoff", "max_retry_backoff", "breaker_seconds"):
            check_seconds(name, getattr(self, name))
        for name in ("check_mail_interval", "idle_timeout", "task_timeout"):
            if getattr(self, name) is not None:
                check_seconds(name, getattr(self, name), zero=False)
        if self.wake_on_priority is not None:
            self._keep("wake_on_priority", as_priority("wake_on_priority", self.wake_on_priority))
        self._keep("max_cost_per_day", _dollars("max_cost_per_day", self.max_cost_per_day))
        self._keep("subscriptions", check_patterns("subscriptions", self.subscriptions))
        if self.tools is not None:
            self._keep("tools", _names("tools", self.tools, check_text))
        self._check_model()

    def _check_model(self) -> None:
        for name in ("model", "provider"):
            if getattr(self, name) is not None:
                check_identity(name, getattr(self, name))
        if self.model is not None and len(self.model) > MAX_MODEL_NAME:
            raise InvalidInput(f"model is a name of at most {MAX_MODEL_NAME} characters")
        if self.generation_params != {}:
            check_json("generation_params", self.generation_params, limit=MAX_PARAMS_BYTES)

    def _keep(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def to_json(self) -> dict[str, JsonValue]:
        """Return what is not as it is by default, as JSON values under the names of the fields."""
        said = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: _as_json(value) for name, value in said.items() if value != _DEFAULTS[name]}

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> AgentSettings:
        """Build from what `to_json` gave, or what somebody wrote like it: names as `max_queue_size` or `maxQueueSize`.

        Raises:
            InvalidInput: As for settings; there is a name that they do not have, or one is there in both spellings.
        """
        if not isinstance(data, Mapping):
            raise InvalidInput("the config of an agent is an object")
        given: dict[str, Any] = {}
        for name, value in data.items():
            field_name = name if name in _DEFAULTS else _CAMEL.get(name)
            if field_name is None:
                raise InvalidInput(_unknown(name))
            if field_name in given:
                raise InvalidInput(f"{field_name} is there in two spellings")
            given[field_name] = value
        return cls(**given)


_DEFAULTS: Final[Mapping[str, object]] = {
    one.name: one.default if one.default is not MISSING else {} for one in fields(AgentSettings)
}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


_CAMEL: Final = {_camel(name): name for name in _DEFAULTS}


def _unknown(name: object) -> str:
    """Return what somebody is told who has written a name that there is not; the name itself only where it cannot be long."""
    close = (
        get_close_matches(name, [*_CAMEL, *_DEFAULTS], 1) if isinstance(name, str) and len(name) < 100 else []
    )
    if close:
        return f"the config of an agent has no such name; did you mean {close[0]!r}?"
    return f"the config of an agent has these names: {', '.join(_CAMEL)}"


def check_patterns(name: str, given: object) -> tuple[str, ...]:
    """Return types of events, each once and in order.

    Raises:
        InvalidInput: One of them is none, or there are too many.
    """

    def check(name: str, pattern: object) -> None:
        check_identity(name, pattern)
        if not isinstance(pattern, str) or _PATTERN.fullmatch(pattern) is None:
            raise InvalidInput(f"{name}: a type of events has `*` only for all of it, or after its last dot")

    return _names(name, given, check)


def _names(name: str, given: object, check: Callable[[str, object], object]) -> tuple[str, ...]:
    if not isinstance(given, list | tuple | set | frozenset):
        raise InvalidInput(f"{name} is a list of names")
    if len(given) > MAX_NAMES:
        raise InvalidInput(f"{name} has at most {MAX_NAMES} names")
    for one in given:
        check(name, one)
    return tuple(sorted(set(given)))


def _dollars(name: str, given: Any) -> Decimal | None:
    if given is None:
        return None
    try:
        dollars = as_decimal(given) if isinstance(given, Decimal | float | str | int) else None
    except ArithmeticError:
        dollars = None
    if (
        isinstance(given, bool)
        or dollars is None
        or not dollars.is_finite()
        or not 0 <= dollars <= MAX_DOLLARS
    ):
        raise InvalidInput(f"{name} is a number of dollars from 0 to {MAX_DOLLARS:,}")
    return dollars


def _as_json(value: Any) -> JsonValue:
    if isinstance(value, Priority):
        return value.name.lower()
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value
