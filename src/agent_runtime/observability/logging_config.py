"""How model calls are logged: as arguments, in `job_config.json`, and by the environment, which wins."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, TypeVar, get_args

from agent_runtime.errors import ConfigurationError
from agent_runtime.observability.document import LogLevel
from agent_runtime.observability.file_log import FileCallLogger, LogFormat
from agent_runtime.observability.null_log import NullLLMCallLogger
from agent_runtime.ports.call_log import CallLogSink
from agent_runtime.ports.clock import SystemClock
from llm_client.chance import random_name
from llm_client.private_files import bounded_content
from llm_client.public_text import public_text

T = TypeVar("T")

DISABLE: Final = "AGENT_RUNTIME_DISABLE_LLM_LOGGING"
LEVEL: Final = "AGENT_RUNTIME_LLM_LOG_LEVEL"
FORMAT: Final = "AGENT_RUNTIME_LLM_LOG_FORMAT"
_YES: Final = frozenset({"1", "true", "yes"})
_NO: Final = frozenset({"", "0", "false", "no"})
_LEVELS: Final[tuple[LogLevel, ...]] = get_args(LogLevel)
_FORMATS: Final[tuple[LogFormat, ...]] = get_args(LogFormat)
_MAX_FILE_BYTES: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LLMLoggingConfig:
    """How model calls are logged.

    Raises:
        ConfigurationError: Something is not what is allowed for it; the message says what is.
    """

    enabled: bool = True
    log_level: LogLevel = "standard"
    format: LogFormat = "yaml"
    sanitize: bool = True

    def __post_init__(self) -> None:
        _one_of("log_level", self.log_level, _LEVELS)
        _one_of("format", self.format, _FORMATS)
        for name in ("enabled", "sanitize"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigurationError(f"{name} is true or false, not {_shown(getattr(self, name))}")

    @classmethod
    def from_job_config(cls, path: str | Path) -> LLMLoggingConfig:
        """Read `agent.llm_logging` of a file such as `job_config.json`; what is not there is as by default.

        Raises:
            ConfigurationError: The file cannot be read, or says something that is not allowed.
        """
        source = Path(path)
        try:
            content = bounded_content(source, _MAX_FILE_BYTES)
        except OSError as error:
            raise ConfigurationError(f"{source} cannot be read: {error.strerror}") from error
        if len(content) > _MAX_FILE_BYTES:
            raise ConfigurationError(f"{source} is larger than {_MAX_FILE_BYTES:,} bytes")
        try:
            given = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise ConfigurationError(f"{source} is not JSON: {public_text(str(error))}") from None
        found = _below(_below(given, "agent", f"{source}"), "llm_logging", f"{source}: agent")
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(found) - set(known)):
            raise ConfigurationError(
                f"{source}: agent.llm_logging has no {_shown(unknown[0])}; it has {', '.join(known)}"
            )
        try:
            return cls(**found)
        except ConfigurationError as error:
            raise ConfigurationError(f"{source}: agent.llm_logging: {error}") from None

    def with_environment(self, environment: Mapping[str, str] | None = None) -> LLMLoggingConfig:
        """Return what holds where the environment has something to say.

        Args:
            environment: Variables, by default the process's.

        Raises:
            ConfigurationError: A variable has a value that is not allowed; the message says which are.
        """
        said = os.environ if environment is None else environment
        disable = said.get(DISABLE, "").strip().lower()
        if disable not in _YES | _NO:
            raise ConfigurationError(f"{DISABLE} is 1 or true, or 0 or false, not {_shown(disable)}")
        return LLMLoggingConfig(
            enabled=self.enabled and disable not in _YES,
            log_level=_said(said, LEVEL, _LEVELS, self.log_level),
            format=_said(said, FORMAT, _FORMATS, self.format),
            sanitize=self.sanitize,
        )

    def create_logger(
        self, output_dir: str | Path | None = "artifacts", run_id: str | None = None
    ) -> CallLogSink:
        """Return a logger as `create_llm_logger` does."""
        return create_llm_logger(
            enabled=self.enabled,
            output_dir=output_dir,
            run_id=run_id,
            log_level=self.log_level,
            format=self.format,
            sanitize=self.sanitize,
        )


def create_llm_logger(
    enabled: bool = True,
    output_dir: str | Path | None = "artifacts",
    run_id: str | None = None,
    log_level: LogLevel = "standard",
    format: LogFormat = "yaml",  # noqa: A002 -- the documented name
    sanitize: bool = True,
) -> CallLogSink:
    """Return a logger of model calls, that writes one file for each to `{output_dir}/{run_id}/llm_calls/`.

    `AGENT_RUNTIME_DISABLE_LLM_LOGGING`, `AGENT_RUNTIME_LLM_LOG_LEVEL` and `AGENT_RUNTIME_LLM_LOG_FORMAT` win over the arguments.

    Args:
        enabled: Whether anything is logged.
        output_dir: Where runs have their folders; made when there is something to write.
        run_id: The run's name, by default one of the time. One that was used before goes on with its numbers.
        log_level: `minimal`: numbers and names; `standard`: prompts and answers as well; `full`: whole requests and answers, and the context.
        format: `yaml` or `json`.
        sanitize: Whether secrets are taken out.

    Raises:
        ConfigurationError: An argument or a variable has a value that is not allowed; the message says which are.
    """
    config = LLMLoggingConfig(enabled=enabled, log_level=log_level, format=format, sanitize=sanitize)
    config = config.with_environment()
    if not config.enabled:
        return NullLLMCallLogger()
    return FileCallLogger(
        Path("artifacts" if output_dir is None else output_dir),
        _fresh_run_id() if run_id is None else run_id,
        log_level=config.log_level,
        format=config.format,
        sanitize=config.sanitize,
    )


def _fresh_run_id() -> str:
    return f"run_{SystemClock().now():%Y%m%d_%H%M%S}_{random_name(3)}"


def _below(value: object, name: str, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigurationError(f"{where} is no JSON object")
    found = value.get(name, {})
    if not isinstance(found, dict):
        raise ConfigurationError(f"{where}: {name} is no JSON object")
    return found


def _said(environment: Mapping[str, str], name: str, allowed: tuple[T, ...], otherwise: T) -> T:
    text = environment.get(name, "").strip().lower()
    return _one_of(name, text, allowed) if text else otherwise


def _one_of(name: str, value: object, allowed: tuple[T, ...]) -> T:
    for one in allowed:
        if value == one:
            return one
    raise ConfigurationError(f"{name} is one of {', '.join(map(str, allowed))}, not {_shown(value)}")


def _shown(value: object) -> str:
    return repr(public_text(str(value), 100))
