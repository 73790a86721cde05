"""How a kernel behaves; every field is also a setting of the application (`AGENT_RUNTIME_<NAME>`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from agent_runtime.errors import InvalidInput
from agent_runtime.values.capacity import QueueBounds, ScopeCaps
from agent_runtime.values.checks import check_seconds, check_text, check_whole
from agent_runtime.values.message import MAX_INBOX

LEAST_SHUTDOWN: Final = 1.0
"""Seconds that releasing jobs and signing off may always take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelOptions:
    """Tuning of one kernel. Durations are seconds.

    Raises:
        InvalidInput: An option has a value it cannot have; it names the option.
    """

    max_concurrency: int = 100
    """Jobs executed at the same time in this process."""
    spare_slot: bool = True
    """Whether one job more may be executed, if none of its scope is: so that a tenant whose long jobs have all slots does not
    keep others from beginning. With a `max_concurrency` of one, or with `priority_across_scopes`, there is none."""
    max_concurrency_per_scope: int | None = None
    """Jobs of one scope executed at the same time by all processes together; `None` for any number."""
    scope_concurrency: Mapping[str, int] = field(default_factory=dict)
    """The same for single scopes, whatever `max_concurrency_per_scope` says; zero holds a scope's jobs back."""
    priority_across_scopes: bool = False
    """Whether a job's priority counts before other scopes' jobs. Otherwise it counts within its scope, and scopes take turns:
    the next job is of the one that has the fewest running."""
    max_queued: int | None = None
    """Jobs that may wait for a worker before `execute` refuses more with `QueueFull`; `None` for any number."""
    max_queued_per_scope: int | None = 100_000
    """The same for the jobs of one scope. Up to 1,000 it is exact; a larger one is not counted in each submission, so that several
    processes may pass it a little."""
    max_inbox: int = MAX_INBOX
    """Messages that may wait for one identity before `send` refuses more with `InboxFull`."""
    max_agents_per_scope: int = 100_000
    """Resident agents that one scope may have."""
    suspend_after: float = 0.1
    """How long a job whose branches all wait stays in memory."""
    drain_timeout: float = 25.0
    """How long a kernel may take to stop, as a whole: three quarters for steps in flight to end; in what is left, those
    that have not are cancelled, their jobs are released, and the worker signs off."""
    cancel_timeout: float = 5.0
    """How long a cancelled job's code may take to clean up."""
    max_crashes: int = 5
    """Deaths of its process, while a job was the only suspect in it, after which the job is blocked with `CRASH_LOOP`."""
    code_version: str | None = None
    """Name of the version of the application's code. A job that one version has blocked is left to others; without a
    name, every start of a process counts as a new version, and tries become rarer."""
    unlisted_after: float = 30.0
    """How long no worker has listed a job's operator before the job is blocked, or ended if it is asked to stop."""
    suspect_patience: float = 600.0
    """How long a suspect may run without an outcome before another one may run beside it."""
    max_events: int = 50_000
    """Journal entries after which a job fails; use `continue_as_new` before."""
    strict: bool = False
    """Park a job whose finished step would be asked something else today, instead of recording a warning."""
    max_child_depth: int = 16
    storage_patience: float = 30.0
    """How long a commit is tried again while the storage fails."""
    reservation_wait: float = 30.0
    """How long a model call waits for budget that other calls have reserved."""
    default_max_tokens: int = 4096
    """Output bound of a request in a budgeted job that names none, in tokens."""
    queues: tuple[str, ...] = ()
    """Queues that this process executes jobs of, where jobs come from a shared queue; none for all."""
    heartbeat_interval: float = 2.0
    worker_timeout: float = 7.0
    """How long a worker that has no heartbeat keeps its jobs, where several may execute; at least twice
    `heartbeat_interval`. Others wait this long, and as long as they would themselves."""
    sweep_interval: float = 5.0
    """How often timers and due jobs are looked for, besides being told."""
    projection_interval: float = 1.0
    """How often projections look whether something new was written."""
    audit_trail: bool = False
    """Keep a trail of each scope's ended jobs, so that `audit verify` misses one that was taken away."""
    stream_answers: bool = False
    """Ask models for streams also where nobody listens yet, so that who joins in the middle of an answer is told its beginning.
    A process that serves does so in any case."""

    def __post_init__(self) -> None:
        for option in fields(self):
            check_option(option.name, getattr(self, option.name))
        if self.worker_timeout < 2 * self.heartbeat_interval:
            raise InvalidInput(
                "worker_timeout is at least twice heartbeat_interval: one heartbeat may be late"
            )

    @property
    def caps(self) -> ScopeCaps:
        """How many jobs of one scope may run."""
        return ScopeCaps(default=self.max_concurrency_per_scope, scopes=self.scope_concurrency)

    @property
    def shutdown_seconds(self) -> float:
        """How long stopping may take as a whole, however little time is given to steps in flight."""
        return max(self.drain_timeout, self.cancel_timeout, LEAST_SHUTDOWN)

    @property
    def queue_bounds(self) -> QueueBounds:
        """How many jobs may wait for a worker."""
        return QueueBounds(total=self.max_queued, per_scope=self.max_queued_per_scope)


_AT_LEAST_ONE = frozenset(
    {
        "max_concurrency",
        "max_crashes",
        "max_events",
        "max_inbox",
        "default_max_tokens",
        "max_agents_per_scope",
    }
)
_BOUNDS = frozenset({"max_concurrency_per_scope", "max_queued", "max_queued_per_scope"})
_NEVER_ZERO = frozenset({"heartbeat_interval", "worker_timeout", "sweep_interval", "projection_interval"})


def check_option(name: str, value: object) -> None:
    """Refuse a value that an option cannot have, whatever the others are.

    Raises:
        InvalidInput: It names the option.
    """
    match name:
        case "strict" | "priority_across_scopes" | "spare_slot" | "audit_trail" | "stream_answers":
            if not isinstance(value, bool):
                raise InvalidInput(f"{name} is true or false")
        case "queues":
            if not isinstance(value, tuple):
                raise InvalidInput("queues is a tuple of names")
            for queue in value:
                check_text("queues", queue)
        case "scope_concurrency":
            _check_scopes(value)
        case "code_version":
            if value is not None:
                check_text(name, value)
        case "max_child_depth":
            check_whole(name, value)
        case _ if name in _AT_LEAST_ONE or name in _BOUNDS:
            if value is not None or name not in _BOUNDS:
                check_whole(name, value, least=1)
        case _:
            check_seconds(name, value, zero=name not in _NEVER_ZERO)


def _check_scopes(value: Any) -> None:
    if not isinstance(value, Mapping):
        raise InvalidInput("scope_concurrency is a mapping of scopes to numbers")
    for scope_id, bound in value.items():
        check_text("a scope of scope_concurrency", scope_id)
        check_whole("a bound of scope_concurrency", bound)
