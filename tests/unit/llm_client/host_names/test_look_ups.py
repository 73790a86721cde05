"""Looking hosts' names up, and connecting to the first of several addresses that answers."""

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from llm_client.host_names import look_ups
from llm_client.host_names.look_ups import Address, HostNames, addresses_of, first_of

V4, V6 = socket.AF_INET, socket.AF_INET6
HERE = Address(V4, "127.0.0.1")


class Server:
    """Answers when it is told to."""

    def __init__(self, patch: pytest.MonkeyPatch, *answers: Any) -> None:
        self.asked = 0
        self.go = threading.Event()
        self._answers = list(answers)
        patch.setattr(socket, "getaddrinfo", self._look_up)

    def _look_up(self, host: str, port: Any, **_: Any) -> Any:
        self.asked += 1
        answer = self._answers.pop(0) if self._answers else [HERE]
        self.go.wait(10)
        if isinstance(answer, Exception):
            raise answer
        return [(one.family, socket.SOCK_STREAM, 6, "", (one.host, port)) for one in answer]


async def asked(server: Server, times: int) -> None:
    while server.asked < times:
        await asyncio.sleep(0.001)


async def test_an_address_is_its_own_and_a_name_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(monkeypatch, [Address(V6, "::1"), HERE, HERE])
    server.go.set()
    assert await addresses_of("127.0.0.1") == [HERE]
    assert await addresses_of("::1") == [Address(V6, "::1")]
    assert server.asked == 0
    assert await addresses_of("name.example") == [Address(V6, "::1"), HERE]


async def test_those_who_ask_for_one_name_share_a_look_up_and_one_who_goes_takes_it_from_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server, found = Server(monkeypatch), HostNames(asyncio.get_running_loop())
    tasks = [asyncio.create_task(found.addresses("a.example")) for _ in range(100)]
    await asked(server, 1)
    tasks[0].cancel()
    server.go.set()
    assert await asyncio.gather(*tasks[1:]) == [[HERE]] * 99
    assert server.asked == 1


async def test_what_hangs_is_looked_up_again_a_few_times_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look_ups, "PATIENCE", 0.0)
    server, found = Server(monkeypatch), HostNames(asyncio.get_running_loop())
    tasks = [asyncio.create_task(found.addresses("a.example")) for _ in range(100)]
    await asked(server, look_ups.THREADS_OF_ONE)
    other = asyncio.create_task(found.addresses("b.example"))
    await asked(server, look_ups.THREADS_OF_ONE + 1)
    server.go.set()
    assert await asyncio.gather(*tasks, other) == [[HERE]] * 101
    assert server.asked == look_ups.THREADS_OF_ONE + 1


@pytest.mark.parametrize(
    "answer", [socket.gaierror(socket.EAI_NONAME, "unknown"), []], ids=["unknown", "nowhere"]
)
async def test_a_name_that_nobody_knows_is_said_so_and_asked_for_again(
    answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, found = Server(monkeypatch, answer), HostNames(asyncio.get_running_loop())
    server.go.set()
    with pytest.raises(OSError, match=r"unknown|leads to no address"):
        await found.addresses("a.example")
    assert await found.addresses("a.example") == [HERE]


class Lines:
    """Connections to addresses, by what becomes of them."""

    def __init__(self, **becomes: Callable[[], Any]) -> None:
        self._becomes = becomes
        self.tried: list[str] = []
        self.closed: list[str] = []

    async def connect(self, address: Address) -> str:
        self.tried.append(address.host)
        return str(await self._becomes[address.host]())

    async def close(self, line: str) -> None:
        self.closed.append(line)


async def fails() -> str:
    raise ConnectionRefusedError("refused")


async def hangs() -> str:
    await asyncio.sleep(60)
    return "late"


async def comes() -> str:
    return "line"


A, B, C = Address(V6, "a"), Address(V6, "b"), Address(V4, "c")


async def test_the_next_address_is_tried_when_one_fails_or_hangs_and_those_of_another_family_come_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(look_ups, "STAGGER", 0.01)
    lines = Lines(a=fails, b=comes, c=hangs)
    assert await first_of([A, B, C], lines.connect, lines.close) == "line"
    assert lines.tried == ["a", "c", "b"]


async def test_where_all_fail_the_first_failure_is_said() -> None:
    lines = Lines(a=fails, c=fails)
    with pytest.raises(ConnectionRefusedError):
        await first_of([A, C], lines.connect, lines.close)
    assert lines.tried == ["a", "c"]


async def test_what_comes_too_late_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look_ups, "STAGGER", 0.001)
    both = asyncio.Event()

    async def together() -> str:
        await both.wait()
        return "line"

    lines = Lines(a=together, c=together)
    task = asyncio.create_task(first_of([A, C], lines.connect, lines.close))
    while len(lines.tried) < 2:
        await asyncio.sleep(0.001)
    both.set()
    assert await task == "line"
    while not lines.closed:
        await asyncio.sleep(0.001)
    assert lines.closed == ["line"]


async def test_a_process_without_threads_looks_names_up_again_when_it_has_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server, names = Server(monkeypatch), HostNames(asyncio.get_running_loop())
    server.go.set()
    with monkeypatch.context() as without:

        def refuse(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        without.setattr(threading.Thread, "start", refuse)
        for _ in range(2 * look_ups.THREADS_OF_ONE):
            with pytest.raises(OSError, match="no thread"):
                await names.addresses("a.example")
    assert await names.addresses("a.example") == [HERE]


async def test_who_waits_for_a_name_goes_on_waiting_when_another_has_no_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(look_ups, "PATIENCE", 0.0)
    server, names = Server(monkeypatch), HostNames(asyncio.get_running_loop())
    first = asyncio.create_task(names.addresses("a.example"))
    await asked(server, 1)
    with monkeypatch.context() as without:

        def refuse(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        without.setattr(threading.Thread, "start", refuse)
        second = asyncio.create_task(names.addresses("a.example"))
        await asyncio.sleep(0.01)
    server.go.set()
    assert await asyncio.gather(first, second) == [[HERE], [HERE]]


async def test_what_can_be_no_name_leads_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(monkeypatch, UnicodeError("label empty or too long"))
    server.go.set()
    with pytest.raises(OSError, match="can be no host's name"):
        await HostNames(asyncio.get_running_loop()).addresses("a..example")
