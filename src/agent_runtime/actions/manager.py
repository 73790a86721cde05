"""`ActionManager`: asking, answering, listing and withdrawing questions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Unpack

from agent_runtime.actions.records import (
    draw_tokens,
    end,
    expiry,
    expiry_timer,
    new_action,
    vote,
)
from agent_runtime.actions.resolution import check_resolution
from agent_runtime.actions.store import ActionStore
from agent_runtime.actions.votes import voter_of, with_vote
from agent_runtime.errors import ActionAlreadyResolved, ActionExpired, StorageError, UnknownAction, UnknownJob
from agent_runtime.ports.clock import Clock, clock_of
from agent_runtime.ports.commit import Commit, CommitFields
from agent_runtime.ports.current_job import CURRENT_JOB, after_the_journal
from agent_runtime.ports.ids import hash_token
from agent_runtime.ports.signals import SignalChannel, SignalMessage
from agent_runtime.values.action import ActionRecord, ActionSpec, ActionStatus
from agent_runtime.values.checks import can_be_id, check_text, check_whole
from agent_runtime.values.context import DEFAULT_SCOPE
from llm_client.logs import logger_of
from llm_client.turns import read_aside

_POLL_SECONDS = 0.25
_POLL_SECONDS_BESIDE_SIGNALS = 1.0
"""How often the store is looked at by who waits; signals make it quicker, and may get lost."""
_SIGNAL_SECONDS = 1.0
"""How long an answer that is stored already may be held up by telling of it."""

logger = logger_of(__name__)


@after_the_journal()
class ActionManager:
    """Questions to people. Answers are compare-and-set: of many, one wins.

    Inside a job, `require_action` is remembered and `wait_for_resolution` waits durably. Outside, both work on the
    store alone.

    Args:
        store: Where actions are kept.
        clock: What time it is; by default that of the storage.
        signal_channel: Tells waiters at once; without one they look again and again. The caller starts and stops it.
    """

    def __init__(
        self,
        store: ActionStore,
        *,
        clock: Clock | None = None,
        signal_channel: SignalChannel | None = None,
    ) -> None:
        self._storage = store.storage
        self._signals = signal_channel
        self._clock = clock or clock_of(store.storage)

    async def require_action(self, spec: ActionSpec) -> ActionRecord:
        """Ask a question. The record returned has its resume tokens; nobody will ever see them again.

        With approvers there is one for each of them, which casts the vote of that one alone.

        Raises:
            UnknownJob: The job is another scope's.
        """
        job = CURRENT_JOB.get()
        if job is not None and spec.job_id in (None, job.context.job_id):
            return await job.context.open_action(spec)
        action = new_action(
            spec,
            scope_id=await self._scope_of(spec),
            job_id=spec.job_id,
            operation_id=None,
            now=self._clock.now(),
        )
        action, tokens = draw_tokens(action)
        await self._commit(new_actions=[action], new_tokens=tokens, set_timers=expiry_timer(action))
        return action

    async def _scope_of(self, spec: ActionSpec) -> str:
        job = None if spec.job_id is None else await self._storage.get_job(spec.job_id)
        if job is None:
            return spec.scope_id or DEFAULT_SCOPE
        if spec.scope_id not in (None, job.scope_id):
            raise UnknownJob(f"no job {spec.job_id!r}")
        return job.scope_id

    async def get(self, action_id: str, *, scope_id: str | None = None) -> ActionRecord:
        """Return an action. Raises `UnknownAction`."""
        if not can_be_id(action_id):
            raise UnknownAction("no action can have this id")
        action = await self._storage.get_action(action_id, scope_id=scope_id)
        if action is None:
            raise UnknownAction(f"no action {action_id!r}")
        return action

    async def list_pending(
        self,
        *,
        scope_id: str | None = None,
        job_id: str | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> Sequence[ActionRecord]:
        """Return unanswered actions, newest first. Raises `InvalidInput` for what is no id."""
        for name, value in (("scope_id", scope_id), ("job_id", job_id), ("before", before)):
            if value is not None:
                check_text(name, value)
        check_whole("limit", limit)
        return await self._storage.list_actions(
            scope_id=scope_id, job_id=job_id, status=ActionStatus.PENDING, limit=limit, before=before
        )

    async def resolve(
        self, resume_token: str, resolution: Mapping[str, object], resolved_by: str | None = None
    ) -> ActionRecord:
        """Answer the action that a resume token belongs to.

        Args:
            resume_token: It answers for the approver it was drawn for, if the action has approvers.
            resolution: The answer.
            resolved_by: Who gives it; with a token that was drawn for somebody it may be left out.

        Raises:
            UnknownAction: The token belongs to none.
            ActionAlreadyResolved: Somebody was faster, or it has expired.
            InvalidInput: The answer is not one for this type of action, or `resolved_by` may not give it.
        """
        action = None
        if isinstance(resume_token, str):
            action = await self._storage.find_action(hash_token(resume_token))
        if action is None:
            raise UnknownAction("this resume token belongs to no action")
        return await self._resolve(action, resolution, resolved_by)

    async def resolve_by_id(
        self,
        action_id: str,
        resolution: Mapping[str, object],
        *,
        resolved_by: str | None = None,
        scope_id: str | None = None,
    ) -> ActionRecord:
        """Answer an action by its id: for trusted code and for people whose identity was checked.

        Of a quorum each approver votes for what shall be done: a yes without `arguments` for the original ones, a yes
        with an edit for the edit. The first of these with enough votes wins, one no decides, and who answers again
        replaces the earlier answer. Raises like `resolve`.
        """
        return await self._resolve(await self.get(action_id, scope_id=scope_id), resolution, resolved_by)

    async def _resolve(
        self, action: ActionRecord, resolution: Mapping[str, Any], resolved_by: str | None
    ) -> ActionRecord:
        answer = await read_aside(resolution, lambda: check_resolution(action, resolution))
        while True:
            if not action.is_pending:
                by = f" by {action.resolved_by!r}" if action.resolved_by else ""
                raise ActionAlreadyResolved(f"action {action.action_id!r} is {action.status}{by}")
            if action.expires_at is not None and action.expires_at <= self._clock.now():
                raise ActionAlreadyResolved(f"action {action.action_id!r} has expired")
            voter = voter_of(action, resolved_by)
            votes, decided = await read_aside(
                (answer, action.votes), partial(with_vote, action, voter, answer)
            )
            told = votes if action.quorum > 1 else None
            try:
                if decided:
                    await self._end(
                        action, ActionStatus.RESOLVED, resolution=answer, resolved_by=voter, votes=told
                    )
                else:
                    await self._commit(**vote(action, votes))
            except ActionAlreadyResolved:
                fresh = await self.get(action.action_id)
                if not fresh.is_pending:
                    raise
                action = replace(fresh, token_of=action.token_of)
                continue
            return await self.get(action.action_id)

    async def cancel(
        self, action_id: str, reason: str | None = None, *, scope_id: str | None = None
    ) -> ActionRecord:
        """Withdraw a question; whoever waits for it sees `ActionExpired`."""
        action = await self.get(action_id, scope_id=scope_id)
        await self._end(action, ActionStatus.CANCELLED, reason=reason)
        return await self.get(action_id)

    async def _end(self, action: ActionRecord, status: ActionStatus, **answer: Any) -> None:
        """End a pending action, and tell the job that waits for it, in one commit; then those who listen."""
        await self._commit(**end(action, status, **answer))
        await self._tell(action, status)

    async def _tell(self, action: ActionRecord, status: ActionStatus) -> None:
        """Signal that an action has ended, without its answer, which is read from the store."""
        if self._signals is None:
            return
        message = SignalMessage(action_id=action.action_id, status=status, timestamp=self._clock.now())
        try:
            async with asyncio.timeout(_SIGNAL_SECONDS):
                await self._signals.signal(action.action_id, message, action.job_id)
        except (StorageError, TimeoutError) as error:
            logger.warning("a signal was not sent; waiters find the answer by looking: %s", error)

    async def wait_for_resolution(
        self, action_id: str, timeout: float | None = None, *, scope_id: str | None = None
    ) -> ActionRecord:
        """Wait for the answer and return the action with it.

        Args:
            action_id: The action.
            timeout: Seconds this call waits; the action itself goes on. Inside a job the wait is durable.
            scope_id: Hides other scopes' actions.

        Raises:
            UnknownAction: There is no such action.
            ActionExpired: It expired or was withdrawn.
            TimeoutError: `timeout` has passed.
        """
        action = await self.get(action_id, scope_id=scope_id)
        job = CURRENT_JOB.get()
        if job is not None and action.operation_id is not None and action.job_id == job.context.job_id:
            return await job.context.await_action(action)
        told = False
        async with asyncio.timeout(timeout):
            while True:
                action = await self._expire_if_due(await self.get(action_id))
                if action.status is ActionStatus.RESOLVED:
                    return action
                if not action.is_pending:
                    raise ActionExpired(
                        f"the {action.type} action {action_id} {action.status} without an answer"
                    )
                told = await self._changed(action, told=told)

    async def _changed(self, action: ActionRecord, *, told: bool) -> bool:
        """Wait a moment, not beyond the action's expiry, or until it is said to have ended.

        Args:
            action: The action, pending.
            told: Whether it was said to have ended, too early; then only the store is believed.
        """
        signals = None if told else self._signals
        seconds = _POLL_SECONDS if signals is None else _POLL_SECONDS_BESIDE_SIGNALS
        if action.expires_at is not None:
            seconds = min(seconds, max(0.0, (action.expires_at - self._clock.now()).total_seconds()))
        if signals is not None:
            try:
                await signals.wait(action.action_id, timeout=seconds)
            except TimeoutError:
                return False
            except StorageError:
                logger.debug("the signal channel cannot be used; the store is looked at instead")
            else:
                return True
        await asyncio.sleep(min(seconds, _POLL_SECONDS))
        return told

    async def expire_due(self, *, limit: int = 500) -> int:
        """Let overdue actions expire, and return how many have. For stores without a kernel, which does so by itself.

        Whoever waits for an overdue action lets it expire too; this is for those that nobody waits for.
        """
        expired = 0
        for timer in await self._storage.due_timers(self._clock.now(), limit=limit):
            action_id = timer.data.get("action_id")
            action = None if action_id is None else await self._storage.get_action(action_id)
            if action is not None and action.is_pending:
                expired += not (await self._expire_if_due(action)).is_pending
        return expired

    async def _expire_if_due(self, action: ActionRecord) -> ActionRecord:
        """Let an action expire that no kernel looks after."""
        if not action.is_pending or action.expires_at is None or action.expires_at > self._clock.now():
            return action
        status, parts = expiry(action)
        with contextlib.suppress(ActionAlreadyResolved):
            await self._commit(**parts)
            await self._tell(action, status)
        return await self.get(action.action_id)

    async def _commit(self, **parts: Unpack[CommitFields]) -> None:
        await self._storage.commit(Commit(at=self._clock.now(), **parts))
