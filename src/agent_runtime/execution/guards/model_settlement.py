"""What an attempt has cost: what the vendor said, nothing, or the most it can have been when its answer was lost."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from agent_runtime.execution.guards.crossings import record_crossings
from agent_runtime.execution.guards.model_step import ModelStep, about
from agent_runtime.execution.guards.money import AtMost, attempt_id, entry_for
from agent_runtime.execution.job_run import JobRun
from agent_runtime.execution.operations.effects import WITHOUT_INTENT
from agent_runtime.execution.operations.failures import describe_failure
from agent_runtime.ledger.failed_attempts import billed
from agent_runtime.ports.commit import CommitParts, NewEvent
from agent_runtime.values.budget import NOTHING, Amount
from agent_runtime.values.event import RuntimeEventType
from llm_client.codec import dump_usage
from llm_client.json_text import JsonObject, JsonValue
from llm_client.messages import CompletionResult
from llm_client.middleware import ModelAttempt, ModelCall
from llm_client.pricing.parts import cost_parts
from llm_client.usage import Usage


async def settle_answer(
    step: ModelStep,
    attempt: ModelAttempt,
    number: int,
    bound: AtMost,
    result: CompletionResult,
    content: bytes,
    started_at: float,
    *,
    uncertain: bool = False,
) -> None:
    """Write an answer, encoded as `content`, together with what it cost; if that is `uncertain`, all that was set aside."""
    usage = result.usage
    duration = _milliseconds_since(started_at, step)
    data = {
        "name": step.name,
        "input": step.input_hash,
        "attempt": number,
        "final": not attempt.call.transformed,
        "usage": dump_usage(usage),
        "duration_ms": duration,
        **_first_token(step),
        **about(result),
    }
    if uncertain:
        data["uncertain"] = True
    else:
        data |= _cost_parts(attempt, usage)
    spent = bound.spent(usage, is_turn=not attempt.call.embeds)
    step.result = result
    await _settle(
        step,
        number,
        bound,
        NewEvent(RuntimeEventType.MODEL_COMPLETED, step.operation_id, data, content),
        None if uncertain else spent,
        usage=usage,
        duration_ms=duration,
        uncertain=uncertain,
        request_id=result.request_id,
        may_wait=not uncertain and _waits_for_tools(step, attempt.call, result),
    )


def _waits_for_tools(step: ModelStep, call: ModelCall, result: CompletionResult) -> bool:
    """Whether an answer may be written with what its tools say: nobody else sees it, and they only read.

    Where budgets count, what was set aside and not used is given back at once.
    """
    if not call.unseen or not result.tool_calls or step.budgets:
        return False
    tools = {tool.name: tool for tool in call.spec.tools}
    asked = [tools.get(wanted.name) for wanted in result.tool_calls]
    return all(tool is not None and tool.effect in WITHOUT_INTENT for tool in asked)


async def settle_failure(
    step: ModelStep,
    number: int,
    bound: AtMost,
    error: Exception,
    started_at: float,
    *,
    usage: Usage | None = None,
) -> None:
    """Bill what a failed attempt used: `usage` where it is known, else what its failure tells."""
    duration = _milliseconds_since(started_at, step)
    uncertain = False
    if usage is None:
        known = _known(step, number, error)
        usage, uncertain = (bound.usage(), True) if known is None else (known, False)
    spent: Amount | None = NOTHING
    if uncertain:
        spent = None
    elif usage.requests:
        spent = bound.spent(usage, is_turn=False)
    data: dict[str, JsonValue] = {
        "name": step.name,
        "attempt": number,
        "uncertain": uncertain,
        "duration_ms": duration,
    }
    if usage.requests:
        data["usage"] = dump_usage(usage)
    data |= describe_failure(error)
    await _settle(
        step,
        number,
        bound,
        NewEvent(RuntimeEventType.MODEL_ATTEMPT_FAILED, step.operation_id, data),
        spent,
        usage=usage,
        duration_ms=duration,
        failed=True,
        uncertain=uncertain,
    )


def _known(step: ModelStep, number: int, error: Exception) -> Usage | None:
    """Return what a failed attempt is billed with; `None` when nobody knows.

    An answer that our side has refused was an answer, whatever the refusal is called.
    """
    if step.answers:
        said = step.answers[-1]
        if said is None or not said.is_plausible:
            return None
        return said if said.requests else replace(said, requests=1)
    sent = step.attempt_id(number) not in step.branch.run.unsent
    return billed(error) if sent else Usage()


async def settle_left(step: ModelStep) -> None:
    """Write what has come of an answer whose reader has left: billed as the vendor said, else at its maximum."""
    run = step.branch.run
    for number, bound in list(step.open.items()):
        if step.attempt_id(number) in run.unsent or step.heard is None:
            events, parts = lost_attempts(
                run,
                step.operation_id,
                step.name,
                {number: bound},
                why="the call was given up",
                running=step.running,
            )
            step.open.pop(number, None)
            await run.journal.commit(events, **parts)
            continue
        said = step.heard.said_usage()
        if said is not None and (said.is_nothing or not said.is_plausible):
            said = None
        usage = bound.usage() if said is None else said
        result = replace(step.heard.partial(model=bound.model, provider=bound.provider), usage=usage)
        data = {
            "name": step.name,
            "input": step.input_hash,
            "attempt": number,
            "uncertain": said is None,
            "usage": dump_usage(usage),
            **_first_token(step),
            **about(result),
        }
        await _settle(
            step,
            number,
            bound,
            NewEvent(RuntimeEventType.MODEL_LEFT, step.operation_id, data, step.content_of(result)),
            None if said is None else bound.spent(usage, is_turn=True),
            usage=usage,
            uncertain=said is None,
        )


async def _settle(
    step: ModelStep,
    number: int,
    bound: AtMost,
    outcome: NewEvent,
    spent: Amount | None,
    *,
    usage: Usage,
    may_wait: bool = False,
    **values: Any,
) -> None:
    """Write an attempt's outcome with its ledger line, and give back what it did not use; or hold it for the next commit."""
    run = step.branch.run
    entry = entry_for(run, step.operation_id, step.name, number, bound, usage, spent=spent, **values)
    is_answer = outcome.type in (RuntimeEventType.MODEL_COMPLETED, RuntimeEventType.MODEL_LEFT)
    charges = bound.settlement(spent, is_answer=is_answer)
    overrun = [] if spent is None else _overrun(step, bound, spent)
    step.open.pop(number, None)  # a caller that is cancelled now may have it written
    if may_wait and run.journal.may_defer(outcome):
        run.journal.defer(outcome, charges, [entry])
        return
    try:
        await run.journal.commit([outcome, *overrun], ledger=[entry], charges=charges)
    except Exception:  # refused, so nothing is written: whoever gives the call up settles it at its maximum
        step.open[number] = bound
        raise
    except asyncio.CancelledError:
        if step.is_begun(number):  # cancelled before it was its turn to be written
            step.open[number] = bound
        raise
    await record_crossings(run, step.operation_id, step.budgets)


