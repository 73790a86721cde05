"""Messages in a run: asking for one, taking it in the commit that records it, and giving back what nobody gets to see.

A message stays in its inbox until a commit of the job's owner both writes `message.received` and takes it, so it is in one
place only, whoever dies. Only the run's supervisor takes messages, in turn with draining signals: whatever is satisfied
first is first in the journal. What was taken for a wait that the code does not come back from – another one was faster, a
sibling failed, the time was up, the job ends – goes back with the commit that records that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime

from agent_runtime.errors import AlreadySettled, RunSuspended, StorageError
from agent_runtime.execution.idleness import Idleness
from agent_runtime.execution.journal.writer import JournalWriter
from agent_runtime.execution.waiters import Waiters, WaitingLine
from agent_runtime.ports.commit import NewEvent
from agent_runtime.ports.inbox import MessageChange
from agent_runtime.values.event import RuntimeEvent, RuntimeEventType
from agent_runtime.values.message import Address, InboxMessage, Receiver
from llm_client.json_text import JsonObject
from llm_client.logs import logger_of

logger = logger_of(__name__)


class Receiving:
    """The messages that a run waits for, and those that its code has not seen yet.

    Args:
        journal: The run's.
        waiters: Who waits.
        idleness: Checked when somebody has got something.
    """

    def __init__(self, journal: JournalWriter, waiters: Waiters, idleness: Idleness) -> None:
        self._journal = journal
        self._waiters = waiters
        self._idleness = idleness
        self.wanted = False
        """A branch waits for a message that may be there."""
        self._taking = asyncio.Lock()
        """Held while it is not known whether a message was taken, and for whom."""
        self.unseen: dict[str, WaitingLine] = {}
        """Where messages have arrived that the code has not got yet, by operation."""
        self._seen: set[str] = set()
        """Operations whose messages the code of this run has got."""

    def want(self) -> None:
        """Have the supervisor look into the inboxes."""
        self.wanted = True
        self._journal.lifecycle.attention.set()

    async def take(self) -> None:
        """Take a message for each branch that waits for one, as far as there are any; for the run's supervisor."""
        self.wanted = False
        try:
            for operation_id in self._waiters.of_kind("message"):
                await self._take_for(operation_id)
        except RunSuspended:
            return
        except StorageError as error:
            logger.warning("job %s: messages cannot be read yet: %s", self._journal.job.job_id, error)
            asyncio.get_running_loop().call_later(1.0, self.want)

    async def _take_for(self, operation_id: str) -> None:
        address = self._address(operation_id)
        while self._is_wanted(operation_id):
            message = await self._journal.services.storage.next_message(address)
            if message is None or not self._is_wanted(operation_id):
                return
            async with self._taking:
                try:
                    await self._journal.commit(
                        [_received(operation_id, message)],
                        message_changes=[
                            MessageChange(message.message_id, address, None, self._journal.job.job_id)
                        ],
                        drop_receivers=[self.receiver(operation_id, address.identity)],
                    )
                except AlreadySettled:  # another job was faster
                    continue
                self._hand_over(operation_id)

    def _is_wanted(self, operation_id: str) -> bool:
        """Whether a branch still waits for a message, and nothing else has decided what it waits for."""
        lifecycle, history = self._journal.lifecycle, self._journal.history
        if (
            not lifecycle.is_running
            or history.stop_request is not None
            or lifecycle.control_error is not None
        ):
            return False
        branch = self._waiters.line_at(operation_id)
        return (
            branch is not None
            and branch.stop_reason("message") is None
            and not any(rival in history.arrived for rival in branch.rivals)
        )

    def _hand_over(self, operation_id: str) -> None:
        """Give a message that was taken to who waits; or back, when meanwhile nobody does."""
        line = self._waiters.line_at(operation_id)
        self._waiters.deliver(self._journal.history.arrived[operation_id])
        self._idleness.check()  # at once: its task has not run yet, and the job must not be suspended before that
        if line is not None:
            self.unseen[operation_id] = line
        elif not self._journal.lifecycle.is_over:
            self.give_back([operation_id])

    def arrived(self, operation_id: str, line: WaitingLine) -> None:
        """Learn that a branch is about to get a message."""
        self.unseen[operation_id] = line

    def seen(self, operation_ids: Iterable[str]) -> None:
        """Learn that the code has got what was received here."""
        for operation_id in operation_ids:
            self.unseen.pop(operation_id, None)
            self._seen.add(operation_id)

    async def at_rest(self) -> None:
        """Return when it is known of every message whether it was taken."""
        async with self._taking:
            pass

    def give_back(self, operation_ids: Iterable[str]) -> None:
        """Let messages wait in their inboxes again that were received here: with the next commit, which records it."""
        for operation_id in operation_ids:
            change = self._change_back(operation_id)
            if change is not None:
                self.unseen.pop(operation_id, None)
                self._journal.record(self._withdrawn(operation_id), message_changes=[change])

    def give_back_unseen(self, line: str, start: str, is_spared: Callable[[WaitingLine], bool]) -> None:
        """Give back what has arrived in a line and has not been seen, where its code is about to be cut off.

        Args:
            line: Its place.
            start: Place in it after which the code is cut off.
            is_spared: Whether the code of a branch goes on.
        """
        spared = {one for one, branch in self.unseen.items() if is_spared(branch)}
        number = int(start.rpartition(".")[2]) if start.rpartition(".")[2].isdecimal() else 0
        self.give_back([one for one in self._untouched(line, number) if one not in spared])

    def _untouched(self, line: str, after: int = 0) -> list[str]:
        """Return where messages have arrived in a line that the code of this run has not got, and no run has gone on from.

        A run that follows the journal may be cut off before it comes to them.
        """
        history = self._journal.history
        return [
            step.operation_id
            for step in (history.steps.values() if "message" in history.kinds else ())
            if step.kind == "message"
            and step.operation_id in history.arrived
            and step.operation_id not in self._seen
            and self._is_last(step.operation_id.partition(":")[2], line, after)
        ]

    def _is_last(self, place: str, line: str, after: int) -> bool:
        """Whether nothing is recorded after a place, in its line and in those around it up to the given one."""
        furthest = self._journal.history.furthest
        while True:
            around, _, number = place.rpartition(".")
            if not number.isdecimal() or furthest.get(around, 0) > int(number):
                return False
            if around == line:
                return int(number) > after
            if not around:
                return False
            place = around

    def leave(self) -> tuple[list[NewEvent], list[MessageChange], list[Receiver]]:
        """Return what gives back all that the code has not seen, and ends all waits, when the job ends."""
        left = self._untouched("")
        changes = {one: change for one in left if (change := self._change_back(one)) is not None}
        events = [self._withdrawn(one) for one in changes]
        return events, list(changes.values()), self.receivers()

    def receivers(self) -> list[Receiver]:
        """Return the waits for messages that are open."""
        history = self._journal.history
        if "message" not in history.kinds:
            return []
        return [
            self.receiver(step.operation_id, step.name)
            for step in history.steps.values()
            if step.kind == "message"
            and step.operation_id not in history.arrived
            and step.operation_id not in history.withdrawn
        ]

    def addresses(self) -> list[Address]:
        """Return the inboxes that branches wait for now."""
        return list({self._address(one) for one in self._waiters.of_kind("message")})

    def _withdrawn(self, operation_id: str) -> NewEvent:
        data = {"name": self._address(operation_id).identity}
        return NewEvent(RuntimeEventType.WAIT_WITHDRAWN, operation_id, data)

    def _change_back(self, operation_id: str) -> MessageChange | None:
        received = self._journal.history.arrived.get(operation_id)
        if received is None or received.type != RuntimeEventType.MESSAGE_RECEIVED:
            return None
        return returned(received, self._journal.job.job_id)

    def _address(self, operation_id: str) -> Address:
        return Address(self._journal.job.scope_id, self._journal.history.steps[operation_id].name)

    def receiver(self, operation_id: str, identity: str) -> Receiver:
        """Return the row of a wait for a message."""
        return Receiver(self._journal.job.job_id, operation_id, Address(self._journal.job.scope_id, identity))


def _received(operation_id: str, message: InboxMessage) -> NewEvent:
    data: JsonObject = {
        "name": message.identity,
        "message_id": message.message_id,
        "position": message.position,
        "priority": message.priority,
        "sent_at": message.sent_at.isoformat(),
    }
    return NewEvent(RuntimeEventType.MESSAGE_RECEIVED, operation_id, data, message.content)


def message_of(received: RuntimeEvent) -> InboxMessage:
    """Return the message that an entry of a journal has taken over."""
    data = received.data
    return InboxMessage(
        message_id=data["message_id"],
        scope_id=received.scope_id,
        identity=data["name"],
        position=data["position"],
        priority=data["priority"],
        sent_at=datetime.fromisoformat(data["sent_at"]),
        claimed_by=received.job_id,
        claimed_at=received.timestamp,
        content=received.content,
    )


def returned(received: RuntimeEvent, holder: str) -> MessageChange:
    """Return what puts a message back into its inbox.

    Args:
        received: The entry that has taken it over.
        holder: The job that has it.
    """
    message = message_of(received)
    return MessageChange(message.message_id, message.address, holder, None, message.content)
