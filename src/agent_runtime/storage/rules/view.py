"""What the rules look at: a port with one question for each kind of row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from agent_runtime.values.budget import Counters, EntryKey
from agent_runtime.values.deaths import Deaths
from agent_runtime.values.message import Address

Key = tuple[str, str]


class SeenJob(Protocol):
    """A job's row, as far as a rule depends on it."""

    @property
    def fence(self) -> int:
        """Who has a smaller one writes no more."""
        ...

    @property
    def status(self) -> str:
        """One of `JobStatus`."""
        ...

    @property
    def owner(self) -> str | None:
        """Who executes it."""
        ...

    @property
    def successor_id(self) -> str | None:
        """The job that goes on in its place."""
        ...

    @property
    def counted(self) -> Deaths:
        """What counts against it."""
        ...


class View(Protocol):
    """The state before a commit.

    A back end that can look things up while it holds the only writer's place answers from its tables. One that has to
    lock rows in an order loads beforehand what `Needs` names, and is asked for nothing else.
    """

    def job(self, job_id: str) -> SeenJob | None:
        """Return a job, or `None`."""
        ...

    def is_erased(self, job_id: str) -> bool:
        """Whether all that a job held was erased."""
        ...

    def key_holder(self, key: Key) -> tuple[str, str | None] | None:
        """Return id and request hash of the job that has an idempotency key of a scope: the last of its chain."""
        ...

    def has_signals(self, job_id: str) -> bool:
        """Whether signals wait for a job."""
        ...

    def is_stopping(self, job_id: str) -> bool:
        """Whether a request to stop waits for a job."""
        ...

    def family(self, parent_id: str) -> Sequence[str]:
        """Return the children of a job that have not ended and are to end with it."""
        ...

    def waiting(self, scope_id: str | None, most: int) -> int:
        """Return how many jobs of a scope, or of all, wait for a worker; anything from `most` on will do for more."""
        ...

    def action(self, action_id: str) -> tuple[str, int] | None:
        """Return the status and the number of votes of a question, or `None`."""
        ...

    def has_timer(self, key: Key) -> bool:
        """Whether a job's timer is set."""
        ...

    def has_entry(self, key: EntryKey) -> bool:
        """Whether the ledger has an entry."""
        ...

    def spent(self, key: Key) -> Counters:
        """Return where a budget's counters stand in a window."""
        ...

    def unclaimed(self, address: Address) -> int:
        """Return how many messages wait in an inbox."""
        ...

    def holder(self, message_id: str) -> tuple[Address, str | None] | None:
        """Return whose inbox a message was sent to and which job has it, or `None`."""
        ...

    def known_message(self, address: Address, dedupe_key: str) -> str | None:
        """Return the message that an inbox knows under a key, or `None`."""
        ...
