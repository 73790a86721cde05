"""The operator that runs a drawn program, the tools and the model in it."""

from __future__ import annotations

import functools
import json
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

from agent_runtime import (
    ActionExpired,
    ActionSpec,
    ChildFailed,
    DurableWait,
    Operator,
    OperatorContext,
    StepFailed,
    current_context,
)
from agent_runtime.values.job import OnParentEnd
from llm_client import Agent, ExecutionEngine, FunctionProvider, RequestSpec, Tool, ToolContext, tool
from llm_client.agent.config import AgentConfig
from llm_client.engine.retry import RetryConfig
from llm_client.errors import ProviderUnavailable
from llm_client.messages import Message, ToolCall
from llm_client.pricing.book import PriceBook
from llm_client.pricing.model_prices import ModelPrices
from llm_client.tools.tool import Effect, Reconciliation
from support.soak.plans import ENOUGH, TOOLS, Node, told_of
from support.soak.world import Happening, Life

LIFE: ContextVar[Life] = ContextVar("soak_life")
"""The process that the current task belongs to."""
EXPIRES_AFTER = 0.3
STUMBLED = "stumbled"
MAX_CRASHES = 8
"""Stories die less often by chance."""
PAYMENT: dict[str, Any] = {"arguments": {"amount": 10, "to": "acme"}}
TWO_OF_THREE: dict[str, Any] = {"approvers": ["ann", "bob", "eve"], "quorum": 2}
"""Two people must want the same; the third one sometimes wants something else."""
PRICES = PriceBook({"function:function": ModelPrices.of(input=1_000_000, output=1_000_000)})


async def reconcile(operation_id: str) -> Reconciliation:
    """Look whether a lost call of a tool happened."""
    for happening in LIFE.get().world.all():
        if happening.operation == operation_id:
            return Reconciliation(outcome="happened", result=f"did {happening.node}")
    return Reconciliation(outcome="did_not_happen")


def _tool(effect: Effect) -> Tool:
    async def act(node: str, asks: bool, *, ctx: ToolContext) -> str:
        """Do something to the world."""
        if asks:
            spec = ActionSpec(type="approval", payload={"node": node, **PAYMENT}, **TWO_OF_THREE)
            resolution = (await current_context().action(spec)).resolution or {}
            if "arguments" in resolution:
                return f"{resolution['arguments']} is what one person wanted"
            if not resolution.get("approved"):
                return f"refused {node}"
        await LIFE.get().happen(effect, node, ctx.operation_id)
        return f"did {node}"

    act.__name__ = f"{effect}_tool"
    return tool(effect=effect, reconcile=reconcile if effect == "reconcilable" else None)(act)


TOOL_OF = {effect: _tool(effect) for effect in TOOLS}


@tool(effect="unsafe", timeout=0.04)
async def hasty_tool(node: str, asks: bool, *, ctx: ToolContext) -> str:
    """Do something that may take longer than there is time."""
    await LIFE.get().happen("unsafe", node, ctx.operation_id)
    return f"did {node}"


HASTY = hasty_tool


def name_of(call: Node) -> str:
    """Return the tool that a node calls."""
    return HASTY.name if call["hasty"] else TOOL_OF[call["effect"]].name


async def _model(spec: RequestSpec) -> Any:
    """Follow the script that stands in the first message."""
    life, script = LIFE.get(), json.loads(str(spec.messages[0].content))
    turn = sum(message.role == "assistant" for message in spec.messages)
    if life.rng.random() < 0.05:
        await life.happen("refusal", script["id"])
        raise ProviderUnavailable("busy", status=503, provider="function", model="function")
    await life.happen("answer", script["id"])
    if script.get("poison"):
        life.world.add(Happening("death", script["id"], ""))
        await life.die()
    if turn == len(script["turns"]):
        return f"done {script['id']}"
    return [
        ToolCall(f"call-{call['id']}", name_of(call), {"node": call["id"], "asks": call["asks"]})
        for call in script["turns"][turn]
    ]


def make_engine() -> ExecutionEngine:
    """Build an engine whose model costs a dollar per token and is refused now and then."""
    retry = RetryConfig(attempts=8, backoff=0.01, max_backoff=0.02)
    return ExecutionEngine(FunctionProvider(_model), prices=PRICES, retry=retry)


