"""The wait for a message."""

from __future__ import annotations

from dataclasses import replace

from agent_runtime.execution.branch import Branch
from agent_runtime.execution.operations.asking import Asked
from agent_runtime.execution.operations.receiving import message_of
from agent_runtime.ports.commit import NewEvent
from agent_runtime.values.event import RuntimeEvent, RuntimeEventType
from agent_runtime.values.message import InboxMessage


async def ask_for_message(branch: Branch, identity: str) -> Asked[InboxMessage]:
    """Return the wait for a message to an identity, at the next place of a line."""
    operation = branch.reach("message", identity)
    await branch.admit()

    async def read(received: RuntimeEvent) -> InboxMessage:
        return message_of(received)

    asked: Asked[InboxMessage] = Asked(operation_id=operation.id, kind="message", read=read)
    if operation.step is not None:
        return asked
    return replace(
        asked,
        events=[NewEvent(RuntimeEventType.MESSAGE_AWAITED, operation.id, {"name": identity})],
        parts={"receivers": [branch.run.mail.receiver(operation.id, identity)]},
    )
