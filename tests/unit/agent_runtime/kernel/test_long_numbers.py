"""Numbers that 64 bits do not hold go through questions, answers, the journal and results, digit for digit."""

from decimal import Decimal
from typing import Any

import pytest

from agent_runtime import ActionSpec, ActionType, ExecutionHandle, ExecutionRequest, OperatorContext
from agent_runtime.errors import InvalidInput, ResultNotSerializable
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.values.content import MAX_EXACT_VALUES, decode, encode
from agent_runtime.values.digest import digest
from agent_runtime.values.fingerprint import hash_of
from llm_client import Agent, ScriptedProvider, tool
from llm_client.json_text import LongFloat, loads
from llm_client.providers.tool_calls import make_tool_call
from support.kernels import BOUND, kernel, pending, resumed, status_becomes, until

pytestmark = pytest.mark.timeout(BOUND * 3)

HUGE = 123_456_789_012_345_678_901_234_567_890
PRICE = "12345678901234567.89"
EDITED = "12345678901234567.91"


def paying(paid: list[Any], *replies: Any) -> Any:
    @tool(effect="idempotent", requires_approval=True)
    async def pay(count: int, price: Decimal) -> dict[str, Any]:
        """Pay."""
        paid.append((count, price))
        return {"count": count * 10, "price": price}

    agent = Agent(provider=ScriptedProvider(replies), tools=[pay], output_type=dict[str, int])

    async def op(context: OperatorContext, given: Any) -> Any:
        result = await agent.run("Pay.")
        await context.action(ActionSpec(type=ActionType.CONFIRM))
        told = next(message.text for message in result.messages if message.role == "tool")
        return {"given": given, "output": result.output, "told": told}

    return {"op": op}


async def _is_asked_to_confirm(handle: ExecutionHandle) -> bool:
    return any(action.type == ActionType.CONFIRM for action in await handle.get_pending_actions())


async def test_a_paid_amount_is_what_was_asked_and_approved_to_the_last_digit() -> None:
    paid: list[Any] = []
    storage = MemoryStorage()
    call = make_tool_call("1", "pay", f'{{"count": {HUGE}, "price": {PRICE}}}')
    async with kernel(storage, operators=paying(paid, [call], f'{{"total": {HUGE}}}')) as k:
        handle = await k.execute(ExecutionRequest(operator="op", input=loads(f"[{PRICE}, {HUGE}]")))
        question = await pending(handle)
        assert question.payload["arguments"] == {"count": HUGE, "price": PRICE}
        edited = loads(f'{{"count": {HUGE + 1}, "price": {EDITED}}}')
        await handle.resolve_action(question.action_id, {"approved": True, "arguments": edited})
        await until(lambda: _is_asked_to_confirm(handle))
        await status_becomes(handle, "waiting_action")
    assert paid == [(HUGE + 1, Decimal(EDITED))]

    async with kernel(storage, operators=paying(paid)) as k:
        result = await resumed(k.handle(handle.job_id))
    assert result.output["output"] == {"total": HUGE}
    assert result.output["told"] == f'{{"count":{(HUGE + 1) * 10},"price":"{EDITED}"}}'
    assert [str(number) for number in result.output["given"]] == [PRICE, str(HUGE)]
    assert len(paid) == 1


def test_content_keeps_digits_and_types() -> None:
    value = {"a": HUGE, "b": LongFloat(PRICE), "c": [1, 0.1, -(2**70)]}
    back = decode(encode(value))

    assert back == value
    assert type(back["b"]) is LongFloat
    assert decode(encode([0.1, 1e300])) == [0.1, 1e300]
    assert type(decode(encode([1e300]))[0]) is float


def test_long_numbers_are_refused_among_so_many_values_that_reading_them_holds_everybody_up() -> None:
    many = [0] * MAX_EXACT_VALUES
    assert decode(encode({"b": many})) == {"b": many}
    assert decode(encode({"a": HUGE, "b": many[:1_000]}))["a"] == HUGE
    for long in (HUGE, LongFloat(PRICE)):
        with pytest.raises(ResultNotSerializable, match="50,000 values"):
            ExecutionRequest(operator="x", input={"a": long, "b": many}).encoded_input()


@pytest.mark.parametrize("sign", [1, -1])
def test_so_are_very_many_digits_before_they_are_written(sign: int) -> None:
    """Writing digits takes the square of their number: megabytes of them were written, and then counted."""
    long = sign * 10**4_200
    assert decode(encode([long] * 100)) == [long] * 100
    for many in ([long] * 300, [{"a": (long, long)}] * 150, [{long + each: 1} for each in range(300)]):
        with pytest.raises(ResultNotSerializable, match="more digits than are written in a moment"):
            ExecutionRequest(operator="x", input=many).encoded_input()
        with pytest.raises(InvalidInput):
            digest(many)


def test_two_amounts_that_are_one_float_are_two_for_votes_and_approvals() -> None:
    one, other = LongFloat(PRICE), LongFloat(EDITED)
    assert float(one) == float(other)
    for name in (digest, hash_of):
        assert name({"price": one}) != name({"price": other})
        assert name({"price": HUGE}) != name({"price": HUGE + 1})
    assert hash_of({"price": one}) != hash_of({"price": f"<LongFloat>{PRICE}"})
    assert hash_of({"price": HUGE, "sure": True}) != hash_of({"price": HUGE, "sure": 1})
    assert digest(1e300) == digest(10**300)
    assert digest(10) == digest(10.0)
