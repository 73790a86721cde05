"""The composition root: URLs to storages, strings to providers and applications, settings to a kernel."""

import asyncio
import inspect
import sys
from pathlib import Path

import pytest

from agent_runtime import ExecutionRequest, Runtime, RuntimeKernel, Settings, open_storage
from agent_runtime.app import (
    KernelArguments,
    import_object,
    load_app,
    made_app,
    make_provider,
    sqlite_path,
    uses_storage,
)
from agent_runtime.errors import ConfigurationError, FileInvalid, StorageError
from agent_runtime.settings import storage_url
from llm_client import Agent, ScriptedProvider


@pytest.mark.parametrize("name", ["runs.db", "with space.db", "50%.db", "a#b?.db", "/var/lib/runs.db"])
def test_any_file_name_survives_its_url(name: str) -> None:
    assert sqlite_path(storage_url(Path(name))) == Path(name)


@pytest.mark.parametrize("url", ["sqlite://runs.db", "sqlite:///", "mysql://x", "runs.db"])
def test_a_url_that_opens_nothing_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        open_storage(url)


@pytest.mark.parametrize(
    ("model", "base_url", "name", "asked"),
    [
        ("openai:gpt-5.2", None, "openai", "gpt-5.2"),
        ("openai:gpt-5.2", "http://localhost:1/v1", "openai", "gpt-5.2"),
        ("llama4:8b", "http://localhost:1/v1", "compatible", "llama4:8b"),
        ("llama4", "http://localhost:1/v1", "compatible", "llama4"),
        ("anthropic:claude", "http://localhost:1", "anthropic", "claude"),
    ],
)
def test_a_model_and_an_address_name_a_provider(
    model: str, base_url: str | None, name: str, asked: str
) -> None:
    provider = make_provider(model, base_url)

    assert (provider.name, provider.model) == (name, asked)


def test_an_application_may_be_a_runtime_a_kernel_or_a_factory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "an_app.py").write_text(
        "from agent_runtime import Runtime, RuntimeKernel, Settings\n"
        "settings = Settings(storage='memory://')\n"
        "runtime = Runtime(settings)\n"
        "class Box:\n    kernel = RuntimeKernel()\n"
        "def make(): return Runtime(settings)\n"
        "def needs(argument): ...\n"
        "async def later(): return Runtime(settings)\n"
        "async def wrong(): return 'x'\n"
        "text = 'x'\n"
    )
    runtime = load_app("an_app:runtime")
    assert asyncio.run(made_app(runtime)) is runtime
    assert isinstance(asyncio.run(made_app(load_app("an_app:later"))), Runtime)
    with pytest.raises(ConfigurationError, match="is a str"):
        asyncio.run(made_app(load_app("an_app:wrong")))

    assert load_app("an_app:Box.kernel") is import_object("an_app:Box").kernel
    assert isinstance(load_app("an_app:make"), Runtime)
    assert isinstance(runtime, Runtime)
    for bad, words in {
        "an_app:text": "is a str",
        "an_app:needs": "without arguments",
        "an_app:nothing": "has no 'nothing'",
        "no_app:x": "cannot be imported",
        "an_app": "module:attribute",
    }.items():
        with pytest.raises(ConfigurationError, match=words):
            load_app(bad)


def test_what_a_module_finds_wrong_when_it_is_imported_is_said_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "its_app_itself.py").write_text(
        "from agent_runtime.errors import ConfigurationError\nraise ConfigurationError('there is no house.yaml')\n"
    )
    with pytest.raises(ConfigurationError, match=r"^there is no house\.yaml \(which 'its_app_itself' says"):
        load_app("its_app_itself:runtime")


@pytest.mark.parametrize(
    ("own", "named", "same"),
    [
        ("postgresql://u@h/a", "postgresql://u@h/a", True),
        ("postgresql://u@h/a", "postgresql://u@h/b", False),
        ("postgresql://u@h/a", "sqlite:///a.db", False),
        ("sqlite:///a.db", "sqlite:///./a.db", True),
        ("sqlite:///a.db", "sqlite:///b.db", False),
        ("memory://", "sqlite:///a.db", False),
    ],
)
def test_where_an_application_keeps_its_jobs_can_be_told(own: str, named: str, same: bool) -> None:
    kernel = RuntimeKernel(storage=open_storage(own), dispatch="local")
    assert uses_storage(kernel, named) is same
    assert uses_storage(Runtime(Settings(storage=named)), named)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(storage=storage_url(tmp_path / "runs.db"))


async def test_a_runtime_runs_its_agent_on_the_storage_of_its_settings(settings: Settings) -> None:
    agent = Agent(provider=ScriptedProvider(["hello"]))
    async with Runtime(settings, agent=agent) as runtime:
        handle = await runtime.kernel.execute(ExecutionRequest(prompt="hi"))
        assert (await handle.result()).content == "hello"
    await runtime.aclose()

    async with Runtime(settings, worker=False) as reader:
        assert (await reader.kernel.handle(handle.job_id).result()).content == "hello"


async def test_a_runtime_that_cannot_start_closes_what_it_opened(settings: Settings, tmp_path: Path) -> None:
    nowhere = settings.model_copy(update={"storage": storage_url(tmp_path / "no" / "runs.db")})
    runtime = Runtime(nowhere)

    with pytest.raises(StorageError, match="does its folder exist"):
        await runtime.__aenter__()

    await runtime.aclose()


def test_create_takes_what_the_class_takes() -> None:
    arguments = set(inspect.signature(RuntimeKernel.__init__).parameters) - {"self", "engine", "agent"}

    assert arguments == set(KernelArguments.__annotations__)


def test_resident_agents_of_a_file_are_known_to_the_application(tmp_path: Path) -> None:
    file = tmp_path / "agents.yaml"
    file.write_text("agents: {duty: {prompt: You watch., model: 'openai:gpt-5.2'}}")

    runtime = Runtime(Settings(storage="memory://", agents=str(file)))

    assert "resident.duty" in runtime.kernel.operators
    asyncio.run(runtime.aclose())


def test_a_file_of_agents_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileInvalid, match=r"agents\.yaml cannot be read"):
        Runtime(Settings(storage="memory://", agents=str(tmp_path / "agents.yaml")))
