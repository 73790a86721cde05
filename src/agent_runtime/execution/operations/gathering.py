"""Several lines of work at once: `gather`, `wait_all`, `wait_any`.

A member is a branch of its own. Waits that nobody has awaited yet need no code that goes on with each of them: they are
asked for in one commit and wait as one set.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from agent_runtime.errors import NondeterminismError, RunSuspended
from agent_runtime.execution.branch import CURRENT_BRANCH, Branch, Operation
from agent_runtime.execution.job_run import JobRun
from agent_runtime.execution.operations.asking import Asked, JournaledWait
from agent_runtime.execution.operations.waits import blocking
from agent_runtime.execution.operations.withdrawal import withdraw, withdraw_below
from agent_runtime.operators.durable_wait import DurableWait, Won, check_waits
from agent_runtime.ports.commit import NewEvent
from agent_runtime.values.event import RuntimeEventType
from llm_client.background import begin
from llm_client.exits import contained
from llm_client.json_text import JsonObject

Name = Literal["gather", "wait_all", "wait_any"]


@dataclass(slots=True, eq=False)
class _Members:
    """The branches of one gathering.

    Attributes:
        run: The run they belong to.
        parent: The line that waits for all of them.
        operation: Where it stands.
    """

    run: JobRun
    parent: Branch
    operation: Operation
    branches: dict[int, Branch] = field(default_factory=dict)
    asked: dict[int, Asked[Any]] = field(default_factory=dict)
    refused: dict[int, BaseException] = field(default_factory=dict)
    """Waits that could not be asked for, with the reason."""

    def open(self, number: int) -> Branch:
        branch = Branch(self.run, f"{self.operation.place}.{number}", self.parent)
        self.branches[number] = branch
        self.parent.children.add(branch)
        return branch

    @property
    def messages(self) -> list[str]:
        """The operations of waits for messages that were asked for here."""
        return [asked.operation_id for asked in self.asked.values() if asked.kind == "message"]

    def give_back(self, error: BaseException) -> None:
        """Give back the messages that were received here: the code gets an error instead of them."""
        run = self.run
        if (
            not isinstance(error, RunSuspended)
            and not run.lifecycle.is_over
            and run.lifecycle.control_error is None
        ):
            run.mail.give_back(self.messages)

    def close(self, number: int) -> None:
        self.parent.children.discard(self.branches[number])
        self.run.idleness.check()


async def gather(
    parent: Branch, awaitables: Sequence[Awaitable[object]], *, name: Name, return_exceptions: bool = False
) -> list[Any]:
    """Run branches at the same time and return what they gave, in order. See `OperatorContext.gather`."""
    members = await _opened(parent, name, len(awaitables))
    with parent.step(name):
        failed = members.run.history.failed_branches.get(members.operation.id)
        try:
            if failed is not None and not return_exceptions:
                _abandon_others(members, awaitables, failed)
            await _ask(members, awaitables, fails_fast=not return_exceptions)
            decides: tuple[type[BaseException], ...] = () if return_exceptions else (Exception,)
            tasks = [_start(members, number, one, decides) for number, one in enumerate(awaitables)]
            results = await _results(members, tasks, failed, return_exceptions=return_exceptions)
        except BaseException as error:
            members.give_back(error)
            raise
        else:
            members.run.mail.seen(members.messages)
            return results
        finally:
            parent.deciding = False
            for number in members.branches:
                members.close(number)
            close_unstarted(awaitables)


async def wait_any(parent: Branch, waits: Sequence[DurableWait[object]]) -> Won[Any]:
    """Return the first of several waits that is satisfied. See `OperatorContext.wait_any`."""
    check_waits(waits, "wait_any")
    members = await _opened(parent, "wait_any", len(waits))
    run = members.run
    with parent.step("wait_any"):
        try:
            await _ask(members, waits)
            for error in members.refused.values():
                raise error
            rivals = [asked.operation_id for asked in members.asked.values()]
            for branch in members.branches.values():
                branch.rivals = rivals
            tasks = [_start(members, number, wait, None) for number, wait in enumerate(waits)]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for branch in members.branches.values():
                    branch.abandoned = True  # what is cut off now is recorded as lost
                await _end(tasks)
            parent.deciding = False
            winner = _first(members)
            if winner is None:  # none has an answer: the run ends, one way or another
                errors = (_error_of(task) for task in tasks)
                raise next(error for error in errors if error is not None)
            lost = [asked for number, asked in members.asked.items() if number != winner]
            await run.mail.at_rest()
            run.mail.give_back(asked.operation_id for asked in lost if asked.kind == "message")
            await withdraw(run, (asked.operation_id for asked in lost))
        except BaseException as error:
            members.give_back(error)
            raise
        finally:
            parent.deciding = False
            for number in members.branches:
                members.close(number)
            close_unstarted(waits)
    run.mail.seen(members.messages)
    answer = run.history.arrived[members.asked[winner].operation_id]
    return Won(winner, await members.asked[winner].value_of(answer))


async def _opened(parent: Branch, name: Name, count: int) -> _Members:
    """Take the place of a gathering, and record it."""
    run = parent.run
    operation = parent.reach("branches", name)
    with parent.recorded_only():
        await parent.admit()
    if operation.step is None:
        data = {"name": name, "branches": count}
        run.journal.record(NewEvent(RuntimeEventType.BRANCH_OPENED, operation.id, data))
    elif (before := operation.step.declaration.data["branches"]) != count:
        raise run.lifecycle.refuse(
            NondeterminismError(
                f"at {operation.id!r} the code runs {count} branches, but the journal records {before}"
            )
        )
    return _Members(run, parent, operation)


def _abandon_others(members: _Members, awaitables: Sequence[Awaitable[Any]], failed: int) -> None:
    """Let the branches that were ended by another's failure begin nothing now either."""
    for number in range(len(awaitables)):
        if number != failed:
            members.open(number).abandoned = True


