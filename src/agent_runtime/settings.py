"""The application's settings: from the environment, from `agent-runtime.toml`, or as arguments."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from agent_runtime.errors import ConfigurationError
from agent_runtime.kernel.options import KernelOptions

SETTINGS_FILE = "agent-runtime.toml"
ENV_PREFIX = "AGENT_RUNTIME_"
DATABASE_URL = f"{ENV_PREFIX}DATABASE_URL"

_DEFAULTS = KernelOptions()


def storage_url(path: Path) -> str:
    """Return the storage URL of a SQLite file."""
    return f"sqlite:///{quote(str(path))}"


def default_database() -> Path:
    """Return the SQLite file that is used when nothing else is set: one per user, in the platform's data folder."""
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        given = os.environ.get("XDG_DATA_HOME")
        base = Path(given) if given else Path.home() / ".local" / "share"
    return base / "agent-runtime" / "runs.db"


def _default_storage() -> str:
    return storage_url(default_database())


class _Environment(EnvSettingsSource):
    """The environment, in which the storage has a second name: the one that hosts of databases like to set."""

    def __call__(self) -> dict[str, Any]:
        """Return the values that are set.

        Raises:
            ConfigurationError: Both names of the storage are set, to different databases.
        """
        values = super().__call__()
        url = os.environ.get(DATABASE_URL)
        if url and values.setdefault("storage", url) != url:
            raise ConfigurationError(
                f"{ENV_PREFIX}STORAGE and {DATABASE_URL} name different databases; set one of them"
            )
        return values


class Settings(BaseSettings):
    """Everything an application can be told from outside. Durations are seconds.

    Each field is read from `AGENT_RUNTIME_<NAME>`, else from `agent-runtime.toml` in the current folder; arguments win.
    Keys of model vendors are not settings: they stay in the variables that the vendors' own SDKs read.
    """

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, toml_file=SETTINGS_FILE, extra="forbid")

    storage: str = Field(default_factory=_default_storage, repr=False)  # it may hold a password
    """URL of the storage: `sqlite:///runs.db`, `postgresql://…`, `memory://`. Also read from `AGENT_RUNTIME_DATABASE_URL`."""
    durability: Literal["power", "process"] = "power"
    """What a commit to SQLite survives: a loss of power, or only the death of the process, which is faster."""
    redis_url: str | None = Field(default=None, repr=False)
    """URL of a Redis server, through which the processes of a Postgres database tell each other of changes."""
    model: str | None = None
    """Model of the application's agent, as `vendor:model`."""
    base_url: str | None = None
    """Address of a server compatible with OpenAI's, for `model`."""
    app: str | None = None
    """The application that commands work with, as `module:attribute`."""
    max_concurrency: int = Field(default=_DEFAULTS.max_concurrency, ge=1)
    max_concurrency_per_scope: int | None = Field(default=_DEFAULTS.max_concurrency_per_scope, ge=1)
    scope_concurrency: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    max_queued: int | None = Field(default=_DEFAULTS.max_queued, ge=1)
    max_queued_per_scope: int | None = Field(default=_DEFAULTS.max_queued_per_scope, ge=1)
    suspend_after: float = Field(default=_DEFAULTS.suspend_after, ge=0)
    drain_timeout: float = Field(default=_DEFAULTS.drain_timeout, ge=0)
    cancel_timeout: float = Field(default=_DEFAULTS.cancel_timeout, ge=0)
    max_starts: int = Field(default=_DEFAULTS.max_starts, ge=1)
    max_events: int = Field(default=_DEFAULTS.max_events, ge=1)
    strict: bool = _DEFAULTS.strict
    max_child_depth: int = Field(default=_DEFAULTS.max_child_depth, ge=0)
    storage_patience: float = Field(default=_DEFAULTS.storage_patience, ge=0)
    reservation_wait: float = Field(default=_DEFAULTS.reservation_wait, ge=0)
    default_max_tokens: int = Field(default=_DEFAULTS.default_max_tokens, ge=1)
    heartbeat_interval: float = Field(default=_DEFAULTS.heartbeat_interval, gt=0)
    worker_timeout: float = Field(default=_DEFAULTS.worker_timeout, gt=0)
    sweep_interval: float = Field(default=_DEFAULTS.sweep_interval, gt=0)
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
        return init_settings, _Environment(settings_cls), TomlConfigSettingsSource(settings_cls)

    @classmethod
    def load(cls, **values: Any) -> Settings:
        """Read the settings.

        Args:
            **values: Fields that win over the environment and the file.

        Raises:
            ConfigurationError: A setting is unknown or has no valid value; the message names it, never its value.
        """
        import tomllib

        try:
            return cls(**values)
        except ValidationError as error:
            problem = error.errors(include_input=False, include_url=False)[0]
            name = str(problem["loc"][0]) if problem["loc"] else ""
            raise ConfigurationError(
                f"setting {'.'.join(map(str, problem['loc']))!r} "
                f"({ENV_PREFIX}{name.upper()}, or {name} in {SETTINGS_FILE}): {problem['msg']}"
            ) from None
        except (
            SettingsError
        ) as error:  # a variable that should hold JSON; the error's text has its name, not its value
            name = next((name for name in cls.model_fields if f'"{name}"' in str(error)), "")
            raise ConfigurationError(f"setting {name!r} ({ENV_PREFIX}{name.upper()}) is not JSON") from None
        except tomllib.TOMLDecodeError as error:
            raise ConfigurationError(f"{SETTINGS_FILE} is not TOML: {error}") from None

    def kernel_options(self) -> KernelOptions:
        """Return the part that tunes a kernel."""
        return KernelOptions(**{field.name: getattr(self, field.name) for field in fields(KernelOptions)})
