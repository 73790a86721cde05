"""The application's settings: from the environment, from `agent-runtime.toml`, or as arguments.

A folder may come from anywhere. Which code runs, on which database, for whom, under which rules, and where a vendor's key goes is read from
its file only when the user has agreed to the file as it is (`agent-runtime trust`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from agent_runtime.errors import ConfigurationError, InvalidInput, StorageError
from agent_runtime.execution.options import KernelOptions, check_option
from agent_runtime.trust import TrustStore, data_folder
from agent_runtime.values.context import DEFAULT_SCOPE
from llm_client.json_text import JsonValue
from llm_client.logs import logger_of
from llm_client.private_files import bounded_content, make_private_folder

_log = logger_of("agent_runtime.settings")

SETTINGS_FILE = "agent-runtime.toml"
ENV_PREFIX = "AGENT_RUNTIME_"
DATABASE_URL = f"{ENV_PREFIX}DATABASE_URL"

GUARDED = ("agents", "app", "base_url", "policy", "principal", "redis_url", "scope", "storage")
"""Settings that a file decides about only when it is trusted."""

_MAX_FILE_BYTES = 64 * 1024
_MAX_LINE_BYTES = 4 * 1024
_MAX_NAME = 100

_DEFAULTS = KernelOptions()
_OPTIONS = tuple(field.name for field in fields(KernelOptions))


def storage_url(path: Path) -> str:
    """Return the storage URL of a SQLite file."""
    return f"sqlite:///{quote(str(path))}"


def environment_for(storage: str) -> dict[str, str]:
    """Return this process's environment for another one that is to use a storage: an address on a command line is seen by everybody."""
    return {
        **{name: value for name, value in os.environ.items() if name != DATABASE_URL},
        f"{ENV_PREFIX}STORAGE": storage,
    }


def default_database() -> Path:
    """Return the SQLite file that is used when nothing else is set: one per user, in the platform's data folder."""
    return data_folder() / "runs.db"


def make_default_folder(url: str) -> None:
    """Make the folder of the default database; that of a file the user has named is the user's to make."""
    path = default_database()
    if url != storage_url(path):
        return
    try:
        make_private_folder(path.parent)
    except OSError as error:
        raise StorageError(
            f"the folder of the default database, {str(path.parent)!r}, cannot be made ({error.strerror}); "
            "name another file with --db or AGENT_RUNTIME_STORAGE"
        ) from error


def _default_storage() -> str:
    return storage_url(default_database())


def _refusal(error: ValidationError) -> str:
    """Say which setting is wrong, and why; never its value."""
    problem = error.errors(include_input=False, include_url=False)[0]
    name = str(problem["loc"][0]) if problem["loc"] else ""
    variables = f"{ENV_PREFIX}{name.upper()}" + (f" or {DATABASE_URL}" if name == "storage" else "")
    reason = problem.get("ctx", {}).get("error", problem["msg"])  # in our own words, or in pydantic's
    return f"setting {'.'.join(map(str, problem['loc']))!r} ({variables}, or {name} in {SETTINGS_FILE}): {reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsInUse:
    """The settings file of the current folder, and what of it counts."""

    path: Path
    values: Mapping[str, Any]
    """What counts."""
    ignored: tuple[str, ...]
    """What does not, because nobody has agreed to the file."""

    def __str__(self) -> str:
        if not self.ignored:
            return f"settings from {self.path}"
        return (
            f"settings from {self.path}, but not {', '.join(self.ignored)}: they may run code, send keys elsewhere or pass rules by; "
            "if you know the file, agree to it with agent-runtime trust"
        )


