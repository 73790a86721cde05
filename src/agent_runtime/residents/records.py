"""`AgentRecords`: what a turn reads and writes, and what an agent can do in it, on the storage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from agent_runtime.errors import UnknownAgent, UnknownMessage
from agent_runtime.ports.agents import (
    TASK_CONTINUED,
    AgentChange,
    AgentMessage,
    Agents,
    AgentView,
    Look,
    MessageStatus,
    NewAgentEvent,
)
from agent_runtime.ports.clock import Clock
from agent_runtime.residents import states
from agent_runtime.residents.history import AgentHistory
from agent_runtime.residents.mail import MailManager
from agent_runtime.residents.manager import AgentManager
from agent_runtime.residents.memory import remembered
from agent_runtime.residents.settings import AgentSettings
from agent_runtime.residents.turn import Turn
from agent_runtime.values.public_data import public_error
from llm_client.codec import load_message
from llm_client.json_text import JsonObject
from llm_client.turns import aside


class AgentRecords:
    """What turns read and write, and what agents do in them.

    Args:
        agents: Where agents are kept.
        clock: What time it is.
        manager: Puts agents to sleep.
        mail: Sends and lists mail.
        history: Tells events.
    """

    def __init__(
        self,
        agents: Agents,
        clock: Clock,
        *,
        manager: AgentManager,
        mail: MailManager,
        history: AgentHistory,
    ) -> None:
        self._agents = agents
        self._clock = clock
        self._manager = manager
        self._mail = mail
        self._history = history

    async def begin(self, scope_id: str, agent_id: str, message_id: str) -> Turn:
        """Return what a turn begins with. Raises `UnknownAgent`, `UnknownMessage`."""
        agent = await self._agents.get_agent(scope_id, agent_id)
        if agent is None:
            raise UnknownAgent("the agent was removed")
        message = await self._agents.get_agent_message(scope_id, message_id)
        if message is None or message.mailbox != agent_id:
            raise UnknownMessage("the message is not there any more")
        if message.status in (MessageStatus.CANCELLED, MessageStatus.EXPIRED):
            raise UnknownMessage("the message was given up before its turn began")
        memory = await self._agents.agent_memory(scope_id, agent_id)
        return Turn(message=message, config=agent.config, memory=memory)

    async def continued(
        self, scope_id: str, agent_id: str, message_id: str, job_id: str, *, number: int, reason: str
    ) -> None:
        """Tell the history that a turn goes on after an answer."""
        said: dict[str, Any] = {"message_id": message_id, "job_id": job_id, "number": number}
        entry = NewAgentEvent(
            type=TASK_CONTINUED, agent_id=agent_id, data={**said, "reason": public_error(reason)}
        )
        await self._agents.add_agent_event(scope_id, entry, at=self._clock.now())

    async def complete(
        self,
        scope_id: str,
        agent_id: str,
        message_id: str,
        job_id: str,
        *,
        result: bytes,
        added: Sequence[JsonObject],
    ) -> bool:
        """Acknowledge a message, with its result and what the agent is to remember. Raises `UnknownAgent`, `UnknownMessage`."""
        messages = await aside(lambda: [load_message(dict(one)) for one in added])
        now = self._clock.now()

        def completed(view: AgentView) -> AgentChange[bool]:
            if view.agent is None:
                raise UnknownAgent("the agent was removed")
            memory = remembered(view.memory, messages, AgentSettings.from_json(view.agent.config))
            return states.completed(view, message_id, now, job_id=job_id, result=result, memory=memory)

        look = Look(message_ids=[message_id], memory=True)
        return await self._agents.change_agent(scope_id, agent_id, completed, at=now, look=look)

    async def send_mail(
        self,
        *,
        scope_id: str,
        sender: str,
        to: str,
        subject: str,
        body: str,
        priority: str,
        reply_to: str | None,
        dedupe_key: str,
    ) -> AgentMessage:
        """Send a mail, once for each key."""
        return await self._mail.send(
            to,
            subject,
            body,
            sender=sender,
            priority=priority,
            reply_to=reply_to,
            dedupe_key=dedupe_key,
            scope_id=scope_id,
        )

    async def list_mail(
        self, scope_id: str, mailbox: str, *, thread_id: str | None = None, limit: int = 100
    ) -> Sequence[AgentMessage]:
        """Return mails of a mailbox, the newest first."""
        return await self._mail.list(mailbox, thread_id=thread_id, limit=limit, scope_id=scope_id)

    async def search_mail(
        self, scope_id: str, mailbox: str, words: str, *, limit: int = 100
    ) -> Sequence[AgentMessage]:
        """Return mails of a mailbox in which all of some words stand, the newest first."""
        return await self._mail.search(mailbox, words, limit=limit, scope_id=scope_id)

    async def sleep(
        self,
        agent_id: str,
        *,
        scope_id: str,
        seconds: float | None = None,
        until: datetime | None = None,
        wake_events: Sequence[str] = (),
        wake_on_mail_priority: str | None = None,
        reason: str | None = None,
    ) -> object:
        """Have an agent sleep, from the end of its turns on."""
        return await self._manager.sleep(
            agent_id,
            seconds=seconds,
            until=until,
            wake_events=wake_events,
            wake_on_mail_priority=wake_on_mail_priority,
            reason=reason,
            scope_id=scope_id,
        )

    async def broadcast(
        self,
        event: str,
        data: Mapping[str, Any],
        *,
        priority: str,
        sender: str,
        scope_id: str,
        dedupe_key: str,
    ) -> object:
        """Tell all agents of a scope that listen, once for each key."""
        return await self._history.broadcast(
            event, data, priority=priority, sender=sender, dedupe_key=dedupe_key, scope_id=scope_id
        )
