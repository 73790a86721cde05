"""What may be said about the log of model calls, and who wins."""

import os
from pathlib import Path

import pytest

from agent_runtime.errors import ConfigurationError
from agent_runtime.observability import FileCallLogger, LLMLoggingConfig, NullLLMCallLogger, create_llm_logger

DISABLE = "AGENT_RUNTIME_DISABLE_LLM_LOGGING"
LEVEL = "AGENT_RUNTIME_LLM_LOG_LEVEL"
FORMAT = "AGENT_RUNTIME_LLM_LOG_FORMAT"


def made(**options: object) -> FileCallLogger:
    logger = create_llm_logger(**options)  # type: ignore[arg-type]
    assert isinstance(logger, FileCallLogger)
    return logger


def test_the_defaults_are_the_documented_ones() -> None:
    logger = made()
    assert (logger.log_level, logger.format, logger.sanitize) == ("standard", "yaml", True)
    assert logger.path.parts[0] == "artifacts"
    assert logger.run_id.startswith("run_20")
    assert made().run_id != logger.run_id


def test_the_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LEVEL, "FULL")
    monkeypatch.setenv(FORMAT, "json")
    logger = made(log_level="minimal", format="yaml")
    assert (logger.log_level, logger.format) == ("full", "json")


@pytest.mark.parametrize("value", ["1", "true", "TRUE", "yes"])
def test_the_environment_switches_it_off(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DISABLE, value)
    assert isinstance(create_llm_logger(enabled=True), NullLLMCallLogger)


@pytest.mark.parametrize("value", ["", "0", "false", "no"])
def test_the_environment_may_leave_it_on(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DISABLE, value)
    assert isinstance(create_llm_logger(), FileCallLogger)


@pytest.mark.parametrize(
    ("name", "allowed"),
    [(DISABLE, "1 or true"), (LEVEL, "minimal, standard, full"), (FORMAT, "yaml, json")],
)
def test_a_variable_that_says_nothing_known_is_an_error(
    name: str, allowed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "loud")
    with pytest.raises(ConfigurationError, match=f"{name} is .*{allowed}.*'loud'"):
        create_llm_logger()


def test_an_argument_that_says_nothing_known_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="log_level is one of minimal, standard, full"):
        create_llm_logger(log_level="verbose")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="format is one of yaml, json"):
        create_llm_logger(format="xml")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="sanitize is true or false"):
        create_llm_logger(sanitize="yes")  # type: ignore[arg-type]


def test_a_job_configuration_is_read(tmp_path: Path) -> None:
    file = tmp_path / "job_config.json"
    file.write_text('{"agent": {"llm_logging": {"log_level": "full", "format": "json"}, "other": 1}}')
    config = LLMLoggingConfig.from_job_config(file)
    assert config == LLMLoggingConfig(log_level="full", format="json")
    logger = config.create_logger(output_dir=tmp_path, run_id="r")
    assert isinstance(logger, FileCallLogger)
    assert logger.path == tmp_path / "r" / "llm_calls"


def test_what_is_not_there_is_as_by_default(tmp_path: Path) -> None:
    file = tmp_path / "job_config.json"
    for text in ("{}", '{"agent": {}}'):
        file.write_text(text)
        assert LLMLoggingConfig.from_job_config(file) == LLMLoggingConfig()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "is not JSON"),
        ("[]", "no JSON object"),
        ('{"agent": 1}', "agent is no JSON object"),
        ('{"agent": {"llm_logging": []}}', "llm_logging is no JSON object"),
        (
            '{"agent": {"llm_logging": {"level": "full"}}}',
            "has no 'level'; it has enabled, log_level, format, sanitize",
        ),
        ('{"agent": {"llm_logging": {"log_level": "loud"}}}', "log_level is one of minimal, standard, full"),
        (
            '{"agent": {"llm_logging": {"log_level": ["full"]}}}',
            "log_level is one of minimal, standard, full",
        ),
        ('{"agent": {"llm_logging": {"enabled": 1}}}', "enabled is true or false"),
    ],
)
def test_a_job_configuration_with_a_mistake_is_refused(text: str, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "job_config.json"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=reason):
        LLMLoggingConfig.from_job_config(file)


def test_a_pipe_in_the_place_of_a_job_configuration_is_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "job_config.json")
    with pytest.raises(ConfigurationError, match="cannot be read: it is no file"):
        LLMLoggingConfig.from_job_config(tmp_path / "job_config.json")


def test_a_job_configuration_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        LLMLoggingConfig.from_job_config(tmp_path / "none.json")
