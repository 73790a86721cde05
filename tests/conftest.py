"""What every test runs under: a watched event loop, and no network but this machine's own."""

import ipaddress
import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import settings
from pydantic import create_model

from support.databases import database, module_database, postgres_template
from support.services import postgres, postgres_dsn, redis_server, redis_url

__all__ = [  # fixtures for everybody
    "database",
    "module_database",
    "postgres",
    "postgres_dsn",
    "postgres_template",
    "redis_server",
    "redis_url",
]

settings.register_profile("agent-runtime", deadline=None)  # no test depends on how fast a machine is
settings.register_profile("quick", deadline=None, max_examples=10)  # what other interpreters are tried with
settings.load_profile("agent-runtime")

# A shell lets its background jobs ignore the first two, `nohup` the third, and whatever they start; our tests send them to what they have started.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("loadgroup", False):
        from support.distribution import name_groups

        name_groups(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    if config.getoption("dist") != "loadgroup":
        return None
    from support.distribution import Spread

    return Spread(config, log)


class NetworkForbiddenError(RuntimeError):
    """A test tried to reach another machine."""


@pytest.fixture(autouse=True, scope="session")
def blocked_loops_are_errors() -> Iterator[BlockBuster]:
    """Raise where our own code blocks a running event loop."""
    create_model("Warm")  # pydantic looks for plugins when the first model of a process is made
    with blockbuster_ctx(["llm_client", "agent_runtime"]) as guard:
        for function in guard.functions.values():  # a connection looks for a password file and certificates
            function.can_block_in("asyncpg/connect_utils.py", {"_parse_connect_dsn_and_args"})
            function.can_block_in("redis/utils.py", {"get_lib_version"})  # so does one of redis, for its own
            function.can_block_in(
                "cli/terminal.py", {"_read"}
            )  # a terminal that has said that there is something
            function.can_block_in("coverage/collector.py", {"lock_data"})  # that of the measuring, not ours
        yield guard


@pytest.fixture(autouse=True, scope="session")
def only_this_machine() -> Iterator[None]:
    """Refuse names and addresses that are not loopback; Unix sockets pass."""
    patch = pytest.MonkeyPatch()
    connect, connect_ex, resolve = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: Any) -> None:
        _refuse_others(self, address)
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        _refuse_others(self, address)
        return connect_ex(self, address)

    def guarded_resolve(host: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if isinstance(name, str) and name.endswith(".invalid"):  # reserved: never resolves, here or anywhere
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        if not _is_loopback(name):
            raise NetworkForbiddenError(f"a test tried to resolve {name!r}")
        return resolve(host, *args, **kwargs)

    patch.setattr(socket.socket, "connect", guarded_connect)
    patch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
    patch.setattr(socket, "getaddrinfo", guarded_resolve)
    yield
    patch.undo()


def _refuse_others(sock: socket.socket, address: Any) -> None:
    if sock.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(address[0]):
        raise NetworkForbiddenError(f"a test tried to connect to {address!r}")


def _is_loopback(host: str | None) -> bool:
    if host in (None, "", "localhost", "0.0.0.0", "::", socket.gethostname()):
        return True
    try:
        return ipaddress.ip_address(str(host).partition("%")[0]).is_loopback
    except ValueError:
        return False
