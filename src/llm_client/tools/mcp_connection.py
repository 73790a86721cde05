"""A connection to an MCP server: the SDK's client in a task of its own, and what the server has said of its tools on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llm_client.background import CLEAN_UP_SECONDS, begin, drained, ended
from llm_client.errors import LLMClientError, ToolError
from llm_client.logs import logger_of
from llm_client.tools.mcp_bounds import BoundedServer
from llm_client.tools.mcp_stdio import StdioProgram
from llm_client.turns import aside

if TYPE_CHECKING:
    import httpx2
    from mcp import Client


logger = logger_of(__name__)


@dataclass(frozen=True, slots=True)
class Made:
    """A client that is not connected yet, and what is under it."""

    client: Client
    requests: BoundedServer
    http_client: httpx2.AsyncClient | None = None
    program: StdioProgram | None = None


class Connection:
    """An open client, entered and left in one task, as its cancel scopes demand."""

    def __init__(self, make: Callable[[], Made]) -> None:
        self._make = make
        self._made: Made | None = None
        self.definitions: dict[str, str] | None = None
        """What the server has said of its tools, as hashes; `None` until it is asked."""
        self.listing = asyncio.Lock()
        """Held while the server is asked for its tools."""
        self._changes = 0
        self._told_at = -1
        self._listening: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()
        self._opened: asyncio.Future[Client] | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def is_known(self) -> bool:
        """Whether the server has told its tools on this connection before."""
        return self.definitions is not None

    @property
    def is_fresh(self) -> bool:
        """Whether the server would say of a change of its tools, and has said of none since it told them."""
        return self.definitions is not None and self._told_at == self._changes

    def changed(self) -> None:
        """Take down that the tools may be other ones from now on."""
        self._changes += 1

    async def listened(self) -> int:
        """Have the server say of changes from now on, as it can, and return what to give to `told` with its answer."""
        self._told_at = -1
        client = self.client
        tools = client.server_capabilities.tools
        says = tools is not None and tools.list_changed
        if says and (self._listening is None or self._listening.done()) and _is_subscribed_to(client):
            heard = asyncio.Event()
            self._listening = begin(self._listen(client, heard), name="MCP changes")
            await heard.wait()
        return self._changes

    def told(self, definitions: dict[str, str], at: int) -> None:
        """Keep what the server has said of its tools; `at` is what `listened` gave before."""
        self.definitions, self._told_at = definitions, at

    async def _listen(self, client: Client, heard: asyncio.Event) -> None:
        """Hear of changes until the server stops telling of them: then nobody knows, until it is asked again."""
        from mcp import MCPError
        from mcp.client.subscriptions import SubscriptionLost

        try:
            async with client.listen(tools_list_changed=True) as told:
                heard.set()
                async for _ in told:
                    self.changed()
        except (MCPError, SubscriptionLost) as error:
            logger.info("an MCP server does not say when its tools change: %s", error)
        finally:
            self.changed()
            heard.set()

    @property
    def client(self) -> Client:
        """The SDK's client. Raises `ToolError` when there is none."""
        if self._opened is None:
            raise ToolError("the MCP server is not connected")
        return self._opened.result()

    @property
    def lost(self) -> bool:
        """Whether it has ended, has never been open, or is of a session that the server has forgotten."""
        return self._task is None or self._task.done() or self.is_forgotten

    @property
    def is_forgotten(self) -> bool:
        """Whether the server does not know the session any more: each further request would be refused."""
        return self._made is not None and self._made.requests.has_forgotten

    @property
    def fault(self) -> str | None:
        """Why the server was given up, if it was."""
        if self._made is None:
            return None
        program = self._made.program
        return self._made.requests.fault or (None if program is None else program.fault)

    async def open(self, timeout: float) -> None:
        """Connect within so many seconds. Raises `ToolError` when that fails."""
        self._opened = asyncio.get_running_loop().create_future()
        self._task = begin(self._live(self._opened), name="MCP connection")
        try:
            async with asyncio.timeout(timeout):
                await asyncio.shield(self._opened)
        except TimeoutError:
            await self.close()
            raise ToolError(f"the MCP server did not answer within {timeout:g} seconds") from None
        except BaseException:
            await self.close()
            raise

    async def _live(self, opened: asyncio.Future[Client]) -> None:
        try:
            self._made = await aside(self._make)
            self._made.client.message_handler = self._hear
            async with self._made.client as client:
                # The SDK checks results against the server's own schemas, slow patterns included.
                client.session.validate_tool_result = _unchecked  # type: ignore[method-assign]  # no other way to keep it from doing so
                opened.set_result(client)
                await self._stop.wait()
                await ended(self._listening)
        except Exception as error:  # noqa: BLE001 -- becomes the failure of `open`, or ends what is lost anyway
            if not opened.done():
                opened.set_exception(
                    error if isinstance(error, LLMClientError) else _unreachable(error, self.fault)
                )
        finally:
            if not opened.done():
                opened.cancel()
            if self._made is not None and self._made.http_client is not None:
                await self._made.http_client.aclose()

    async def _hear(self, message: object) -> None:
        """Take a notification: of the older protocol's, only one matters here."""
        from mcp_types import ToolListChangedNotification

        if isinstance(message, ToolListChangedNotification):
            self.changed()

    async def close(self) -> None:
        """End the connection, and the program under it; may be called twice."""
        self._stop.set()
        task = self._task
        if task is None or task.done():
            return
        is_open = self._opened is not None and self._opened.done()
        await drained((task,), seconds=None if is_open else 0, again=CLEAN_UP_SECONDS)


def _is_subscribed_to(client: Client) -> bool:
    """Whether a server's protocol has changes told to those only who have asked for it."""
    from mcp_types.version import MODERN_PROTOCOL_VERSIONS

    return client.protocol_version in MODERN_PROTOCOL_VERSIONS


def _unreachable(error: BaseException, fault: str | None) -> ToolError:
    """Return the first plain error inside nested groups as one that says what happened."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return ToolError(f"the MCP server cannot be reached: {fault or f'{type(error).__name__}: {error}'}")


async def _unchecked(name: str, result: Any) -> None:
    """Let a tool's result pass: it is data for a model, whatever its server says of it."""
