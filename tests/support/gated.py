"""An operator whose jobs stand inside a step until they are let go, and which remembers who was there."""

import asyncio
from typing import Any

from agent_runtime import Operator, OperatorContext, OperatorResult


class Gated(Operator):
    """Jobs of this operator wait for their gate; `order` tells in which order they came in."""

    name = "gated"

    def __init__(self) -> None:
        super().__init__()
        self.order: list[Any] = []
        self.inside = 0
        self.most = 0
        self._gates: dict[Any, asyncio.Event] = {}
        self.everyone = asyncio.Event()

    def let_go(self, who: Any) -> None:
        """Open one job's gate."""
        self._gates.setdefault(who, asyncio.Event()).set()

    async def execute(self, input_data: Any, context: OperatorContext) -> OperatorResult:
        """Stand inside a step until let go."""
        await context.step(self._stand, input_data, name="stand", effect="read")
        return OperatorResult(content=str(input_data))

    async def _stand(self, who: Any) -> None:
        self.order.append(who)
        self.inside += 1
        self.most = max(self.most, self.inside)
        gate = self._gates.setdefault(who, asyncio.Event())
        waits = [asyncio.ensure_future(event.wait()) for event in (gate, self.everyone)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            self.inside -= 1