async def _ask(
    members: _Members, awaitables: Sequence[Awaitable[Any]], *, fails_fast: bool | None = None
) -> None:
    """Begin all waits that nobody has awaited, in one commit.

    Args:
        members: Receives them.
        awaitables: Everything that is gathered.
        fails_fast: Whether they are a set that ends with the first failure; `None` when each is a set of its own.
    """
    events: list[NewEvent] = []
    parts: dict[str, Any] = {}
    branches: list[Branch] = []
    for number, one in enumerate(awaitables):
        if not isinstance(one, JournaledWait) or one.started:
            continue
        branch = members.branches.get(number) or members.open(number)
        try:
            asked = await one.ask(branch)
        except Exception as error:  # noqa: BLE001 -- it is the outcome of this branch
            members.refused[number] = error
            continue
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():  # somebody ends the gathering, not this branch
                raise
            members.refused[number] = error
            continue
        finally:
            one.close()
        members.asked[number] = asked
        if fails_fast is not None:
            branch.wait_set = (members.operation.id, fails_fast)
        branches.append(branch)
        events += asked.events
        for part, values in asked.parts.items():
            parts.setdefault(part, []).extend(values)
    if events:
        await members.run.journal.commit([*events, *_all_blocking(members, branches)], **parts)


def _all_blocking(members: _Members, branches: Sequence[Branch]) -> Iterator[NewEvent]:
    """Yield the entries that say which tool calls stand still now that all these branches begin to wait."""
    for branch in branches:
        branch.waiting = "child"
    try:
        yield from blocking(branches[-1], members.operation.id, "child")
    finally:
        for branch in branches:
            branch.waiting = None


def _start(
    members: _Members,
    number: int,
    awaitable: Awaitable[Any],
    decides: tuple[type[BaseException], ...] | None,
) -> asyncio.Task[Any]:
    """Begin a branch.

    Args:
        members: All of them.
        number: Which one it is.
        awaitable: What it does.
        decides: Failures that decide for all of them; with `None` its end does, whatever it is.
    """

    async def work() -> Any:
        try:
            await (
                members.run.services.turns.give()
            )  # a thousand branches begin in one turn of the loop otherwise
        finally:
            members.parent.to_open.discard(number)
        if (error := members.refused.get(number)) is not None:
            raise error
        branch = members.branches.get(number) or members.open(number)
        branch.task = asyncio.current_task()
        token = CURRENT_BRANCH.set(branch)
        try:
            asked = members.asked.get(number)
            async with branch.settling_streams():
                return await (awaitable if asked is None else asked.answered(branch))
        except BaseException as error:
            members.parent.deciding |= isinstance(error, decides or ())
            raise
        finally:
            members.parent.deciding |= decides is None
            CURRENT_BRANCH.reset(token)
            members.close(number)

    members.parent.to_open.add(
        number
    )  # others may stand before it begins: the job must not leave the memory without it
    task = begin(contained(work()))
    task.add_done_callback(lambda _: members.parent.to_open.discard(number))  # it may end before it begins
    return task