def lost_attempts(
    run: JobRun,
    operation_id: str,
    name: str,
    open_attempts: Mapping[int, AtMost],
    *,
    why: str,
    running: Collection[int] = (),
) -> tuple[list[NewEvent], CommitParts]:
    """Return the entries, ledger lines and charges that settle attempts whose answers nobody will see.

    Those whose requests have left, or may yet leave because they are `running`, are billed at the most they can cost, the others
    with nothing.
    """
    events: list[NewEvent] = []
    ledger, charges = [], []
    for number, bound in open_attempts.items():
        sent = number in running or attempt_id(run, operation_id, number) not in run.unsent
        usage = bound.usage() if sent else Usage()
        data: dict[str, JsonValue] = {"name": name, "attempt": number, "uncertain": sent, "error": why}
        data |= {"error_type": "lost", "usage": dump_usage(usage)} if sent else {"error_type": "never_sent"}
        events.append(NewEvent(RuntimeEventType.MODEL_ATTEMPT_FAILED, operation_id, data))
        spent = None if sent else NOTHING
        ledger.append(
            entry_for(run, operation_id, name, number, bound, usage, spent=spent, failed=True, uncertain=sent)
        )
        charges.extend(bound.settlement(spent))
    return events, {"ledger": ledger, "charges": charges}


def _overrun(step: ModelStep, bound: AtMost, spent: Amount) -> list[NewEvent]:
    """Tell that a vendor billed more than the upper bound that was set aside; the ledger has the truth."""
    hold = bound.overrun(spent)
    if hold is None:
        return []
    data: JsonObject = {
        "budget": hold.key[0],
        "window": hold.key[1],
        "reserved": hold.amount.to_dict(),
        "spent": spent.to_dict(),
    }
    return [NewEvent(RuntimeEventType.BUDGET_OVERRUN, step.operation_id, data)]


def _cost_parts(attempt: ModelAttempt, usage: Usage) -> dict[str, JsonValue]:
    """Return what a cost is made of, by the prices that held: whoever reads the journal may know others."""
    prices = attempt.call.prices
    parts = None if prices is None else cost_parts(prices, attempt.provider.name, attempt.model, usage)
    if parts is None:
        return {}
    said: dict[str, JsonValue] = {"read": str(parts.read)}
    if parts.saved is not None:
        said["saved"] = str(parts.saved)
    return {"cost_parts": said}


def _first_token(step: ModelStep) -> dict[str, JsonValue]:
    """Return when the answer began to come, of one that was read as it came."""
    after = None if step.heard is None else step.heard.first_after
    return {} if after is None else {"first_token_ms": round(after * 1000)}


def _milliseconds_since(started_at: float, step: ModelStep) -> int:
    return round((step.branch.run.services.clock.monotonic() - started_at) * 1000)
