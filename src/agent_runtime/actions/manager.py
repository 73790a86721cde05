"""`ActionManager`: asking, answering, listing and withdrawing questions."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from agent_runtime.actions.records import expiry_of, expiry_timer, hash_token, new_action, votes_told
from agent_runtime.actions.store import ActionStore
from agent_runtime.actions.waiting import ACTION_HOST
from agent_runtime.errors import (
    ActionAlreadyResolved,
    ActionExpired,
    InvalidInput,
    StorageError,
    UnknownAction,
)
from agent_runtime.ports.clock import Clock, SystemClock
from agent_runtime.ports.ids import new_commit_id
from agent_runtime.ports.journal import ActionChange, Commit, Signal
from agent_runtime.ports.signals import SignalChannel, SignalMessage
from agent_runtime.values.action import ActionRecord, ActionSpec, ActionStatus, ActionType
from agent_runtime.values.content import encode
from agent_runtime.values.context import DEFAULT_SCOPE
from agent_runtime.values.event import RuntimeEventType

_EVENT_OF = {
    ActionStatus.RESOLVED: RuntimeEventType.ACTION_RESOLVED,
    ActionStatus.CANCELLED: RuntimeEventType.ACTION_CANCELLED,
    ActionStatus.EXPIRED: RuntimeEventType.ACTION_EXPIRED,
}
_POLL_SECONDS = 0.25
_POLL_SECONDS_BESIDE_SIGNALS = 1.0
"""How often the store is looked at by who waits; signals make it quicker, and may get lost."""
_SIGNAL_SECONDS = 1.0
"""How long an answer that is stored already may be held up by telling of it."""

logger = logging.getLogger(__name__)


class ActionManager:
    """Questions to people. Answers are compare-and-set: of many, one wins.

    Inside a job, `require_action` is remembered and `wait_for_resolution` waits durably. Outside, both work on the
    store alone.

    Args:
        store: Where actions are kept.
        clock: What time it is.
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
        self._clock = clock or SystemClock()

    async def require_action(self, spec: ActionSpec) -> ActionRecord:
        """Ask a question. The record returned has the resume token; nobody will ever see it again."""
        host = ACTION_HOST.get()
        if host is not None and spec.job_id in (None, host.job_id):
            return await host.open_action(spec)
        action = new_action(
            spec,
            scope_id=spec.scope_id or await self._scope_of(spec.job_id),
            job_id=spec.job_id,
            operation_id=None,
            now=self._clock.now(),
        )
        await self._commit(new_actions=[action], set_timers=expiry_timer(action))
        return action

    async def _scope_of(self, job_id: str | None) -> str:
        job = None if job_id is None else await self._storage.get_job(job_id)
        return DEFAULT_SCOPE if job is None else job.scope_id

    async def get(self, action_id: str, *, scope_id: str | None = None) -> ActionRecord:
        """Return an action. Raises `UnknownAction`."""
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
        """Return unanswered actions, newest first."""
        return await self._storage.list_actions(
            scope_id=scope_id, job_id=job_id, status=ActionStatus.PENDING, limit=limit, before=before
        )

    async def resolve(
        self, resume_token: str, resolution: Mapping[str, Any], resolved_by: str | None = None
    ) -> ActionRecord:
        """Answer the action that a resume token belongs to.

        Raises:
            UnknownAction: The token belongs to none.
            ActionAlreadyResolved: Somebody was faster, or it has expired.
            InvalidInput: The answer is not one for this type of action, or `resolved_by` may not give it.
        """
        action = await self._storage.find_action(hash_token(resume_token))
        if action is None:
            raise UnknownAction("this resume token belongs to no action")
        return await self._resolve(action, resolution, resolved_by)

    async def resolve_by_id(
        self,
        action_id: str,
        resolution: Mapping[str, Any],
        *,
        resolved_by: str | None = None,
        scope_id: str | None = None,
    ) -> ActionRecord:
        """Answer an action by its id: for trusted code and for people whose identity was checked."""
        return await self._resolve(await self.get(action_id, scope_id=scope_id), resolution, resolved_by)

    async def _resolve(
        self, action: ActionRecord, resolution: Mapping[str, Any], resolved_by: str | None
    ) -> ActionRecord:
        answer = check_resolution(action, resolution)
        while True:
            if not action.is_pending:
                raise ActionAlreadyResolved(f"action {action.action_id!r} is {action.status}")
            if action.expires_at is not None and action.expires_at <= self._clock.now():
                raise ActionAlreadyResolved(f"action {action.action_id!r} has expired")
            self._check_approver(action, resolved_by)
            votes = (*action.votes, {"by": resolved_by, "resolution": answer})
            decided = len(votes) >= action.quorum or not _agrees(answer)
            try:
                await self._change(
                    action,
                    ActionStatus.RESOLVED if decided else ActionStatus.PENDING,
                    resolution=answer if decided else None,
                    resolved_by=resolved_by,
                    votes=votes if action.quorum > 1 else None,
                )
            except ActionAlreadyResolved:
                fresh = await self.get(action.action_id)
                if not fresh.is_pending:
                    raise
                action = fresh
                continue
            return await self.get(action.action_id)

    def _check_approver(self, action: ActionRecord, resolved_by: str | None) -> None:
        if action.approvers is not None and resolved_by not in action.approvers:
            raise InvalidInput(f"{resolved_by or 'an unnamed person'} is not an approver of this action")
        if action.quorum > 1:
            if resolved_by is None:
                raise InvalidInput("an action with a quorum needs to know who answers")
            if any(vote["by"] == resolved_by for vote in action.votes):
                raise InvalidInput(f"{resolved_by} has answered already")

    async def cancel(
        self, action_id: str, reason: str | None = None, *, scope_id: str | None = None
    ) -> ActionRecord:
        """Withdraw a question; whoever waits for it sees `ActionExpired`."""
        action = await self.get(action_id, scope_id=scope_id)
        await self._change(action, ActionStatus.CANCELLED, reason=reason)
        return await self.get(action_id)

    async def _change(
        self,
        action: ActionRecord,
        status: ActionStatus,
        *,
        resolution: Mapping[str, Any] | None = None,
        resolved_by: str | None = None,
        votes: tuple[Mapping[str, Any], ...] | None = None,
        reason: str | None = None,
    ) -> None:
        """Change a pending action, and tell the job that waits for it, in one commit."""
        ended = status is not ActionStatus.PENDING
        signals = []
        if ended and action.job_id is not None and action.operation_id is not None:
            data: dict[str, Any] = {
                "action_id": action.action_id,
                "type": action.type,
                "resolved_by": resolved_by,
            }
            if votes is not None:
                data["votes"] = votes_told(votes)
            if reason is not None:
                data["reason"] = reason
            signals.append(
                Signal(
                    f"action:{action.action_id}",
                    action.job_id,
                    _EVENT_OF[status],
                    action.operation_id,
                    data,
                    None if resolution is None else encode(dict(resolution)),
                )
            )
        change = ActionChange(
            action_id=action.action_id,
            status=status,
            votes_before=len(action.votes),
            resolution=resolution,
            resolved_by=resolved_by if ended else None,
            votes=votes,
        )
        timers = [(timer.job_id, timer.key) for timer in expiry_timer(action)] if ended else []
        await self._commit(action_changes=[change], signals=signals, clear_timers=timers)
        if ended:
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

    async def wait_for_resolution(self, action_id: str, timeout: float | None = None) -> ActionRecord:
        """Wait for the answer and return the action with it.

        Args:
            action_id: The action.
            timeout: Seconds this call waits; the action itself goes on. Inside a job the wait is durable.

        Raises:
            ActionExpired: It expired or was withdrawn.
            TimeoutError: `timeout` has passed.
        """
        action = await self.get(action_id)
        host = ACTION_HOST.get()
        if host is not None and action.operation_id is not None and action.job_id == host.job_id:
            return await host.await_action(action)
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
        end = expiry_of(action)
        with contextlib.suppress(ActionAlreadyResolved):
            await self._change(action, end.status, resolution=end.resolution, resolved_by=end.resolved_by)
        return await self.get(action.action_id)

    async def _commit(self, **parts: Any) -> None:
        await self._storage.commit(Commit(commit_id=new_commit_id(), at=self._clock.now(), **parts))


