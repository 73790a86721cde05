"""The composition root: the only place that names concrete parts."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypedDict, Unpack

from agent_runtime.errors import ConfigurationError
from agent_runtime.execution.options import KernelOptions
from agent_runtime.extras import optional_packages
from agent_runtime.kernel.kernel import Kernel
from agent_runtime.kernel.stores import shared_storage
from agent_runtime.ports.storage import Storage
from agent_runtime.storage.opening import open_storage, sqlite_path, url_parts
from agent_runtime.worker.local_dispatcher import LocalDispatcher
from llm_client.background import stopped

if TYPE_CHECKING:
    from agent_runtime.actions.store import ActionStore
    from agent_runtime.events.bus import EventBus
    from agent_runtime.jobs.store import JobStore
    from agent_runtime.ledger.ledger import Ledger
    from agent_runtime.ledger.store import LedgerWriter
    from agent_runtime.observability import LogEraser
    from agent_runtime.operators.orchestration import OrchestrationConfig
    from agent_runtime.policy.engine import PolicyEngine
    from agent_runtime.ports.clock import Clock
    from agent_runtime.ports.dispatcher import Dispatcher
    from agent_runtime.ports.feed import Projection
    from agent_runtime.residents.definitions import AgentRegistry
    from agent_runtime.schedules.rules import Check
    from agent_runtime.settings import Settings
    from agent_runtime.values.retry_policy import RetryPolicy
    from llm_client.agent.agent import Agent
    from llm_client.engine.engine import ExecutionEngine
    from llm_client.pricing.book import PriceBook
    from llm_client.providers.base import Provider
    from llm_client.tools.tool import Tool

Dispatch = Literal["auto", "local", "queue"]

__all__ = [
    "Runtime",
    "RuntimeKernel",
    "import_object",
    "load_app",
    "make_provider",
    "open_queue",
    "open_storage",
    "sqlite_path",
    "url_parts",
]


def open_queue(storage: Storage, options: KernelOptions) -> Dispatcher | None:
    """Return the queue that all processes of a storage share, `None` where there is none: only Postgres has one.

    Raises:
        MissingDependency: The extra `postgres` is not installed.
    """
    dsn = getattr(storage, "dsn", None)
    if not storage.is_shared or dsn is None:
        return None
    with optional_packages():
        from agent_runtime.adapters.procrastinate import PostgresDispatcher

    return PostgresDispatcher(
        dsn,
        queues=options.queues,
        max_concurrency=options.max_concurrency,
        heartbeat_interval=options.heartbeat_interval,
        worker_timeout=options.worker_timeout,
        caps=options.caps,
        across_scopes=options.priority_across_scopes,
        spare_slot=options.spare_slot,
    )


class KernelArguments(TypedDict, total=False):
    """The arguments of `RuntimeKernel` besides the engine and the agent."""

    storage: Storage | str | None
    job_store: JobStore | None
    action_store: ActionStore | None
    ledger_writer: LedgerWriter | None
    ledger: Ledger | None
    policy_engine: PolicyEngine | Iterable[PolicyEngine] | None
    event_bus: EventBus | None
    operators: Iterable[Any] | Mapping[str, Any]
    tools: Iterable[Tool | Callable[..., Any]]
    dispatcher: Dispatcher | None
    dispatch: Dispatch
    clock: Clock | None
    options: KernelOptions | None
    prices: PriceBook | None
    retry: RetryPolicy | None
    orchestration: OrchestrationConfig | None
    projections: Iterable[Projection]
    checks: Iterable[Check] | Mapping[str, Check]
    agents: AgentRegistry | None
    worker: bool


class RuntimeKernel(Kernel):
    """Runs jobs on a storage.

    `async with kernel:` starts it, recovering what an earlier process left unfinished, and drains it at the end.
    Without that, the first `execute` starts it and `aclose` ends it.

    Args:
        engine: For `context.model`, and for a plain agent when `agent` is not given.
        agent: Runs the requests that name no operator.
        storage: Where everything is kept: a storage, a URL such as `sqlite:///runs.db`, or nothing for memory.
        job_store: A view of a storage, instead of `storage`.
        action_store: Likewise; all views must share one storage.
        ledger_writer: Likewise.
        policy_engine: What jobs, models and tools may do; of several, requests choose by name, and the first is the rule.
        ledger: Brings budgets that were set in code; by default one without.
        event_bus: Delivers events in this process.
        operators: Operators, agents and async functions that requests can name.
        tools: For `context.tool`, besides the agent's.
        dispatcher: Who calls `advance`, instead of what `dispatch` chooses.
        dispatch: `local`: a queue in this process; `queue`: one that all processes share, where jobs go to any worker;
            `auto`: the shared one on a Postgres database, else the local one.
        orchestration: How far a job may spread: children, depth, their time and budgets. Without it only
            `options.max_child_depth` bounds it.
        clock: What time it is; by default that of the storage, which all processes of a Postgres database share.
        options: Tuning.
        prices: What calls cost, and can cost at most, in jobs, whichever engine makes them; by default each engine's own.
        retry: What outages mean to jobs whose request and operator do not say; by default they are waited out for an hour.
        projections: What is kept up with the journals of all jobs, while this process executes.
        checks: What schedules can ask before they fire: functions, or names and functions. A schedule with a check is looked after by
            processes that have it.
        agents: What resident agents are made of. The kernel's own agent is among them, as `agent`.
        worker: Whether this process executes jobs, or only submits and follows them.

    Raises:
        ConfigurationError: The stores do not share one storage, or there is no shared queue for it.
    """

    def __init__(
        self,
        *,
        engine: ExecutionEngine | None = None,
        agent: Agent | None = None,
        storage: Storage | str | None = None,
        job_store: JobStore | None = None,
        action_store: ActionStore | None = None,
        ledger_writer: LedgerWriter | None = None,
        ledger: Ledger | None = None,
        policy_engine: PolicyEngine | Iterable[PolicyEngine] | None = None,
        event_bus: EventBus | None = None,
        operators: Iterable[object] | Mapping[str, object] = (),
        tools: Iterable[Tool | Callable[..., object]] = (),
        dispatcher: Dispatcher | None = None,
        dispatch: Dispatch = "auto",
        clock: Clock | None = None,
        options: KernelOptions | None = None,
        prices: PriceBook | None = None,
        retry: RetryPolicy | None = None,
        orchestration: OrchestrationConfig | None = None,
        projections: Iterable[Projection] = (),
        checks: Iterable[Check] | Mapping[str, Check] = (),
        agents: AgentRegistry | None = None,
        worker: bool = True,
    ) -> None:
        given = storage if not isinstance(storage, str) else None
        ledger_view = None if ledger is None else ledger.writer
        shared = shared_storage(given, job_store, action_store, ledger_writer, ledger_view)
        opened = shared or open_storage(storage if isinstance(storage, str) else None)
        options = options or KernelOptions()
        super().__init__(
            engine=engine,
            agent=agent,
            storage=opened,
            owns_storage=shared is None,
            erasers=partial(erasers_of, opened),
            dispatcher=dispatcher or _choose_dispatcher(opened, options, dispatch),
            ledger=ledger,
            policy_engine=policy_engine,
            event_bus=event_bus,
            operators=operators,
            tools=tools,
            clock=clock,
            options=options,
            prices=prices,
            retry=retry,
            orchestration=orchestration,
            projections=projections,
            checks=checks,
            agents=agents,
            worker=worker,
        )

    @classmethod
    def create(
        cls,
        engine: ExecutionEngine | None = None,
        agent: Agent | None = None,
        **arguments: Unpack[KernelArguments],
    ) -> Self:
        """Build a kernel; the arguments are those of the class."""
        return cls(engine=engine, agent=agent, **arguments)


def _choose_dispatcher(storage: Storage, options: KernelOptions, dispatch: Dispatch) -> Dispatcher:
    """Return the queue that all processes of a shared database use, or one in this process."""
    queue = None if dispatch == "local" else open_queue(storage, options)
    if queue is not None:
        return queue
    if dispatch == "queue":
        raise ConfigurationError(
            "dispatch='queue' needs a Postgres database by its address; over a pool, give dispatcher=PostgresDispatcher(…)"
        )
    return LocalDispatcher(
        max_concurrency=options.max_concurrency,
        across_scopes=options.priority_across_scopes,
        spare_slot=options.spare_slot,
    )


class Runtime:
    """An application: settings turned into a kernel with its storage and its model.

    `async with Runtime(tools=[...]) as runtime:` starts it and drains it at the end; `runtime.kernel` does the rest.

    Args:
        settings: By default those of the environment and of `agent-runtime.toml`.
        engine: For `context.model` and the default agent; by default one for `settings.model`, if that is set.
        agent: Runs the requests that name no operator.
        operators: Operators, agents and async functions that requests can name.
        tools: For `context.tool`, besides the agent's.
        dispatcher: Who calls `advance`; by default a queue in this process.
        policy_engine: What jobs, models and tools may do; by default what stands in the file that `settings.policy` names.
        prices: What calls cost, and can cost at most, whichever engine makes them; by default each engine's own.
        retry: What outages mean to jobs whose request and operator do not say.
        orchestration: How far a job may spread.
        projections: What is kept up with the journals of all jobs, while this process executes.
        checks: What schedules can ask before they fire: functions, or names and functions. A schedule with a check is looked after by
            processes that have it.
        agents: What resident agents are made of; by default what stands in the files that `settings.agents` names.
        worker: Whether this process executes jobs, or only submits and follows them.

    Raises:
        ConfigurationError: A setting is wrong.
        PolicyInvalid: Something in the policy file is wrong.
        FileInvalid: Something in a file of agents is wrong.
        StorageError: The folder of the default database cannot be made.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        engine: ExecutionEngine | None = None,
        agent: Agent | None = None,
        operators: Iterable[object] | Mapping[str, object] = (),
        tools: Iterable[Tool | Callable[..., object]] = (),
        dispatcher: Dispatcher | None = None,
        policy_engine: PolicyEngine | Iterable[PolicyEngine] | None = None,
        prices: PriceBook | None = None,
        retry: RetryPolicy | None = None,
        orchestration: OrchestrationConfig | None = None,
        projections: Iterable[Projection] = (),
        checks: Iterable[Check] | Mapping[str, Check] = (),
        agents: AgentRegistry | None = None,
        worker: bool = True,
    ) -> None:
        from agent_runtime.settings import Settings, make_default_folder

        self.settings = settings or Settings.load()
        self._own_engine = _engine(self.settings) if engine is None and agent is None else None
        self._own_agents = _agents(self.settings) if agents is None else None
        self._storage = open_storage(
            self.settings.storage, durability=self.settings.durability, redis_url=self.settings.redis_url
        )
        make_default_folder(self.settings.storage)
        self.kernel = RuntimeKernel(
            engine=engine or self._own_engine,
            agent=agent,
            storage=self._storage,
            operators=operators,
            tools=tools,
            dispatcher=dispatcher,
            policy_engine=_policy(self.settings) if policy_engine is None else policy_engine,
            prices=prices,
            retry=retry,
            orchestration=orchestration,
            projections=projections,
            checks=checks,
            agents=self._own_agents if agents is None else agents,
            options=self.settings.kernel_options(),
            worker=worker,
        )

    async def aclose(self) -> None:
        """Stop the kernel, and close the storage and the engine made here. Idempotent."""
        owned = [one.aclose for one in (self._own_engine, self._own_agents) if one is not None]
        await stopped(self.kernel.aclose, self._storage.aclose, *owned)

    async def __aenter__(self) -> Runtime:
        try:
            await self.kernel.start()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def _policy(settings: Settings) -> PolicyEngine | None:
    """Return what the settings' policy file says."""
    if settings.policy is None:
        return None
    from agent_runtime.policy.engine import PolicyEngine

    try:
        return PolicyEngine.from_yaml(settings.policy)
    except OSError as error:
        raise ConfigurationError(
            f"the policy file {settings.policy!r} cannot be read: {error.strerror}"
        ) from error