def settings_in_use() -> SettingsInUse | None:
    """Read the settings file of the current folder; `None` without one.

    Raises:
        ConfigurationError: It is not TOML, or cannot be read.
    """
    path = Path(SETTINGS_FILE).absolute()
    try:
        content = file_content(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigurationError(f"{SETTINGS_FILE} cannot be read: {error.strerror}") from error
    values = file_values(content)
    guarded = tuple(name for name in GUARDED if name in values)
    if guarded and TrustStore().trusts(path, content):
        guarded = ()
    counting = {name: value for name, value in values.items() if name not in guarded}
    return SettingsInUse(path=path, values=counting, ignored=guarded)


def file_content(path: Path) -> bytes:
    """Return what stands in a settings file, and no more of it than shows that it is too long. Raises `OSError`."""
    return bounded_content(path, _MAX_FILE_BYTES)


def file_values(content: bytes) -> dict[str, JsonValue]:
    """Return what a settings file says. Raises `ConfigurationError` if it is not TOML, longer than settings are, or has names that are none.

    A folder comes from anywhere, and reading a name of many parts takes a time that grows with the square of their number.
    """
    import tomllib

    if len(content) > _MAX_FILE_BYTES or any(len(line) > _MAX_LINE_BYTES for line in content.split(b"\n")):
        raise ConfigurationError(
            f"{SETTINGS_FILE} is longer than settings are: it may have {_MAX_FILE_BYTES} bytes, and {_MAX_LINE_BYTES} in a line"
        )
    try:
        values = tomllib.loads(content.decode("utf-8-sig"))  # some editors begin a file with a mark
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, or a number that Python does not read
        raise ConfigurationError(f"{SETTINGS_FILE} is not TOML: {error}") from None
    for name in values:
        if (
            name != name.lower()
        ):  # which would be read as the one in small letters, past whoever looks for that
            raise ConfigurationError(
                f"{SETTINGS_FILE}: settings have small letters, not {name[:_MAX_NAME]!r}"
            )
    return values


class _File(InitSettingsSource):
    """What of the current folder's file counts."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        found = settings_in_use()
        if found is not None and found.ignored:
            _log.warning("%s", found)
        super().__init__(settings_cls, init_kwargs=dict(found.values) if found is not None else {})


class _Environment(EnvSettingsSource):
    """The environment, in which the storage has a second name: the one that hosts of databases like to set.

    An empty variable is as good as none, since files that start containers pass on what nobody has set; but an empty address of a
    database is a mistake: without it jobs would be looked for in the user's own.
    """

    def __call__(self) -> dict[str, Any]:
        """Return the values that are set.

        Raises:
            ConfigurationError: Both names of the storage are set, to different databases.
        """
        values = super().__call__()
        if os.environ.get(f"{ENV_PREFIX}STORAGE") == "":
            values["storage"] = ""
        url = os.environ.get(DATABASE_URL)
        if url is not None and values.setdefault("storage", url) != url:
            raise ConfigurationError(
                f"{ENV_PREFIX}STORAGE and {DATABASE_URL} name different databases; set one of them"
            )
        return values


class Settings(BaseSettings):
    """Everything an application can be told from outside. Durations are seconds.

    Each field is read from `AGENT_RUNTIME_<NAME>`, else from `agent-runtime.toml` in the current folder; arguments win. `agents`, `app`,
    `base_url`, `policy`, `scope`, `principal`, `storage` and `redis_url` of a file count only when the user trusts it as it is.
    Keys of model vendors are not settings: they stay in the variables that the vendors' own SDKs read.
    """

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, env_ignore_empty=True, extra="forbid")

    storage: str = Field(default_factory=_default_storage, repr=False)  # it may hold a password
    """URL of the storage: `sqlite:///runs.db`, `postgresql://…`, `memory://`. Also read from `AGENT_RUNTIME_DATABASE_URL`."""
    durability: Literal["power", "process"] = "power"
    """What a commit to SQLite survives: a loss of power, or only the death of the process, which is faster."""
    redis_url: str | None = Field(default=None, repr=False)
    """URL of a Redis server, through which the processes of a Postgres database tell each other of changes."""
    model: str | None = None
    """Model of the application's agent, as `vendor:model`."""
    base_url: str | None = Field(default=None, repr=False)  # some hold a key in their path
    """Address of a server compatible with OpenAI's, for `model`."""
    app: str | None = None
    """The application that commands work with, as `module:attribute`."""
    policy: str | None = None
    """A policy file: what jobs, models and tools may do."""
    agents: str | None = None
    """A YAML file of resident agents, or a folder of such files: which models they ask, and what they are told."""
    scope: str = DEFAULT_SCOPE
    """Whose jobs those are that commands submit."""
    principal: str | None = None
    """Who asks for them."""
    max_concurrency: int = _DEFAULTS.max_concurrency
    spare_slot: bool = _DEFAULTS.spare_slot
    max_concurrency_per_scope: int | None = _DEFAULTS.max_concurrency_per_scope
    scope_concurrency: dict[str, int] = Field(default_factory=dict)
    max_queued: int | None = _DEFAULTS.max_queued
    max_queued_per_scope: int | None = _DEFAULTS.max_queued_per_scope
    suspend_after: float = _DEFAULTS.suspend_after
    drain_timeout: float = _DEFAULTS.drain_timeout
    cancel_timeout: float = _DEFAULTS.cancel_timeout
    max_crashes: int = _DEFAULTS.max_crashes
    code_version: str | None = _DEFAULTS.code_version
    unlisted_after: float = _DEFAULTS.unlisted_after
    suspect_patience: float = _DEFAULTS.suspect_patience
    max_events: int = _DEFAULTS.max_events
    max_inbox: int = _DEFAULTS.max_inbox
    max_agents_per_scope: int = _DEFAULTS.max_agents_per_scope
    priority_across_scopes: bool = _DEFAULTS.priority_across_scopes
    strict: bool = _DEFAULTS.strict
    max_child_depth: int = _DEFAULTS.max_child_depth
    storage_patience: float = _DEFAULTS.storage_patience
    reservation_wait: float = _DEFAULTS.reservation_wait
    default_max_tokens: int = _DEFAULTS.default_max_tokens
    heartbeat_interval: float = _DEFAULTS.heartbeat_interval
    worker_timeout: float = _DEFAULTS.worker_timeout
    sweep_interval: float = _DEFAULTS.sweep_interval
    projection_interval: float = _DEFAULTS.projection_interval
    audit_trail: bool = _DEFAULTS.audit_trail
    stream_answers: bool = _DEFAULTS.stream_answers
    queues: Annotated[tuple[str, ...], NoDecode] = _DEFAULTS.queues
    """In the environment `a,b` or a JSON list."""

    @field_validator("queues", mode="before")
    @classmethod
    def _split(cls, given: Any) -> Any:
        if not isinstance(given, str):
            return given
        if given.lstrip().startswith("["):
            return json.loads(given)
        return tuple(name.strip() for name in given.split(",") if name.strip())

    @field_validator(*_OPTIONS)
    @classmethod
    def _as_the_kernel_wants_it(cls, given: Any, asked: ValidationInfo) -> Any:
        check_option(str(asked.field_name), given)
        return given

    @field_validator("app", mode="before")
    @classmethod
    def _switched_off(cls, given: Any) -> Any:
        """Take an empty name for none, so that an option can switch off what a file names."""
        return None if given == "" else given

    @field_validator(
        "storage", "redis_url", "model", "base_url", "app", "policy", "agents", "scope", "principal"
    )
    @classmethod
    def _not_empty(cls, given: str | None) -> str | None:
        if given is not None and not given.strip():
            raise ValueError("is empty; unset it, or name something")
        return given

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read arguments, then the environment, then the file."""
        del env_settings, dotenv_settings, file_secret_settings
        return init_settings, _Environment(settings_cls), _File(settings_cls)

    @classmethod
    def load(cls, **values: Any) -> Settings:
        """Read the settings.

        Args:
            **values: Fields that win over the environment and the file.

        Raises:
            ConfigurationError: A setting is unknown or has no valid value; the message names it, never its value.
        """
        try:
            settings = cls(**values)
            settings.kernel_options()  # options may contradict each other
        except InvalidInput as error:
            raise ConfigurationError(f"settings: {error}") from None
        except ValidationError as error:
            raise ConfigurationError(_refusal(error)) from None
        except (
            SettingsError
        ) as error:  # a variable that should hold JSON; the error's text has its name, not its value
            name = next((name for name in cls.model_fields if f'"{name}"' in str(error)), "")
            raise ConfigurationError(f"setting {name!r} ({ENV_PREFIX}{name.upper()}) is not JSON") from None
        return settings

    def kernel_options(self) -> KernelOptions:
        """Return the part that tunes a kernel."""
        return KernelOptions(**{name: getattr(self, name) for name in _OPTIONS})
