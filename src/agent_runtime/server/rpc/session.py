"""Who is at the other end of a socket, and what they have said about themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final, Protocol

from pydantic import Field

from agent_runtime.errors import InvalidInput
from agent_runtime.kernel.kernel import Kernel
from agent_runtime.ports.agents import AgentEvent
from agent_runtime.ports.ids import new_id
from agent_runtime.server.access import Caller
from agent_runtime.server.rpc.methods import Method, Model, Params, Scoped
from agent_runtime.values.api_key import Permission
from agent_runtime.values.checks import MAX_COUNT, check_text

JsonData = dict[str, object]


class History(Protocol):
    """The entries of each scope's history of agents, in order and without gaps."""

    async def events(self, *, scope_id: str, after: int, limit: int) -> Sequence[AgentEvent]:
        """Return entries from the one after `after`."""
        ...

    async def last_seq(self, *, scope_id: str) -> int:
        """Return the place of the newest entry, or zero."""
        ...

    def follow(self, *, scope_id: str, after: int) -> AsyncIterator[AgentEvent]:
        """Yield entries from the one after `after`, first what is there and then what comes: each once, in order."""
        ...


class Following(Protocol):
    """What sends a client notifications."""

    def follow(self, scope_id: str, after: int) -> None:
        """Send all entries after a place, from the next answer on, and none of any other scope any more."""
        ...

    def unfollow(self) -> None:
        """Send no more."""
        ...


class Session:
    """One socket's client.

    Args:
        kernel: Whose agents they are.
        history: Of those.
        caller: Whoever has brought the key.
        following: What sends them notifications.
    """

    def __init__(self, kernel: Kernel, history: History, caller: Caller, following: Following) -> None:
        self.kernel = kernel
        self.history = history
        self.caller = caller
        self.following = following
        self.session_id: str | None = None
        self.user: str | None = None
        """Who acts, where the key names nobody."""
        self.params = SessionParams()
        self.config: Mapping[str, object] = {}
        """What agents made in this session have, where nothing else is said."""

    @property
    def person(self) -> str:
        """Who is named as having done what is done here."""
        return self.user or self.caller.person

    def scope(self, asked: str | None) -> str:
        """Return the scope to work in. Raises `HTTPException` for another one than the key's."""
        return check_text("scopeId", self.caller.acts_in(asked))


class SessionParams(Model):
    """What a client prefers."""

    language: str | None = Field(
        default=None, max_length=100, description="Given with the tasks that are sent."
    )
    model: str | None = Field(
        default=None, max_length=200, description="Of agents that are made in this session."
    )
    context: JsonData | None = Field(default=None, description="Given with the tasks that are sent.")


class StartSession(Scoped):
    """A session, or the one that has lost its socket."""

    user_id: str | None = Field(
        default=None, description="On whose behalf: a key that names a person acts for that one alone."
    )
    session_params: SessionParams = SessionParams()
    config: JsonData = Field(
        default={}, description="Of agents that are made in this session, where they say nothing else."
    )
    session_id: str | None = Field(
        default=None, description="The one of before; a new one where it is left out."
    )
    after_seq: int | None = Field(
        default=None,
        ge=0,
        le=MAX_COUNT,
        description="The `seq` of the last notification that came: all after it are sent, in order, none twice. From now on where it is left out.",
    )


class SessionStarted(Model):
    """A session."""

    session_id: str
    seq: int
    """What is sent from now on has places after this one."""
    status: str = "started"


class StopSession(Params):
    """The session of this socket."""

    session_id: str | None = Field(default=None, description="May be left out: a socket has one.")


class SessionStopped(Model):
    """The session that was."""

    session_id: str | None
    status: str = "stopped"


async def start_session(session: Session, given: StartSession) -> SessionStarted:
    """Begin to send notifications."""
    scope = session.scope(given.scope_id)
    user = session.caller.acts_for(given.user_id)
    if user is not None:
        check_text("userId", user)
    session_id = new_id("session") if given.session_id is None else check_text("sessionId", given.session_id)
    last = await session.history.last_seq(scope_id=scope)
    # A place that was never given belongs to a database that is no more: from its end on, nothing is told twice.
    seq = last if given.after_seq is None else min(given.after_seq, last)
    session.session_id, session.user = session_id, user
    session.params, session.config = given.session_params, given.config
    session.following.follow(scope, seq)
    return SessionStarted(session_id=session_id, seq=seq)


async def stop_session(session: Session, given: StopSession) -> SessionStopped:
    """Send no more notifications. Calls are answered as before."""
    if given.session_id not in (None, session.session_id):
        raise InvalidInput("sessionId is that of this socket, or left out")
    session.following.unfollow()
    ended, session.session_id = session.session_id, None
    session.user, session.params, session.config = None, SessionParams(), {}
    return SessionStopped(session_id=ended)


SESSION_METHODS: Final = (
    Method(
        name="startSession",
        params=StartSession,
        result=SessionStarted,
        permission=Permission.READ,
        summary="Begin to be sent notifications, or go on after the last one that came.",
        answer=start_session,
    ),
    Method(
        name="stopSession",
        params=StopSession,
        result=SessionStopped,
        permission=Permission.READ,
        summary="Be sent no more notifications; the socket stays open.",
        answer=stop_session,
    ),
)