def _agents(settings: Settings) -> AgentRegistry | None:
    """Return what the settings' files say of agents."""
    if settings.agents is None:
        return None
    from agent_runtime.residents.definitions import AgentRegistry

    registry = AgentRegistry()
    registry.load(settings.agents)
    return registry


Application = Runtime | RuntimeKernel


def _engine(settings: Settings) -> ExecutionEngine | None:
    if settings.model is None:
        return None
    from llm_client.engine.engine import ExecutionEngine

    return ExecutionEngine(make_provider(settings.model, settings.base_url))


def make_provider(model: str, base_url: str | None = None) -> Provider:
    """Return the provider of a model.

    Args:
        model: `vendor:model`; with `base_url` the vendor may be left out.
        base_url: Where its API is. Without a vendor, or with `openai`, the server there is one that is compatible with
            OpenAI's Chat Completions, and needs no key unless it says so. Only with `openai` are OpenAI's prices used.

    Raises:
        ConfigurationError: The model names no vendor, or an unknown one.
    """
    from llm_client.providers.openai.provider import OpenAIProvider
    from llm_client.providers.registry import create_provider, known_prefixes

    if base_url is None:
        return create_provider(model)
    address = url_parts(base_url)
    if address.scheme not in ("http", "https") or not address.netloc:
        raise ConfigurationError(f"{base_url!r} is not an address; write http://host:port/v1")
    vendor, separator, name = model.partition(":")
    if separator and vendor.lower() in known_prefixes() and vendor.lower() != "openai":
        return create_provider(model, base_url=base_url)
    if separator and vendor.lower() == "openai":
        return OpenAIProvider(name, base_url=base_url, key_required=False)
    return OpenAIProvider(model, base_url=base_url, key_required=False, name="compatible")


