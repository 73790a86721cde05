"""Everything one database does for the runtime."""

from __future__ import annotations

from typing import Protocol

from agent_runtime.ports.agents import Agents
from agent_runtime.ports.audit import Audit
from agent_runtime.ports.clock import Clock
from agent_runtime.ports.due import DueWork
from agent_runtime.ports.feed import Feed
from agent_runtime.ports.inbox import InboxReader
from agent_runtime.ports.journal import Journal, JournalReader
from agent_runtime.ports.keys import ApiKeys
from agent_runtime.ports.live_channel import LiveChannel
from agent_runtime.ports.readers import ActionLists, ActionReader, JobReader, LedgerReader, RuleReader
from agent_runtime.ports.retention import Retention
from agent_runtime.ports.schedules import Schedules
from agent_runtime.ports.workers import Workers


class Storage(
    Journal,
    JournalReader,
    DueWork,
    JobReader,
    ActionReader,
    ActionLists,
    LedgerReader,
    RuleReader,
    InboxReader,
    Workers,
    Retention,
    Feed,
    Audit,
    ApiKeys,
    Schedules,
    Agents,
    Protocol,
):
    """Everything one database does for the runtime."""

    @property
    def clock(self) -> Clock:
        """What time it is for all who share it: the server's, where there is one."""
        ...

    async def look_at_clock(self) -> None:
        """Compare the server's clock with this machine's, where there is one. `register_worker` does so, too."""
        ...

    @property
    def live_channel(self) -> LiveChannel | None:
        """How its processes tell each other what passes; `None` where only one of them can execute, or nothing carries it."""
        ...

    @property
    def is_durable(self) -> bool:
        """Whether what is committed survives the process."""
        ...

    @property
    def is_shared(self) -> bool:
        """Whether several processes may execute its jobs at the same time."""
        ...

    async def open(self) -> None:
        """Open it and create or check its tables. Idempotent. Raises `StorageError` with what to do."""
        ...

    async def acquire_executor(self) -> bool:
        """Become the process that executes this database's jobs, where there can be only one. Idempotent.

        Returns whether this process may execute. Where many may, it always does.
        """
        ...

    async def release_executor(self) -> None:
        """Give that place up for another process to take, and stay open. Idempotent.

        It is given up for every kernel on this storage; none of them executes anything any more.
        """
        ...

    async def aclose(self) -> None:
        """Finish what was handed in, give up the executor's place and close. Idempotent."""
        ...
