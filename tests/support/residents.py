"""What the tests of resident agents share: records of turns and doings in memory, and a kernel around one agent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from agent_runtime import ExecutionRequest, ExecutionResult, RuntimeKernel
from agent_runtime.errors import InvalidInput, UnknownMessage
from agent_runtime.ports.agents import AgentMessage, MailStatus, MessageKind, Priority
from agent_runtime.residents.definitions import AgentRegistry
from agent_runtime.residents.memory import remembered
from agent_runtime.residents.rendering import mail_fields
from agent_runtime.residents.settings import AgentSettings
from agent_runtime.residents.turn import Turn, operator_of, turns_of
from agent_runtime.values.content import decode, encode
from llm_client.codec import load_message
from llm_client.json_text import JsonObject
from support.kernels import BOUND, kernel

NOW = datetime(2026, 11, 30, 9, 0, tzinfo=UTC)


def message(content: Any, kind: MessageKind = MessageKind.TASK, **more: Any) -> AgentMessage:
    known = {"message_id": "msg-1", "scope_id": "acme", "mailbox": "duty", "sent_at": NOW, "not_before": NOW}
    return AgentMessage(**{**known, "kind": kind, "content": encode(content), **more})


@dataclass
class Records:
    """Turns of one agent in memory, and how often each thing was done to them."""

    messages: dict[str, AgentMessage] = field(default_factory=dict)
    config: JsonObject = field(default_factory=dict)
    memory: bytes | None = None
    results: dict[str, Any] = field(default_factory=dict)
    continuations: list[tuple[int, str]] = field(default_factory=list)
    begun: int = 0
    completed: list[bool] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    """What the next acknowledgements raise, after they have done their work."""

    async def begin(self, scope_id: str, agent_id: str, message_id: str) -> Turn:
        self.begun += 1
        if (scope_id, agent_id) != ("acme", "duty") or message_id not in self.messages:
            raise UnknownMessage
        return Turn(message=self.messages[message_id], config=self.config, memory=self.memory)

    async def continued(
        self, scope_id: str, agent_id: str, message_id: str, job_id: str, *, number: int, reason: str
    ) -> None:
        self.continuations.append((number, reason))

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
        is_new = message_id not in self.results
        if is_new:
            self.results[message_id] = decode(result)
            settings = AgentSettings.from_json(self.config)
            self.memory = remembered(self.memory, [load_message(one) for one in added], settings)
        self.completed.append(is_new)
        if self.failures:
            raise self.failures.pop(0)
        return is_new


@dataclass
class Done:
    """What agents have done, once for each key."""

    mail: dict[str, AgentMessage] = field(default_factory=dict)
    told: dict[str, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)
    sleeps: list[dict[str, Any]] = field(default_factory=list)
    known: frozenset[str] = frozenset({"duty", "night", "anna"})

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
        if to not in self.known:
            raise InvalidInput("nobody has this name")
        sent = message(
            {"subject": subject, "body": body},
            MessageKind.MAIL,
            message_id=f"mail-{len(self.mail) + 1}",
            mailbox=to,
            sender=sender,
            scope_id=scope_id,
            priority=Priority[priority.upper()],
            reply_to=reply_to,
            mail_status=MailStatus.UNREAD,
        )
        return self.mail.setdefault(dedupe_key, sent)

    async def list_mail(
        self, scope_id: str, mailbox: str, *, thread_id: str | None = None, limit: int = 100
    ) -> Sequence[AgentMessage]:
        found = [one for one in self.mail.values() if (one.scope_id, one.mailbox) == (scope_id, mailbox)]
        return found[::-1][:limit]

    async def search_mail(
        self, scope_id: str, mailbox: str, words: str, *, limit: int = 100
    ) -> Sequence[AgentMessage]:
        wanted = words.casefold().split()
        found = [(one, str(mail_fields(one)).casefold()) for one in await self.list_mail(scope_id, mailbox)]
        return [one for one, text in found if all(word in text for word in wanted)][:limit]

    async def sleep(self, agent_id: str, *, scope_id: str, **conditions: Any) -> object:
        self.sleeps.append({"agent_id": agent_id, "scope_id": scope_id, **conditions})
        return None

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
        self.told.setdefault(dedupe_key, (event, data))
        return None


@dataclass
class Scene:
    """An agent named `duty`, and what its turns read and write."""

    registry: AgentRegistry
    records: Records = field(default_factory=Records)
    done: Done = field(default_factory=Done)

    def kernel(self, storage: Any = None, **options: Any) -> RuntimeKernel:
        turns = turns_of(self.registry, records=self.records, doings=self.done)
        return kernel(storage, operators=turns, **options)

    def request(self, content: Any = None, **more: Any) -> ExecutionRequest:
        """Put a message into the inbox, and return what has its turn run."""
        if content is not None:
            given = message(content, **more)
            self.records.messages[given.message_id] = given
        else:
            given = next(iter(self.records.messages.values()))
        return ExecutionRequest(
            operator=operator_of("duty"),
            input={"agent_id": "duty", "message_id": given.message_id},
            scope_id="acme",
        )

    async def turn(self, content: Any, **more: Any) -> ExecutionResult:
        """Handle one message, and return how its job has ended."""
        async with self.kernel() as host:
            handle = await host.execute(self.request(content, **more))
            return await handle.result(timeout=BOUND)