def import_object(path: str) -> object:
    """Return what `module:attribute` names; the current folder is searched first, as `python -m` does.

    Raises:
        ConfigurationError: The text has another form, the module cannot be imported, or it has no such attribute.
    """
    module_name, separator, attribute = path.partition(":")
    if not (separator and module_name and attribute):
        raise ConfigurationError(
            f"{path!r} says no module and what of it is meant: write module:attribute, such as shop:app"
        )
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        found: Any = importlib.import_module(module_name)
    except ConfigurationError as error:  # a module that makes its application itself
        raise ConfigurationError(f"{error} (which {module_name!r} says when it is imported)") from error
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise ConfigurationError(f"{module_name!r} cannot be imported: {reason}") from error
    for name in attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise ConfigurationError(f"module {module_name!r} has no {attribute!r}") from None
    return found


def load_app(path: str) -> Application | Awaitable[Application]:
    """Return the application that `module:attribute` names: a `Runtime`, a `RuntimeKernel`, or what a factory makes.

    A factory that is an async function is called, and what it returns is to be awaited with `made_app` where the application is to
    live: it may open connections.

    Raises:
        ConfigurationError: It names something else, or the factory cannot be called.
    """
    found = import_object(path)
    if not isinstance(found, Runtime | RuntimeKernel) and callable(found):
        try:
            found = found()
        except TypeError as error:
            raise ConfigurationError(
                f"{path!r} is no factory: it cannot be called without arguments: {error}"
            ) from error
    if inspect.isawaitable(found):
        return _awaited_app(path, found)
    return _checked_app(path, found)


