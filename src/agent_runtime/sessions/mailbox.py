"""`Mailbox`: the mail of an agent, or of a person to whom agents reply."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from agent_runtime.errors import UnknownMessage
from agent_runtime.kernel.kernel import Kernel
from agent_runtime.ports.agents import AgentMessage, MailStatus, Priority
from agent_runtime.residents.rendering import mail_fields
from agent_runtime.values.context import DEFAULT_SCOPE
from llm_client.turns import aside


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """A mail."""

    mail_id: str
    thread_id: str | None
    """The mail that began the thread."""
    reply_to: str | None
    """The mail that it answers."""
    sender: str | None
    to: str
    subject: str
    body: str
    priority: Priority
    status: MailStatus
    sent_at: datetime

    @classmethod
    def of(cls, message: AgentMessage) -> Mail:
        """Return a message as a mail."""
        return cls(
            mail_id=message.message_id,
            thread_id=message.thread_id,
            reply_to=message.reply_to,
            sender=message.sender,
            to=message.mailbox,
            priority=message.priority,
            status=message.mail_status or MailStatus.UNREAD,
            sent_at=message.sent_at,
            **mail_fields(message),
        )


class Mailbox:
    """Mail to one agent or person, and from them.

    Args:
        kernel: Keeps and delivers it.
        owner: Whose mailbox; an agent's name, or a person's.
        scope_id: The scope.
    """

    def __init__(self, kernel: Kernel, owner: str, *, scope_id: str = DEFAULT_SCOPE) -> None:
        self._kernel = kernel
        self.owner = owner
        self._scope_id = scope_id

    async def send(
        self,
        to: str,
        subject: str,
        body: str,
        *,
        priority: Priority | str = Priority.NORMAL,
        dedupe_key: str | None = None,
        expires_in: float | None = None,
    ) -> Mail:
        """Send a mail to an agent, in the owner's name.

        Raises:
            UnknownAgent: There is no such recipient; nothing was sent.
            InboxFull: Too many messages wait for the agent; nothing was sent.
        """
        sent = await self._kernel.mail.send(
            to,
            subject,
            body,
            sender=self.owner,
            priority=priority,
            dedupe_key=dedupe_key,
            expires_in=expires_in,
            scope_id=self._scope_id,
        )
        return await aside(Mail.of, sent)

    async def reply(
        self, mail_id: str, body: str, *, subject: str | None = None, dedupe_key: str | None = None
    ) -> Mail:
        """Answer a mail, in its thread and with its priority.

        Raises:
            UnknownMessage: The owner has no such mail.
        """
        answered = await self._own(mail_id)
        sent = await self._kernel.mail.send(
            None,
            answered.subject if subject is None else subject,
            body,
            sender=self.owner,
            priority=answered.priority,
            reply_to=mail_id,
            dedupe_key=dedupe_key,
            scope_id=self._scope_id,
        )
        return await aside(Mail.of, sent)

    async def list(
        self, *, unread: bool = False, thread_id: str | None = None, limit: int = 100
    ) -> Sequence[Mail]:
        """Return the mail that has come, the newest first.

        Args:
            unread: Of this page, only what nobody has read.
            thread_id: Of this thread.
            limit: How many are looked at, at most.
        """
        found = await self._kernel.mail.list(
            self.owner, thread_id=thread_id, limit=limit, scope_id=self._scope_id
        )
        mails = await _mails(found)
        return [mail for mail in mails if mail.status is MailStatus.UNREAD] if unread else mails

    async def thread(self, thread_id: str, *, limit: int = 100) -> Sequence[Mail]:
        """Return a thread, the oldest mail first: what the owner has sent, and what they were sent."""
        found = await self._kernel.mail.list(thread_id=thread_id, limit=limit, scope_id=self._scope_id)
        mails = await _mails(found)
        return [mail for mail in reversed(mails) if self.owner in (mail.to, mail.sender)]

    async def search(self, words: str, *, limit: int = 100) -> Sequence[Mail]:
        """Return mail that has come in which all of some words stand, the newest first."""
        return await _mails(
            await self._kernel.mail.search(self.owner, words, limit=limit, scope_id=self._scope_id)
        )

    async def read(self, mail_id: str) -> Mail:
        """Return a mail that has come, and mark it as read. Raises `UnknownMessage`."""
        mail = await self._own(mail_id)
        if mail.status is MailStatus.UNREAD:
            await self._kernel.mail.set_status(mail_id, MailStatus.READ, scope_id=self._scope_id)
        return mail

    async def archive(self, mail_id: str) -> None:
        """Mark a mail that has come as archived. Raises `UnknownMessage`."""
        await self._own(mail_id)
        await self._kernel.mail.set_status(mail_id, MailStatus.ARCHIVED, scope_id=self._scope_id)

    async def _own(self, mail_id: str) -> Mail:
        found = await self._kernel.mail.get(mail_id, scope_id=self._scope_id)
        if found.mailbox != self.owner:
            raise UnknownMessage("no mail of this mailbox has this id")
        return await aside(Mail.of, found)


async def _mails(messages: Sequence[AgentMessage]) -> list[Mail]:
    return await aside(lambda: [Mail.of(message) for message in messages])