async def _results(
    members: _Members, tasks: Sequence[asyncio.Task[Any]], failed: int | None, *, return_exceptions: bool
) -> list[Any]:
    """Wait for all branches; when one fails, the others finish what they do and begin nothing more."""
    if not tasks:
        return []
    try:
        if not return_exceptions:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            failed = _note_failure(members, tasks, failed)
            members.parent.deciding = False
            members.run.idleness.check()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    except asyncio.CancelledError:
        await _end(tasks)
        raise
    _raise_what_ends_the_run(members.run, results)
    if return_exceptions:
        return list(results)
    if failed is not None:
        await _close_abandoned(members, failed)
        raise _failure(members, failed, results[failed])
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return list(results)


def _raise_what_ends_the_run(run: JobRun, results: Sequence[object]) -> None:
    """Pass on what is no outcome of a branch: the run leaves the memory, or its job is asked to stop."""
    for result in results:
        stopped = isinstance(result, asyncio.CancelledError) and run.is_asked_to_stop()
        if isinstance(result, RunSuspended) or stopped:
            raise result  # type: ignore[misc]  # one of the two


def _note_failure(members: _Members, tasks: Sequence[asyncio.Task[Any]], failed: int | None) -> int | None:
    """Record which branch has failed, if one has, and stop the others."""
    if failed is None:
        found = (number for number, task in enumerate(tasks) if isinstance(_error_of(task), Exception))
        failed = next(found, None)
        if failed is None:
            return None
        if members.run.lifecycle.control_error is None:
            data: JsonObject = {"name": "gather", "branch": failed}
            members.run.journal.record(NewEvent(RuntimeEventType.BRANCH_FAILED, members.operation.id, data))
    for number, task in enumerate(tasks):
        branch = members.branches.get(number)
        if number == failed or task.done():
            continue
        if branch is None:  # it has not begun
            task.cancel()
            continue
        branch.abandoned = True
        for leaf in branch.leaves():
            members.run.waiters.end(leaf, asyncio.CancelledError("a sibling branch has failed"))
    return failed


def _failure(members: _Members, failed: int, result: object) -> BaseException:
    """Return the failure of the branch that has failed first, as it is raised in every run."""
    if isinstance(result, BaseException):
        return result
    return members.run.lifecycle.refuse(
        NondeterminismError(
            f"at {members.operation.id!r} the journal records that branch {failed} has failed, and now it does not"
        )
    )


async def _close_abandoned(members: _Members, failed: int) -> None:
    """Withdraw what the branches that were stopped have asked for: nobody waits for it any more."""
    place = members.operation.place
    await withdraw_below(
        members.run, lambda other: _is_below(other, place) and not _is_below(other, f"{place}.{failed}")
    )


async def _end(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _first(members: _Members) -> int | None:
    """Return which wait was satisfied first: the order is that of the journal, so every run finds the same."""
    arrived: Mapping[int, int] = {
        number: members.run.history.arrived[asked.operation_id].seq or 0
        for number, asked in members.asked.items()
        if asked.operation_id in members.run.history.arrived
    }
    return min(arrived, key=lambda number: (arrived[number], number), default=None)


def _error_of(task: asyncio.Task[Any]) -> BaseException | None:
    if not task.done():
        return None
    return asyncio.CancelledError() if task.cancelled() else task.exception()


def _is_below(place: str, other: str) -> bool:
    return place.startswith(f"{other}.")


def close_unstarted(awaitables: Sequence[Awaitable[object]]) -> None:
    """Close coroutines that were stopped before they began: nothing is left behind that nobody awaits."""
    for awaitable in awaitables:
        if isinstance(awaitable, DurableWait) or (
            inspect.iscoroutine(awaitable) and inspect.getcoroutinestate(awaitable) == inspect.CORO_CREATED
        ):
            awaitable.close()