async def made_app(loaded: Application | Awaitable[Application]) -> Application:
    """Return what `load_app` has found. Raises `ConfigurationError` if its factory has made something else."""
    return loaded if isinstance(loaded, Runtime | RuntimeKernel) else await loaded


async def _awaited_app(path: str, made: Awaitable[object]) -> Application:
    return _checked_app(path, await made)


def _checked_app(path: str, found: object) -> Application:
    if not isinstance(found, Runtime | RuntimeKernel):
        raise ConfigurationError(f"{path!r} is a {type(found).__name__}, not a Runtime or a RuntimeKernel")
    return found


def uses_storage(application: Application, url: str) -> bool:
    """Whether an application keeps its jobs where a URL says. One whose storage does not tell where it is is taken at its word: it does not."""
    if isinstance(application, Runtime):
        return application.settings.storage == url
    storage = application.storage
    path = sqlite_path(url)
    if path is not None:
        own: Path | None = getattr(storage, "path", None)
        return own is not None and own == path.absolute()
    return getattr(storage, "dsn", None) == url


def storage_url_of(application: Application) -> str | None:
    """Return where an application keeps its jobs, for others to open it; `None` where that is its memory, or does not tell where it is."""
    from agent_runtime.settings import storage_url

    if isinstance(application, Runtime):
        return application.settings.storage
    path: Path | None = getattr(application.storage, "path", None)
    dsn: str | None = getattr(application.storage, "dsn", None)
    return dsn if path is None else storage_url(path)


def erasers_of(storage: Storage) -> tuple[LogEraser, ...]:
    """Return what keeps content beside a storage's own tables, and takes it away when somebody's is erased.

    Whoever adds a table, a folder or an index with content adds its `Eraser` here; a test looks for tables without one.
    """
    from agent_runtime.observability.sql.catching_up import StoredLogEraser
    from agent_runtime.observability.sql.database import has_logs

    return (StoredLogEraser(storage),) if has_logs(storage) else ()