class Soaked(Operator):
    """Runs a drawn program.

    Args:
        life: The process it runs in.
        version: Which release of the code this is: the second one does more.
    """

    def __init__(self, life: Life, version: int) -> None:
        super().__init__()
        self._life = life
        self._version = version
        self._engine = make_engine()
        self._agent_of_all = Agent(
            engine=self._engine, tools=[*TOOL_OF.values(), HASTY], config=AgentConfig(max_output_tokens=500)
        )

    @property
    def name(self) -> str:
        return "soaked"

    async def execute(self, input_data: Any, context: OperatorContext) -> Any:
        LIFE.set(self._life)
        output = await self._nodes(input_data["nodes"], context)
        if "then" in input_data:
            context.continue_as_new(input_data["then"])
        if input_data["fails"]:
            raise RuntimeError("as planned")
        return output

    async def _nodes(self, nodes: list[Node], context: OperatorContext) -> list[Any]:
        return [await self._run(node, context) for node in nodes]

    async def _run(self, node: Node, context: OperatorContext) -> Any:
        do: Callable[[Node, OperatorContext], Awaitable[Any]] = getattr(self, f"_do_{node['do']}")
        return await do(node, context)

    async def _took(self, way: str, node: Node, context: OperatorContext) -> None:
        """Leave a trace of what time has decided: whoever decides otherwise after a crash does not fit the journal."""
        name = f"{node['id']} {way}"
        await context.step(_act_in_a_way, node["id"], way, name=name, effect="idempotent")

    async def _do_step(self, node: Node, context: OperatorContext) -> Any:
        async def looked(operation_id: str) -> Reconciliation:
            happened = self._life.happened(node["id"])
            return Reconciliation(
                outcome="happened" if happened else "did_not_happen",
                result=told_of(node) if happened else None,
            )

        effect = node["effect"]
        if (
            node["fails"] and effect == "reconcilable"
        ):  # what failed after its effect cannot be told from what did not
            effect = "unsafe"
        try:
            return await context.step(
                functools.partial(_act, effect, node["id"], node["fails"]),
                name=node["id"],
                effect=effect,
                reconcile=looked if effect == "reconcilable" else None,
            )
        except StepFailed:
            return f"failed {node['id']}"

    async def _do_tool(self, node: Node, context: OperatorContext) -> Any:
        return await context.tool(name_of(node), node=node["id"], asks=node["asks"])

    async def _do_agent(self, node: Node, context: OperatorContext) -> Any:
        answer = await self._agent_of_all.run(
            json.dumps(node), context=context.execution_ctx.to_request_context()
        )
        if answer.status != "success":
            raise RuntimeError(f"the agent stopped: {answer.error}")
        return answer.content

    async def _do_model(self, node: Node, context: OperatorContext) -> Any:
        script = json.dumps({"id": node["id"], "turns": [], "poison": node.get("poison", False)})
        await context.model(RequestSpec(messages=[Message.user(script)], max_tokens=500))
        return node["id"]

    async def _do_stumble(self, node: Node, context: OperatorContext) -> Any:
        """Fail the first time, and the job with it."""

        async def looked(operation_id: str) -> Reconciliation:
            return Reconciliation(outcome="happened", result=told_of(node))

        return await context.step(
            functools.partial(_stumble, node["id"]), name=node["id"], effect=node["effect"], reconcile=looked
        )

    async def _do_ask(self, node: Node, context: OperatorContext) -> Any:
        return await self._told(node, self._wait_of(node, context))

    async def _do_sleep(self, node: Node, context: OperatorContext) -> Any:
        return await self._told(node, self._wait_of(node, context))

    async def _do_child(self, node: Node, context: OperatorContext) -> Any:
        return await self._told(node, self._wait_of(node, context))

    def _wait_of(self, node: Node, context: OperatorContext) -> DurableWait[Any]:
        """Return what can be awaited alone, or with others."""
        match node["do"]:
            case "ask":
                return context.action(_question(node))
            case "sleep":
                return context.sleep(node["seconds"])
            case _:
                return context.child("soaked", node["program"])

    async def _told(self, node: Node, wait: Awaitable[Any]) -> Any:
        try:
            return _value_of(node, await wait)
        except (ActionExpired, ChildFailed) as error:
            return _name_of(error)

    async def _do_any(self, node: Node, context: OperatorContext) -> Any:
        waits = [self._wait_of(each, context) for each in node["waits"]]
        try:
            winner = (await context.wait_any(*waits)).winner
        except (ActionExpired, ChildFailed) as error:
            failed = [number for number, each in enumerate(node["waits"]) if _may_be(each, error)]
            winner = failed[0]
        await self._took(f"by {winner}", node, context)
        return f"{node['id']} by {winner}"

    async def _do_all(self, node: Node, context: OperatorContext) -> Any:
        waits = [self._wait_of(each, context) for each in node["waits"]]
        try:
            told = await context.wait_all(*waits, return_exceptions=node["returns"])
        except (ActionExpired, ChildFailed):
            return f"failed {node['id']}"
        return [_value_of(each, one) for each, one in zip(node["waits"], told, strict=True)]

    async def _do_start(self, node: Node, context: OperatorContext) -> Any:
        on_parent_end: OnParentEnd = "keep" if node["keep"] else "cancel"
        child = await context.start_child("soaked", node["program"], on_parent_end=on_parent_end)
        await self._nodes(node["meanwhile"], context)
        if node["then"] == "leave":
            return node["id"]
        if node["then"] == "cancel":
            await child.cancel("as planned")
        return await self._told(node, child.result())

    async def _do_timeout(self, node: Node, context: OperatorContext) -> Any:
        way = "in time"
        try:
            async with context.timeout(node["seconds"]):
                output = await self._nodes(node["nodes"], context)
                if node["endless"]:
                    await context.sleep(ENOUGH)
        except TimeoutError:
            way, output = "late", f"late {node['id']}"
        await self._took(way, node, context)
        return output

    async def _do_patch(self, node: Node, context: OperatorContext) -> Any:
        new, common = [], []
        for nodes, step in zip(node["rounds"], node["common"], strict=True):
            is_new = self._version > 1 and context.patched(node["id"])
            new.append(await self._nodes(nodes, context) if is_new else "old")
            common.append(await self._run(step, context))
        return [new, common]

    async def _do_stamp(self, node: Node, context: OperatorContext) -> Any:
        moment = context.now().isoformat()
        match node["then"]:
            case "step":
                seen = await context.step(_echo, moment, name=node["id"], effect="idempotent")
                return node["id"] if seen == moment else f"{moment} became {seen}"
            case "model":
                return await self._do_model(node, context)
            case _:
                return node["id"]

    async def _do_emit(self, node: Node, context: OperatorContext) -> Any:
        await context.emit("custom.said", {"node": node["id"]})
        return node["id"]

    async def _do_gather(self, node: Node, context: OperatorContext) -> Any:
        branches = [self._nodes(branch, context) for branch in node["branches"]]
        try:
            told = await context.gather(*branches, return_exceptions=node["returns"])
        except _AsPlannedError:
            refund = functools.partial(_act, "refund", node["id"], False)
            await context.step(refund, name=f"{node['id']} refund", effect="unsafe")
            return f"raised {node['id']}"
        return ["raised" if isinstance(one, _AsPlannedError) else one for one in told]

    async def _do_raise(self, node: Node, context: OperatorContext) -> Any:
        raise _AsPlannedError


