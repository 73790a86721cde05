"""Random programs, as JSON values, and what each of them must come to."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, Literal

Node = dict[str, Any]
Budget = Literal["none", "enough", "tight"]
EFFECTS = ("pure", "read", "idempotent", "reconcilable", "unsafe")
TOOLS = EFFECTS[1:]
DEEPEST = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPlan:
    """One job: its program, and what happens to it from outside."""

    program: Node
    budget: Budget = "none"
    deadline: float | None = None
    cancel_after: float | None = None
    submit_after: float = 0.0

    @property
    def undisturbed(self) -> bool:
        """Whether its result is known beforehand: nobody stops it, and money does not matter."""
        return self.budget != "tight" and self.deadline is None and self.cancel_after is None


class Planner:
    """Draws plans.

    Args:
        rng: The source of all chance.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._count = 0
        self.failing: set[str] = set()
        """Steps that fail, after they have had their effect."""

    def job(self, *, tight: bool) -> JobPlan:
        """Draw a job."""
        rng = self._rng
        return JobPlan(
            program=self._program(0),
            budget="tight" if tight else rng.choice(("none", "enough")),
            deadline=rng.uniform(0.05, 3.0) if rng.random() < 0.1 else None,
            cancel_after=rng.uniform(0.0, 2.0) if rng.random() < 0.15 else None,
            submit_after=rng.choice((0.0, 0.0, rng.uniform(0.0, 1.0))),
        )

    def _program(self, depth: int) -> Node:
        nodes = self._nodes(depth, 5 if depth == 0 else 3)
        program: Node = {"id": self._id("p"), "nodes": nodes, "fails": self._rng.random() < 0.08}
        if depth == 0 and self._rng.random() < 0.15:
            program["then"] = self._program(1)
        return program

    def _id(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}{self._count}"

    def _nodes(self, depth: int, most: int) -> list[Node]:
        return [self._node(depth) for _ in range(self._rng.randint(1, most))]

    def _node(self, depth: int) -> Node:
        kinds = ["step", "step", "tool", "tool", "agent", "agent", "ask", "sleep", "stamp", "emit", "model"]
        if depth < DEEPEST:
            kinds += ["gather", "gather", "child", "child"]
        return getattr(self, f"_{self._rng.choice(kinds)}")(depth)  # type: ignore[no-any-return]  # each gives a node

    def _step(self, depth: int) -> Node:
        node = {"do": "step", "id": self._id("s"), "effect": self._rng.choice(EFFECTS), "fails": False}
        if self._rng.random() < 0.1:
            node["fails"] = True
            self.failing.add(node["id"])
        return node

    def _tool(self, depth: int) -> Node:
        effect = self._rng.choice(TOOLS)
        hasty = effect == "unsafe" and self._rng.random() < 0.2
        asks = not hasty and self._rng.random() < 0.2
        return {"do": "tool", "id": self._id("t"), "effect": effect, "asks": asks, "hasty": hasty}

    def _agent(self, depth: int) -> Node:
        turns = [
            [self._tool(depth) for _ in range(self._rng.randint(1, 3))]
            for _ in range(self._rng.randint(0, 2))
        ]
        return {"do": "agent", "id": self._id("a"), "turns": turns}

    def _model(self, depth: int) -> Node:
        return {"do": "model", "id": self._id("m")}

    def _ask(self, depth: int) -> Node:
        ignored = self._rng.random() < 0.15
        return {
            "do": "ask",
            "id": self._id("q"),
            "ignored": ignored,
            "default": self._rng.random() < 0.5,
        }

    def _sleep(self, depth: int) -> Node:
        return {"do": "sleep", "id": self._id("z"), "seconds": self._rng.choice((0.0, 0.01, 0.1, 0.5))}

    def _stamp(self, depth: int) -> Node:
        return {"do": "stamp", "id": self._id("n"), "then": self._rng.choice(("step", "model", "nothing"))}

    def _emit(self, depth: int) -> Node:
        return {"do": "emit", "id": self._id("e")}

    def _child(self, depth: int) -> Node:
        return {"do": "child", "id": self._id("c"), "program": self._program(depth + 1)}

    def _gather(self, depth: int) -> Node:
        branches = [self._nodes(depth + 1, 3) for _ in range(self._rng.randint(2, 3))]
        if self._rng.random() < 0.2:
            self._rng.choice(branches).append({"do": "raise", "id": self._id("r")})
        return {"do": "gather", "id": self._id("g"), "branches": branches}


def approves(node_id: str) -> bool:
    """Whether people say yes to a question; always the same, so that the result is known."""
    return int(node_id[1:]) % 4 != 0


def told_of(node: Node) -> str:
    """Return what a tool call or a step comes to when it has happened."""
    return f"did {node['id']}"


def result_of(program: Node) -> tuple[str, Any]:
    """Return how an undisturbed run of a program ends: a status, and the output if it succeeds."""
    output = [expected(node) for node in program["nodes"]]
    if "then" in program:
        return result_of(program["then"])
    return ("failed", None) if program["fails"] else ("succeeded", output)


def expected(node: Node) -> Any:
    """Return what a node comes to."""
    match node["do"]:
        case "step":
            return f"failed {node['id']}" if node["fails"] else told_of(node)
        case "tool":
            return f"refused {node['id']}" if node["asks"] and not approves(node["id"]) else told_of(node)
        case "agent":
            return f"done {node['id']}"
        case "ask":
            if node["ignored"]:
                return "default" if node["default"] else "expired"
            return approves(node["id"])
        case "child":
            status, output = result_of(node["program"])
            return output if status == "succeeded" else "child failed"
        case "gather":
            if any(branch[-1]["do"] == "raise" for branch in node["branches"]):
                return f"raised {node['id']}"
            return [[expected(each) for each in branch] for branch in node["branches"]]
        case _:
            return node["id"]
