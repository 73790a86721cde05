"""Settings: where they come from, and who wins."""

from dataclasses import fields
from pathlib import Path

import pytest

from agent_runtime import KernelOptions, Settings
from agent_runtime.errors import ConfigurationError
from agent_runtime.settings import DATABASE_URL, ENV_PREFIX, default_database


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    for name in Settings.model_fields:
        monkeypatch.delenv(ENV_PREFIX + name.upper(), raising=False)
    monkeypatch.delenv(DATABASE_URL, raising=False)


def test_every_option_of_the_kernel_is_a_setting_with_the_same_default() -> None:
    names = {field.name for field in fields(KernelOptions)}

    assert names <= Settings.model_fields.keys()
    assert Settings.load().kernel_options() == KernelOptions()


def test_arguments_win_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "agent-runtime.toml").write_text("max_crashes = 1\nmax_events = 1\nmax_concurrency = 1\n")
    monkeypatch.setenv("AGENT_RUNTIME_MAX_EVENTS", "2")
    monkeypatch.setenv("AGENT_RUNTIME_MAX_CONCURRENCY", "2")

    settings = Settings.load(max_concurrency=3)

    assert (settings.max_crashes, settings.max_events, settings.max_concurrency) == (1, 2, 3)


def test_the_default_database_is_in_the_users_data_folder(tmp_path: Path) -> None:
    assert default_database().is_relative_to(tmp_path) or "Application Support" in str(default_database())
    assert Settings.load().storage.endswith("/agent-runtime/runs.db")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("modle = 'x'", "modle"),
        ("max_crashes = 0", "max_crashes"),
        ("durability = 'paper'", "durability"),
        ("=", "TOML"),
    ],
)
def test_a_bad_file_is_refused_by_name(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "agent-runtime.toml").write_text(text)

    with pytest.raises(ConfigurationError, match=words):
        Settings.load()


def test_a_refused_value_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENT_RUNTIME_MAX_CRASHES", "hunter2")

    with pytest.raises(ConfigurationError) as refused:
        Settings.load()

    assert "AGENT_RUNTIME_MAX_CRASHES" in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WORKER_TIMEOUT", "inf"),
        ("HEARTBEAT_INTERVAL", "nan"),
        ("DRAIN_TIMEOUT", "-1"),
        ("STORAGE_PATIENCE", "1e300"),
        ("MAX_CONCURRENCY", "0"),
        ("MAX_QUEUED", "9223372036854775808"),
        ("SCOPE_CONCURRENCY", '{"a": 1e23}'),
        ("SCOPE_CONCURRENCY", '{"a": -1}'),
        ("QUEUES", '["a\\u0000"]'),
    ],
)
def test_an_option_that_the_kernel_refuses_is_refused_by_the_name_of_its_variable(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"AGENT_RUNTIME_{name}", value)
    with pytest.raises(ConfigurationError, match=rf"\(AGENT_RUNTIME_{name}, or {name.lower()} in") as refused:
        Settings.load()
    assert value not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, "  ") for name in ("STORAGE", "DATABASE_URL", "REDIS_URL", "BASE_URL", "APP", "MODEL")),
        ("STORAGE", ""),
        ("DATABASE_URL", ""),
    ],
)
def test_a_setting_that_names_a_place_is_not_empty(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"AGENT_RUNTIME_{name}", value)
    with pytest.raises(ConfigurationError, match=rf"AGENT_RUNTIME_{name}\b.*is empty"):
        Settings.load()


@pytest.mark.parametrize("name", sorted(set(Settings.model_fields) - {"storage"}))
def test_an_empty_variable_of_an_optional_setting_is_none(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"AGENT_RUNTIME_{name.upper()}", "")
    assert Settings.load() == Settings.load(
        **{name: Settings.model_fields[name].get_default(call_default_factory=True)}
    )


def test_a_file_may_begin_with_a_mark(tmp_path: Path) -> None:
    (tmp_path / "agent-runtime.toml").write_bytes(b"\xef\xbb\xbfmax_events = 5000\n")
    assert Settings.load().max_events == 5000


def test_a_storages_password_is_not_printed() -> None:
    settings = Settings.load(storage="postgresql://user:hunter2@db/runs")
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in str(settings)


def test_nor_is_an_address_whose_path_may_hold_a_key() -> None:
    settings = Settings.load(model="m", base_url="https://gateway.example/hunter2/v1")
    assert "hunter2" not in repr(settings) + str(settings)


URL, OTHER = "postgresql://user:hunter2@db/runs", "postgresql://user:hunter3@db/others"


def test_the_storage_has_a_second_name_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENT_RUNTIME_DATABASE_URL", URL)
    assert Settings.load().storage == URL
    assert Settings.load(storage="memory://").storage == "memory://"
    monkeypatch.setenv("AGENT_RUNTIME_STORAGE", URL)
    assert Settings.load().storage == URL


def test_the_second_name_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "agent-runtime.toml").write_text("storage = 'sqlite:///runs.db'\n")
    monkeypatch.setenv("AGENT_RUNTIME_DATABASE_URL", URL)
    assert Settings.load().storage == URL


def test_two_names_for_different_databases_are_refused_in_one_sentence_without_passwords(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AGENT_RUNTIME_DATABASE_URL", URL)
    monkeypatch.setenv("AGENT_RUNTIME_STORAGE", OTHER)
    with pytest.raises(ConfigurationError) as refused:
        Settings.load()
    assert str(refused.value) == (
        "AGENT_RUNTIME_STORAGE and AGENT_RUNTIME_DATABASE_URL name different databases; set one of them"
    )


@pytest.mark.parametrize(
    ("text", "queues"),
    [("a", ("a",)), ("a,b", ("a", "b")), (" a , b,", ("a", "b")), ('["a", "b,c"]', ("a", "b,c")), ("", ()), ("[]", ())],
)  # fmt: skip
def test_queues_are_a_list_with_commas_or_json(
    text: str, queues: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENT_RUNTIME_QUEUES", text)
    assert Settings.load().queues == queues


def test_queues_that_are_no_list_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENT_RUNTIME_QUEUES", '["a"')
    with pytest.raises(ConfigurationError, match="AGENT_RUNTIME_QUEUES"):
        Settings.load()


def test_caps_of_single_scopes_are_read_from_json_and_from_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "agent-runtime.toml").write_text(
        "max_concurrency_per_scope = 3\n[scope_concurrency]\nfile = 1\n"
    )
    assert Settings.load().kernel_options().caps.of("file") == 1
    assert Settings.load().kernel_options().caps.of("any") == 3
    monkeypatch.setenv("AGENT_RUNTIME_SCOPE_CONCURRENCY", '{"noisy": 0}')
    assert Settings.load().kernel_options().caps.of("noisy") == 0
    for wrong in ('{"noisy": -1}', "hunter2"):
        monkeypatch.setenv("AGENT_RUNTIME_SCOPE_CONCURRENCY", wrong)
        with pytest.raises(ConfigurationError, match=r"\(AGENT_RUNTIME_SCOPE_CONCURRENCY\b") as refused:
            Settings.load()
        assert "hunter2" not in str(refused.value)