class _AsPlannedError(Exception):
    """A branch fails."""


async def _act(effect: str, node: str, fails: bool) -> str:
    await LIFE.get().happen(effect, node)
    if fails:
        raise RuntimeError("as planned")
    return f"did {node}"


async def _act_in_a_way(node: str, way: str) -> None:
    await LIFE.get().happen("way", node, way)


async def _stumble(node: str) -> str:
    life = LIFE.get()
    is_first = not life.happened(node)
    await life.happen("stumble", node)
    if is_first:
        raise RuntimeError(STUMBLED)
    return f"did {node}"


def _question(node: Node) -> ActionSpec:
    ignored = node["ignored"]
    return ActionSpec(
        type="approval",
        payload={"node": node["id"], "ignored": ignored, **PAYMENT},
        **TWO_OF_THREE,
        timeout_seconds=EXPIRES_AFTER if ignored else None,
        default_resolution={"approved": False, "reason": "default"} if ignored and node["default"] else None,
    )


def _value_of(node: Node, told: Any) -> Any:
    """Return what a wait came to, in the words of `expected`."""
    if isinstance(told, BaseException):
        return _name_of(told)
    match node["do"]:
        case "ask":
            resolution = told.resolution or {}
            if "arguments" in resolution:
                return f"{resolution['arguments']} is what one person wanted"
            return resolution["reason"] if "reason" in resolution else resolution["approved"]
        case "sleep":
            return node["id"]
        case _:
            return told.output_data["output"]


def _name_of(error: BaseException) -> str:
    if isinstance(error, ActionExpired):
        return "expired"
    if isinstance(error, ChildFailed):
        return "child failed"
    raise error


def _may_be(wait: Node, error: BaseException) -> bool:
    return wait["do"] == ("ask" if isinstance(error, ActionExpired) else "child")


async def _echo(value: str) -> str:
    return value
