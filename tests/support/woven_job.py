"""A job of lines that fail, expire, race and are left, whose effects are remembered outside of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from agent_runtime import ActionSpec, OperatorContext, StepFailed


@dataclass(slots=True)
class Woven:
    """The operators, and what they have done to the world: names of effects with operation-independent order.

    Attributes:
        done: Effects in their order, those of all processes.
    """

    done: list[str] = field(default_factory=list)

    def do(self, what: str) -> str:
        """Have an effect."""
        self.done.append(what)
        return f"{what} done"

    async def woven(self, context: OperatorContext, given: object) -> dict[str, Any]:
        """Play every kind of line once."""
        token = str(context.uuid())
        with_change = context.patched("a change")
        try:
            await context.gather(self.failing(context), self.stopped(context), self.asking(context))
        except StepFailed:
            await context.step(self.do, "refund", name="refund", effect="idempotent")
        late = False
        try:
            async with context.timeout(0.05):
                await context.step(self.do, "before the bound", name="bound", effect="idempotent")
                await context.action(ActionSpec(type="confirm", payload={"message": "never answered"}))
        except TimeoutError:
            late = True
        won = await context.wait_any(context.child("waits", "x"), context.sleep(0.02))
        kept = await context.start_child("errand", token)
        results = await context.gather(
            context.child("errand", "one"),
            self.broken_child(context),
            context.sleep(0.01),
            return_exceptions=True,
        )
        given_back = await kept.result()
        sealed = await context.step(self.do, "seal", name="seal", effect="idempotent")
        return {
            "change": with_change,
            "late": late,
            "won": won.winner,
            "same token": given_back.output == f"{token} delivered",
            "results": [type(result).__name__ for result in results],
            "one": results[0].output,
            "sealed": sealed,
        }

    async def failing(self, context: OperatorContext) -> None:
        await context.step(self.do, "reserve", name="reserve", effect="idempotent")
        await context.step(self.fail, name="fail", effect="idempotent")

    def fail(self) -> None:
        """Fail."""
        raise ValueError("out of stock")

    async def stopped(self, context: OperatorContext) -> None:
        """Is in its first step when the other fails, and comes no further."""
        await context.step(self.pack, name="pack", effect="idempotent")
        await context.sleep(3600)
        await context.step(self.do, "ship", name="ship", effect="idempotent")

    async def pack(self) -> None:
        """Take as long as the failure of the other takes."""
        await asyncio.sleep(0.02)
        self.done.append("pack")

    async def asking(self, context: OperatorContext) -> None:
        await context.action(ActionSpec(type="confirm", payload={"message": "never answered"}))
        await context.step(self.do, "ship", name="ship", effect="idempotent")

    async def broken_child(self, context: OperatorContext) -> None:
        await context.child("breaks", None)

    async def waits(self, context: OperatorContext, given: object) -> None:
        """A child that waits until it is stopped."""
        await context.sleep(3600)

    async def breaks(self, context: OperatorContext, given: object) -> None:
        """A child that fails."""
        await context.sleep(0.01)
        raise RuntimeError("broken")

    async def errand(self, context: OperatorContext, given: str) -> str:
        """A child with one step, which goes on as another job once."""
        if not given.startswith("again "):
            context.continue_as_new(f"again {given}")
        what = given.removeprefix("again ")
        await context.step(self.do, f"deliver {what}", name="deliver", effect="idempotent")
        return f"{what} delivered"

    @property
    def operators(self) -> dict[str, Any]:
        """By the names that they call each other."""
        return {
            "woven": self.woven,
            "waits": self.waits,
            "breaks": self.breaks,
            "errand": self.errand,
        }


RESULT = {
    "change": True,
    "late": True,
    "won": 1,
    "same token": True,
    "results": ["OperatorResult", "ChildFailed", "NoneType"],
    "one": "one delivered",
    "sealed": "seal done",
}
