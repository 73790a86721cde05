"""A job of every kind of step, whose effects on the outside world are lines in a file.

Each line is `kind operation_id`; what a crash must never lose or repeat can so be counted from outside.
"""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

from agent_runtime import ActionSpec, OperatorContext, current_context
from llm_client import Agent, ExecutionEngine, FunctionProvider, ToolContext, tool
from llm_client.messages import ToolCall
from llm_client.pricing.book import PriceBook
from llm_client.pricing.model_prices import ModelPrices
from llm_client.spec import RequestSpec
from llm_client.tools.tool import Reconciliation

EFFECTS = "EFFECTS_FILE"
KILL_AT = "KILL_AT"
"""`inside:<name>` or `after:<name>`: die before, or after, a function has had its effect; `seen:<name>`: when the operator has
what it gave, or a value, which may not be written yet."""


def effect(kind: str, operation_id: str) -> None:
    """Have an effect on the world, and perhaps die around it."""
    die_if(f"inside:{kind}")
    with Path(os.environ[EFFECTS]).open("a", encoding="utf-8") as file:
        file.write(f"{kind} {operation_id}\n")
        file.flush()
        os.fsync(file.fileno())
    die_if(f"after:{kind}")


def die_if(moment: str) -> None:
    """Die at a chosen moment, the first time it comes."""
    marker = Path(os.environ[EFFECTS] + ".killed")
    if os.environ.get(KILL_AT) == moment and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def effects(path: Path) -> list[tuple[str, str]]:
    """Return what has happened to the world, in order."""
    if not path.exists():
        return []
    return [
        (kind, operation)
        for kind, _, operation in (line.partition(" ") for line in path.read_text().splitlines())
    ]


@tool(effect="read")
async def look(what: str, *, ctx: ToolContext) -> str:
    """Look at something."""
    await asyncio.to_thread(effect, "look", ctx.operation_id)
    return f"saw {what}"


@tool(effect="idempotent")
async def save(what: str, *, ctx: ToolContext) -> str:
    """Save something."""
    await asyncio.to_thread(effect, "save", ctx.operation_id)
    return f"saved {what}"


async def was_booked(operation_id: str) -> Reconciliation:
    """Tell whether a lost booking happened."""
    if ("book", operation_id) in await asyncio.to_thread(effects, Path(os.environ[EFFECTS])):
        return Reconciliation(outcome="happened", result="booked day")
    return Reconciliation(outcome="did_not_happen")


@tool(effect="reconcilable", reconcile=was_booked)
async def book(what: str, *, ctx: ToolContext) -> str:
    """Book something; whether it was booked can be looked up."""
    await asyncio.to_thread(effect, "book", ctx.operation_id)
    return f"booked {what}"


@tool(effect="unsafe")
async def pay(amount: int, *, ctx: ToolContext) -> str:
    """Pay, after asking whether to."""
    answer = await current_context().action(ActionSpec(type="approval", payload={"amount": amount}))
    assert answer.resolution == {"approved": True}
    await asyncio.to_thread(effect, "pay", ctx.operation_id)
    return f"paid {amount}"


async def _model(spec: RequestSpec) -> Any:
    """Decide by how far the conversation has come."""
    turn = sum(message.role == "assistant" for message in spec.messages)
    await asyncio.to_thread(effect, "model", f"turn-{turn}")
    if turn == 0:
        return [ToolCall("a", "look", {"what": "sky"}), ToolCall("b", "save", {"what": "day"})]
    if turn == 1:
        return ToolCall("d", "book", {"what": "day"})
    if turn == 2:
        return ToolCall("c", "pay", {"amount": 5})
    return "all done"


def make_agent() -> Agent:
    """Build the agent; its model costs a dollar per token."""
    prices = PriceBook({"function:function": ModelPrices.of(input=1_000_000, output=1_000_000)})
    engine = ExecutionEngine(FunctionProvider(_model), prices=prices)
    return Agent(engine=engine, tools=[look, save, book, pay])


def peek(what: str) -> str:
    """Look at something: a step without an intent."""
    effect("peek", what)
    return f"{what} seen"


def note(moment: str) -> str:
    """Write down what time it is, where everybody sees it: a step that may be repeated."""
    effect("note", moment)
    return "noted"


def turn(side: str) -> str:
    """Turn something: a step of a branch."""
    effect(side, side)
    return side


def seal(text: str) -> str:
    """Seal the job: a step that must not be repeated."""
    effect("seal", text)
    return text


def deliver(what: str) -> str:
    """Deliver something: the one step of the child."""
    effect("deliver", what)
    return f"{what} delivered"


async def errand(context: OperatorContext, given: str) -> str:
    """The child job: it goes on as a new one, which takes one step."""
    if given == "parcel":
        context.continue_as_new("wrapped parcel")
    return str(await context.step(deliver, given, effect="idempotent"))


async def mixed(context: OperatorContext, given: Any) -> dict[str, Any]:
    """Run the agent, peek, write a note, turn both ways, send a child on an errand, sleep, ask, seal."""
    answer = await make_agent().run("go", context=context.execution_ctx.to_request_context())
    assert answer.status == "success", answer
    peeked = await context.step(peek, "sky", effect="read")
    die_if("seen:peek")
    moment = context.now().isoformat()
    die_if("seen:now")
    noted = await context.step(note, moment, effect="idempotent")
    die_if("seen:note")
    turned = await context.gather(
        *(context.step(turn, side, name=side, effect="idempotent") for side in ("left", "right"))
    )
    errand_done = await context.child("errand", "parcel")
    await context.sleep(0.02)
    asked = await context.action(ActionSpec(type="confirm", payload={"message": "seal it?"}))
    sealed = await context.step(seal, "sealed", effect="unsafe")
    return {
        "answer": answer.content,
        "peeked": peeked,
        "noted": noted,
        "turned": turned,
        "errand": errand_done.content,
        "confirmed": asked.resolution,
        "sealed": sealed,
    }


OPERATORS = [mixed, errand]


RESULT = {
    "answer": "all done",
    "peeked": "sky seen",
    "noted": "noted",
    "turned": ["left", "right"],
    "errand": "wrapped parcel delivered",
    "confirmed": {"approved": True, "confirmed": True},
    "sealed": "sealed",
}