def check_resolution(action: ActionRecord, resolution: Mapping[str, Any]) -> dict[str, Any]:
    """Return an answer in the form of its action's type, or say what is wrong with it."""
    answer = dict(resolution)
    if action.type in (ActionType.APPROVAL, ActionType.CONFIRM):
        given = answer.get("approved", answer.get("confirmed"))
        if not isinstance(given, bool):
            name = "approved" if action.type == ActionType.APPROVAL else "confirmed"
            raise InvalidInput(
                f'{"an" if name == "approved" else "a"} {action.type} is answered with {{"{name}": true}} or {{"{name}": false}}'
            )
        answer["approved"] = given
        if action.type == ActionType.CONFIRM:
            answer["confirmed"] = given
    elif action.type == ActionType.CHOOSE:
        choices = action.payload.get("choices")
        if "choice" not in answer or (isinstance(choices, list) and answer["choice"] not in choices):
            raise InvalidInput(f'a choose is answered with {{"choice": …}}, one of {choices}')
    elif action.type == ActionType.INPUT and "value" not in answer:
        raise InvalidInput('an input is answered with {"value": …}')
    elif action.type == ActionType.RECONCILE and answer.get("outcome") not in ("done", "retry", "fail"):
        raise InvalidInput('a reconcile is answered with {"outcome": "done"}, "retry" or "fail"')
    encode(answer)
    return answer


def _agrees(answer: Mapping[str, Any]) -> bool:
    """Whether an answer is a yes, of which a quorum may need several; one no decides."""
    return bool(answer.get("approved", True))
