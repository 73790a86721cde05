"""Looking up the addresses of hosts' names, beside everything else that is looked up or waited for.

asyncio looks names up in threads that everybody shares: a few names whose servers do not answer, which takes half a minute each, keep all
others from being looked up, and whatever else is done there. So each name has threads of its own, and few of them.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from llm_client.background import begin, in_background, leave

T = TypeVar("T")

THREADS_OF_ONE: Final = 4
"""Look-ups of one name at the same time; whoever asks beyond that waits for one of them."""
PATIENCE: Final = 2.0
"""Seconds after which whoever asks for a name begins a look-up of his own: what hangs may answer when it is asked again."""
STAGGER: Final = 0.25
"""Seconds after which the next address of a name is tried as well, as RFC 8305 has it."""
_SHOWN: Final = 100


class Address(NamedTuple):
    """Where a name leads."""

    family: socket.AddressFamily
    host: str


class _LookUp(NamedTuple):
    found: asyncio.Future[Sequence[Address]]
    begun_at: float


class HostNames:
    """The look-ups of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._open: dict[tuple[str, int], _LookUp] = {}
        self._threads: Counter[tuple[str, int]] = Counter()

    async def addresses(self, host: str, family: int = socket.AF_UNSPEC) -> Sequence[Address]:
        """Return where a name leads, the best first. An address is its own.

        Raises:
            OSError: Nobody knows the name.
        """
        if (literal := _literal(host)) is not None:
            return [literal]
        name = (host, family)
        known = self._open.get(name)
        is_late = known is not None and self._loop.time() - known.begun_at >= PATIENCE
        if known is None or (is_late and self._threads[name] < THREADS_OF_ONE):
            known = self._begin(name, known)
        return await asyncio.shield(known.found)

    def _begin(self, name: tuple[str, int], known: _LookUp | None) -> _LookUp:
        """Look a name up in a thread; whoever waits for it already is told by the first that knows."""
        found = self._loop.create_future() if known is None else known.found
        found.add_done_callback(_noticed)
        begun = self._open[name] = _LookUp(found, self._loop.time())
        self._threads[name] += 1
        thread = threading.Thread(target=self._work, args=(name, found), name="host-name", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the process may have no more of them, now
            if known is None:  # else another one looks it up already
                failure = OSError(f"no thread to look a name up in: {error}")
                self._told(name, found, (), failure)
            self._uncount(name)
        return begun

    def _work(self, name: tuple[str, int], found: asyncio.Future[Sequence[Address]]) -> None:
        addresses: Sequence[Address] = ()
        failure: BaseException | None = None
        try:
            addresses = _looked_up(*name)
        except BaseException as error:  # noqa: BLE001 -- carried over to those who wait, whatever it is
            failure = error
        try:
            self._loop.call_soon_threadsafe(self._ended, name, found, addresses, failure)
        except RuntimeError:  # the loop has been closed: nobody waits any more
            return

    def _ended(
        self,
        name: tuple[str, int],
        found: asyncio.Future[Sequence[Address]],
        addresses: Sequence[Address],
        failure: BaseException | None,
    ) -> None:
        self._uncount(name)
        self._told(name, found, addresses, failure)

    def _uncount(self, name: tuple[str, int]) -> None:
        self._threads[name] -= 1
        if not self._threads[name]:
            del self._threads[name]

    def _told(
        self,
        name: tuple[str, int],
        found: asyncio.Future[Sequence[Address]],
        addresses: Sequence[Address],
        failure: BaseException | None,
    ) -> None:
        if found.done():
            return
        if (known := self._open.get(name)) is not None and known.found is found:
            del self._open[name]
        if failure is None:
            found.set_result(addresses)
        else:
            found.set_exception(failure)


_NAMES: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, HostNames]] = WeakKeyDictionary()


async def addresses_of(host: str, family: int = socket.AF_UNSPEC) -> Sequence[Address]:
    """Return where a name leads, as `HostNames.addresses` of the running loop does."""
    loop = asyncio.get_running_loop()
    names = _NAMES.get(loop)
    if names is None:
        names = _NAMES[loop] = HostNames(loop)
    return await names.addresses(host, family)


async def first_of(
    addresses: Sequence[Address],
    connect: Callable[[Address], Awaitable[T]],
    close: Callable[[T], Awaitable[object]],
) -> T:
    """Return the connection to the first address that answers; another one is tried when one has failed, or takes long.

    Args:
        addresses: The best first; there is one at least.
        connect: Connects to one.
        close: Closes what came too late.

    Raises:
        Exception: What the first address failed with, if all have.
    """
    if len(addresses) == 1:
        return await connect(addresses[0])

    async def tried(address: Address) -> T:
        return await connect(address)

    tasks: list[asyncio.Task[T]] = []
    waiting: set[asyncio.Task[T]] = set()
    rest = list(reversed(_mixed(addresses)))
    winner: asyncio.Task[T] | None = None
    try:
        while winner is None and (rest or waiting):
            if rest:
                tasks.append(begin(tried(rest.pop()), name="connecting"))
                waiting.add(tasks[-1])
            done, waiting = await asyncio.wait(
                waiting, timeout=STAGGER if rest else None, return_when=asyncio.FIRST_COMPLETED
            )
            winner = next((task for task in done if task.exception() is None), None)
    finally:
        for task in tasks:
            if task is not winner:
                task.add_done_callback(lambda late: _close_late(late, close))
                leave(task)
    return (winner or tasks[0]).result()


def _close_late(task: asyncio.Task[T], close: Callable[[T], Awaitable[object]]) -> None:
    if task.cancelled() or task.exception() is not None:
        return

    async def closing() -> None:
        await close(task.result())

    in_background(closing(), name="closing a connection that came late")


def _mixed(addresses: Sequence[Address]) -> list[Address]:
    """Return addresses with those of another family between those of the first one's."""
    first = [one for one in addresses if one.family == addresses[0].family]
    others = [one for one in addresses if one.family != addresses[0].family]
    mixed: list[Address] = []
    while first or others:
        mixed += [queue.pop(0) for queue in (first, others) if queue]
    return mixed


def _literal(host: str) -> Address | None:
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return None
    return Address(socket.AF_INET6 if version == 6 else socket.AF_INET, host)


def _looked_up(host: str, family: int) -> Sequence[Address]:
    try:
        found: list[tuple[Any, ...]] = socket.getaddrinfo(host, None, family=family, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a part of it is empty or too long
        raise OSError(f"{host[:_SHOWN]!r} can be no host's name") from error
    kinds = (socket.AF_INET, socket.AF_INET6)
    addresses = [Address(one[0], str(one[4][0])) for one in found if one[0] in kinds]
    if not addresses:
        raise OSError(f"{host} leads to no address")
    return list(dict.fromkeys(addresses))


def _noticed(found: asyncio.Future[Sequence[Address]]) -> None:
    """Let a failure be one that nobody waits for any more."""
    if not found.cancelled():
        found.exception()
