"""`MailManager`: mail among agents, and between agents and people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from agent_runtime.errors import InvalidInput, UnknownAgent, UnknownMessage
from agent_runtime.ports.agents import (
    AgentChange,
    AgentMessage,
    Agents,
    AgentView,
    Look,
    MailStatus,
    MessageKind,
    MessageStatus,
    Priority,
)
from agent_runtime.ports.clock import Clock
from agent_runtime.ports.current_job import after_the_journal
from agent_runtime.ports.ids import new_id
from agent_runtime.residents import states
from agent_runtime.residents.manager import MAX_PAGE, MAX_PAGE_BYTES
from agent_runtime.residents.settings import as_priority
from agent_runtime.values.checks import can_be_id, check_seconds, check_text, check_whole
from agent_runtime.values.content import decode, encode
from agent_runtime.values.context import DEFAULT_SCOPE
from agent_runtime.values.message import MAX_MESSAGE_BYTES, check_identity
from llm_client.turns import aside

MAX_SUBJECT: Final = 1000
"""Characters of a subject."""
MAX_SEARCHED: Final = 5000
"""Mails that one search looks through, the newest first."""
_MAIL: Final = (MessageKind.MAIL,)


@after_the_journal()
class MailManager:
    """Mail. Each belongs to a mailbox – an agent's, or that of a person to whom an agent has replied – and to a thread.

    Args:
        agents: Where it is kept.
        clock: What time it is.
    """

    def __init__(self, agents: Agents, clock: Clock) -> None:
        self._agents = agents
        self._clock = clock

    async def send(
        self,
        to: str | None,
        subject: str,
        body: str,
        *,
        sender: str | None = None,
        priority: Priority | str = Priority.NORMAL,
        reply_to: str | None = None,
        dedupe_key: str | None = None,
        expires_in: float | None = None,
        scope_id: str = DEFAULT_SCOPE,
    ) -> AgentMessage:
        """Send a mail, and return it as it waits.

        Args:
            to: An agent; a reply goes to whoever sent the mail, who may be a person, where this is `None`.
            subject: What it is about, up to 1,000 characters.
            body: What it says.
            sender: Who sends it; nobody can reply to a mail without a sender.
            priority: How much it matters; what is high enough wakes an agent that sleeps.
            reply_to: The mail that this one answers; both are of one thread then.
            dedupe_key: A second mail with the same key, to the same mailbox, is not sent: the first one is returned.
            expires_in: Seconds after which an agent does not handle it any more.
            scope_id: The scope.

        Raises:
            UnknownAgent: There is no such recipient; nothing was sent.
            UnknownMessage: There is no mail that could be replied to, or it is somebody else's.
            InboxFull: Too many messages wait for the agent; nothing was sent.
            InvalidInput: A value cannot be stored.
        """
        scope, now = check_text("scope_id", scope_id), self._clock.now()
        if sender is not None:
            check_identity("sender", sender)
        if expires_in is not None:
            check_seconds("expires_in", expires_in, zero=False)
        content = await aside(_content, subject, body)
        answered = None if reply_to is None else await self._answered(reply_to, sender, scope)
        recipient, mail_id = _recipient(to, answered), new_id("mail")
        mail = AgentMessage(
            message_id=mail_id,
            scope_id=scope,
            mailbox=recipient,
            kind=MessageKind.MAIL,
            priority=as_priority("priority", priority),
            sender=sender,
            dedupe_key=None if dedupe_key is None else check_text("dedupe_key", dedupe_key),
            thread_id=mail_id if answered is None else answered.thread_id,
            reply_to=reply_to,
            mail_status=MailStatus.UNREAD,
            sent_at=now,
            not_before=now,
            expires_at=None if expires_in is None else now + timedelta(seconds=expires_in),
            content=content,
        )
        sent = await self._deliver(mail, to_person=answered is not None and recipient == answered.sender)
        if answered is not None and answered.mailbox == sender:
            await self._set_status(answered, MailStatus.REPLIED)
        return sent

    async def _deliver(self, mail: AgentMessage, *, to_person: bool) -> AgentMessage:
        """Put a mail into its mailbox, which may be that of a person who has written before."""

        def arrived(view: AgentView) -> AgentChange[AgentMessage]:
            if view.agent is not None or not to_person:
                return states.arrived(view, mail, mail.sent_at)
            if view.known is not None:
                return AgentChange(answer=view.known)
            delivered = replace(mail, status=MessageStatus.DONE, ended_at=mail.sent_at)  # no turn handles it
            return AgentChange(answer=delivered, messages=[delivered])

        look = Look(dedupe_key=mail.dedupe_key)
        return await self._agents.change_agent(
            mail.scope_id, mail.mailbox, arrived, at=mail.sent_at, look=look
        )

    async def _answered(self, mail_id: str, sender: str | None, scope_id: str) -> AgentMessage:
        """Return the mail that somebody wants to reply to, which they have received or sent themselves."""
        found = await self.get(mail_id, scope_id=scope_id)
        if sender is None or sender not in (found.mailbox, found.sender):
            raise UnknownMessage("no mail to or from this sender has this id")
        return found

    async def get(self, mail_id: str, *, scope_id: str = DEFAULT_SCOPE) -> AgentMessage:
        """Return a mail with its content. Raises `UnknownMessage`."""
        scope, found = check_text("scope_id", scope_id), None
        if can_be_id(mail_id):
            found = await self._agents.get_agent_message(scope, mail_id)
        if found is None or found.kind is not MessageKind.MAIL:
            raise UnknownMessage("no mail of this scope has this id")
        return found

    async def list(
        self,
        mailbox: str | None = None,
        *,
        thread_id: str | None = None,
        before: tuple[datetime, str] | None = None,
        limit: int = 100,
        scope_id: str = DEFAULT_SCOPE,
    ) -> Sequence[AgentMessage]:
        """Return mail, the newest first.

        Args:
            mailbox: Whose; `None` for all of the scope.
            thread_id: Of this thread.
            before: `sent_at` and `message_id` of the last one of the page before.
            limit: How many at most; there are fewer where they are long.
            scope_id: The scope.
        """
        check_whole("limit", limit, least=1, most=MAX_PAGE)
        if not all(can_be_id(one) for one in (mailbox, thread_id) if one is not None):
            return []
        return await self._agents.list_agent_messages(
            check_text("scope_id", scope_id),
            mailbox,
            kinds=_MAIL,
            thread_id=thread_id,
            before=before,
            limit=limit,
            max_bytes=MAX_PAGE_BYTES,
        )

    async def search(
        self, mailbox: str, words: str, *, limit: int = 100, scope_id: str = DEFAULT_SCOPE
    ) -> Sequence[AgentMessage]:
        """Return mail of a mailbox in which all of some words stand – sender, subject and body –, the newest first.

        The newest 5,000 mails are looked through.
        """
        check_whole("limit", limit, least=1, most=MAX_PAGE)
        wanted = words.casefold().split()
        found: list[AgentMessage] = []
        before, looked = None, 0
        while looked < MAX_SEARCHED and len(found) < limit:
            page = await self.list(mailbox, before=before, limit=500, scope_id=scope_id)
            if not page:
                break
            found += await aside(lambda page=page: [one for one in page if _has(one, wanted)])
            before, looked = (page[-1].sent_at, page[-1].message_id), looked + len(page)
        return found[:limit]

    async def set_status(
        self, mail_id: str, status: MailStatus | str, *, scope_id: str = DEFAULT_SCOPE
    ) -> AgentMessage:
        """Say what has become of a mail for its reader; it changes nothing about what an agent handles.

        Raises:
            UnknownMessage: There is no such mail.
            InvalidInput: There is no such status.
        """
        if status not in list(MailStatus):
            raise InvalidInput(f"status is one of {', '.join(MailStatus)}")
        mail = await self.get(mail_id, scope_id=scope_id)
        await self._set_status(mail, MailStatus(status))
        return replace(mail, mail_status=MailStatus(status))

    async def _set_status(self, mail: AgentMessage, status: MailStatus) -> None:
        def changed(view: AgentView) -> AgentChange[None]:
            seen = view.messages.get(mail.message_id)
            if seen is None or seen.mail_status is status:
                return AgentChange(answer=None)
            return AgentChange(answer=None, messages=[replace(seen, mail_status=status)])

        look = Look(message_ids=[mail.message_id])
        await self._agents.change_agent(mail.scope_id, mail.mailbox, changed, at=self._clock.now(), look=look)


def _recipient(to: str | None, answered: AgentMessage | None) -> str:
    """Return whose mailbox a mail is for. Raises `UnknownAgent`, `InvalidInput`."""
    if to is None:
        if answered is None:
            raise InvalidInput("a mail needs a recipient, or a mail that it answers")
        if answered.sender is None:
            raise UnknownAgent("the mail has no sender to whom one could reply")
        return answered.sender
    if not can_be_id(to):
        raise UnknownAgent("no agent has this name, or none of this scope")
    return to


def _content(subject: object, body: object) -> bytes:
    if not isinstance(subject, str) or len(subject) > MAX_SUBJECT:
        raise InvalidInput(f"subject is a text of at most {MAX_SUBJECT:,} characters")
    if not isinstance(body, str):
        raise InvalidInput("body is a text")
    return encode({"subject": subject, "body": body}, limit=MAX_MESSAGE_BYTES)


def _has(mail: AgentMessage, words: Sequence[str]) -> bool:
    told = {} if mail.content is None else decode(mail.content)
    text = f"{mail.sender or ''}\n{told.get('subject', '')}\n{told.get('body', '')}".casefold()
    return all(word in text for word in words)
