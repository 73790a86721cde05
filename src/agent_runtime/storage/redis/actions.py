"""Actions in Redis, for `ActionManager`s that stand alone.

Everything here is as durable as the Redis server is. A kernel keeps its actions in its own storage, where they share
commits with the jobs that wait for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from agent_runtime.errors import ActionAlreadyResolved, InvalidInput, StorageError, UnknownAction
from agent_runtime.ports.commit import ActionChange, Commit, Timer
from agent_runtime.storage import rows
from agent_runtime.storage.json_columns import read_json
from agent_runtime.storage.redis.action_script import WRITE
from agent_runtime.storage.redis.server import ANSWER_SECONDS, Server, is_lost
from agent_runtime.storage.redis.text import as_text, to_json
from agent_runtime.values.action import ActionRecord, ActionStatus
from agent_runtime.values.event import EPOCH, RuntimeEventType
from agent_runtime.values.job import JobRecord
from llm_client.background import Backoff

if TYPE_CHECKING:
    from redis.asyncio import Redis

MAX_ACTION: Final = 1024 * 1024
"""Bytes of JSON of a question, and of its answer."""
COMMIT_SECONDS: Final = 3600
"""How long a commit is known, so that a client that has lost the answer cannot make it twice."""
DELAYS: Final = (0.05, ANSWER_SECONDS)
"""Seconds between two attempts to write: at first, and at most."""
_PAGE: Final = 200
_CHANGING: Final = ("status", "resolution", "resolved_by", "resolved_at", "votes")
_WRITTEN: Final = frozenset(
    {
        "commit_id",
        "at",
        "scope_id",
        "new_actions",
        "new_tokens",
        "action_changes",
        "set_timers",
        "clear_timers",
    }
)
_MICROSECOND = timedelta(microseconds=1)


class RedisActionStore:
    """Actions in Redis: its own `storage`, for `ActionManager(RedisActionStore(client))`.

    Pending actions stay until they are answered, cancelled or expired; what nobody waits for expires with
    `ActionManager.expire_due`. A Redis that evicts keys or is flushed loses actions: use `noeviction`, and persistence
    as durable as the questions have to be.

    Args:
        client: The caller's, who closes it.
        key_prefix: Begins every key, in braces.
        default_ttl_seconds: How long ended actions can still be read; later writes delete them.
    """

    def __init__(
        self, client: Redis, key_prefix: str = "agent:action", default_ttl_seconds: float = 86400
    ) -> None:
        self._server = Server(client)
        self._prefix = "{" + key_prefix + "}"
        self._ttl = timedelta(seconds=default_ttl_seconds)
        self._write = client.register_script(WRITE)

    def __repr__(self) -> str:
        return f"RedisActionStore(key_prefix={self._prefix[1:-1]!r})"

    @property
    def storage(self) -> RedisActionStore:
        """Itself."""
        return self

    def _key(self, *parts: str) -> str:
        return ":".join((self._prefix, *parts))

    async def commit(self, commit: Commit) -> int:
        """Write new actions and changes of pending ones, all or nothing. Returns 0: there is no journal.

        Raises:
            InvalidInput: The commit holds something else.
            ContentTooLarge: A question or an answer is longer than a megabyte.
            StorageError: Redis was away for too long. What it had been handed by then it may have written.
        """
        _check(commit)
        word, *details = await self._run(self._key("c", commit.commit_id), self._arguments(commit))
        match word:
            case "unknown":
                raise UnknownAction(f"no action {details[0]!r}")
            case "resolved":
                raise ActionAlreadyResolved(f"action {details[0]!r} is {details[1]}")
            case "exists":
                raise StorageError(f"there is an action {details[0]!r} already")
        return 0

    async def _run(self, commit_key: str, arguments: Sequence[str | int]) -> Sequence[str]:
        """Run the script; again when the connection was lost, which the script can tell by the commit's key."""
        loop = asyncio.get_running_loop()
        give_up, backoff = loop.time() + ANSWER_SECONDS, Backoff(*DELAYS)
        while True:
            try:
                outcome = await self._server.answered(
                    lambda _: self._write(keys=[commit_key], args=arguments)
                )
                return [as_text(part) for part in outcome]
            except StorageError as error:
                delay = backoff.next()
                if not is_lost(error.__cause__) or loop.time() + delay > give_up:
                    raise
            await asyncio.sleep(delay)

    def _arguments(self, commit: Commit) -> list[str | int]:
        """Return what the script takes, in its order."""
        at = _micros(commit.at)
        arguments: list[str | int] = [self._prefix, COMMIT_SECONDS, at, commit.at.isoformat()]
        arguments += [at - self._ttl // _MICROSECOND, len(commit.new_actions)]
        for action in commit.new_actions:
            arguments += _new(action)
        arguments.append(len(commit.new_tokens))
        for token in commit.new_tokens:
            arguments += [token.token_hash, token.action_id, to_json(token.approver, limit=MAX_ACTION)]
        arguments.append(len(commit.action_changes))
        for change in commit.action_changes:
            arguments += _change(change)
        return arguments

    async def get_action(self, action_id: str, *, scope_id: str | None = None) -> ActionRecord | None:
        """Return an action, or `None`."""
        (action,) = await self._read([action_id])
        return action if action is not None and scope_id in (None, action.scope_id) else None

    async def find_action(self, token_hash: str) -> ActionRecord | None:
        """Return the action one of whose resume tokens has this hash, or `None`."""
        key = self._key("t", token_hash)
        found: Any = await self._server.answered(lambda client: client.hmget(key, ["action", "approver"]))
        action_id, approver = found
        if action_id is None:
            return None
        (action,) = await self._read([as_text(action_id)])
        try:
            return None if action is None else replace(action, token_of=read_json(approver))
        except (TypeError, ValueError, RecursionError):
            raise StorageError("what Redis holds as a token was not written by this store") from None

    async def list_actions(
        self,
        *,
        scope_id: str | None = None,
        job_id: str | None = None,
        status: ActionStatus | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> Sequence[ActionRecord]:
        """Return actions, newest first."""
        of = (
            ("job", job_id)
            if job_id is not None
            else ("scope", scope_id)
            if scope_id is not None
            else ("all",)
        )
        index = self._key("i", "any" if status is None else status.value, *of)
        found: list[ActionRecord] = []
        while len(found) < limit:
            wanted = min(_PAGE, limit)
            ids = await self._page(index, before, wanted)
            actions = await self._read(ids)
            found += [
                action
                for action in actions
                if action is not None
                and scope_id in (None, action.scope_id)
                and status in (None, action.status)
            ]
            if len(ids) < wanted:
                break
            before = ids[-1]
        return found[:limit]

    async def _page(self, index: str, before: str | None, limit: int) -> Sequence[str]:
        """Return ids of an index, newest first."""
        newest = "+" if before is None else f"({before}"
        found: Any = await self._server.answered(
            lambda client: client.zrevrangebylex(index, newest, "-", start=0, num=limit)
        )
        return [as_text(action_id) for action_id in found]

    async def get_job(self, job_id: str, *, scope_id: str | None = None) -> JobRecord | None:
        """Return `None`: no jobs are kept here. Name the scope of an action in its `ActionSpec`."""
        return None

    async def due_timers(self, now: datetime, *, limit: int = 500) -> Sequence[Timer]:
        """Return the expiries that have come, oldest first."""
        due: Any = await self._server.answered(
            lambda client: client.zrangebyscore(
                self._key("due"), "-inf", _micros(now), start=0, num=limit, withscores=True
            )
        )
        timers = []
        for member, score in due:
            action_id = as_text(member)
            data = {"action_id": action_id}
            moment = EPOCH + int(score) * _MICROSECOND
            timers.append(
                Timer("", f"action:{action_id}", moment, RuntimeEventType.ACTION_EXPIRED, None, data)
            )
        return timers

    async def _read(self, action_ids: Sequence[str]) -> Sequence[ActionRecord | None]:
        if not action_ids:
            return []

        async def read(client: Redis) -> list[Any]:
            async with client.pipeline(transaction=False) as pipeline:
                for action_id in action_ids:
                    pipeline.hmget(self._key("a", action_id), ["record", *_CHANGING])
                return await pipeline.execute()

        found = await self._server.answered(read)
        return [_readable(action_id, row) for action_id, row in zip(action_ids, found, strict=True)]


def _check(commit: Commit) -> None:
    """Refuse what only a storage of jobs can write."""
    others = [
        field.name for field in fields(commit) if field.name not in _WRITTEN and getattr(commit, field.name)
    ]
    timers = [timer for timer in commit.set_timers if timer.type != RuntimeEventType.ACTION_EXPIRED]
    if others or timers:
        raise InvalidInput(
            f"a RedisActionStore keeps actions only, not {', '.join(others) or 'timers'}; kernels and actions that "
            "belong to a step of a job need a storage that keeps jobs too"
        )


def _new(action: ActionRecord) -> list[str | int]:
    values: dict[str, Any] = dict(zip(rows.ACTION, rows.action_row(action), strict=True))
    for name in ("created_at", "expires_at"):
        values[name] = None if values[name] is None else values[name].isoformat()
    record = {name: value for name, value in values.items() if name not in _CHANGING}
    expires = "" if action.expires_at is None else _micros(action.expires_at)
    return [
        action.action_id,
        action.scope_id,
        action.job_id or "",
        expires,
        to_json(list(action.votes), limit=MAX_ACTION),
        to_json(record, limit=MAX_ACTION),
    ]


def _change(change: ActionChange) -> list[str | int]:
    resolution = "" if change.resolution is None else to_json(dict(change.resolution), limit=MAX_ACTION)
    resolved_by = "" if change.resolved_by is None else to_json(change.resolved_by, limit=MAX_ACTION)
    votes = "" if change.votes is None else to_json(list(change.votes), limit=MAX_ACTION)
    votes_after = len(change.votes or ())
    return [
        change.action_id, change.status.value, change.votes_before, resolution, resolved_by, votes, votes_after,
    ]  # fmt: skip


def _readable(action_id: str, row: Sequence[bytes | str | None]) -> ActionRecord | None:
    """Return an action, if it is the one that was written under this id. Raises `StorageError`."""
    try:
        action = _record(row)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        action, is_ours = None, False
    else:
        is_ours = action is None or action.action_id == action_id
    if not is_ours:
        raise StorageError(f"what Redis holds as action {action_id!r} was not written by this store")
    return action


def _record(row: Sequence[bytes | str | None]) -> ActionRecord | None:
    record, status, resolution, resolved_by, resolved_at, votes = [
        None if value is None else as_text(value) for value in row
    ]
    if record is None or status is None:
        return None
    values: dict[str, Any] = {
        **read_json(record),
        "status": status,
        "resolution": None if resolution is None else read_json(resolution),
        "resolved_by": None if resolved_by is None else read_json(resolved_by),
        "votes": read_json(votes or "[]"),
        "resolved_at": resolved_at,
    }
    for name in ("created_at", "expires_at", "resolved_at"):
        values[name] = None if values[name] is None else datetime.fromisoformat(values[name])
    return rows.action_record([values[name] for name in rows.ACTION])


def _micros(moment: datetime) -> int:
    return (moment - EPOCH) // _MICROSECOND
