"""Random programs, as JSON values, and what each of them must come to."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Node = dict[str, Any]
Budget = Literal["none", "enough", "tight"]
EFFECTS = ("pure", "read", "idempotent", "reconcilable", "unsafe")
TOOLS = EFFECTS[1:]
DEEPEST = 2
ENOUGH = 1000.0
"""Seconds that no story takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPlan:
    """One job: its program, and what happens to it from outside."""

    program: Node
    budget: Budget = "none"
    deadline: float | None = None
    cancel_after: float | None = None
    submit_after: float = 0.0
    poison: bool = False
    """Its last answer kills every process that reads it."""

    @property
    def undisturbed(self) -> bool:
        """Whether its result is known beforehand: nobody stops it, and money does not matter."""
        is_stopped = self.deadline is not None or self.cancel_after is not None or self.poison
        return self.budget != "tight" and not is_stopped

    @property
    def stumbles(self) -> bool:
        """Whether a step fails the first time, with the job, which is then retried."""
        return any(node["do"] == "stumble" for node in self.program["nodes"])


class OneOf(tuple[Any, ...]):
    """What a node may come to, where time decides."""

    __slots__ = ()


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
        if not tight and rng.random() < 0.04:
            program = {"id": self._id("p"), "nodes": self._nodes(1, 2), "fails": False}
            program["nodes"].append({"do": "model", "id": self._id("m"), "poison": True})
            return JobPlan(program=program, poison=True)
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
        if depth <= 1 and self._rng.random() < 0.15:
            program["then"] = self._program(depth + 1)
        if depth == 0 and self._rng.random() < 0.1:
            stumble = {"do": "stumble", "id": self._id("s"), "effect": self._rng.choice(EFFECTS)}
            nodes.insert(self._rng.randint(0, len(nodes)), stumble)
        return program

    def _id(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}{self._count}"

    def _nodes(self, depth: int, most: int) -> list[Node]:
        return [self._node(depth) for _ in range(self._rng.randint(1, most))]

    def _node(self, depth: int) -> Node:
        kinds = ["step", "step", "tool", "tool", "agent", "agent", "ask", "sleep", "stamp", "emit", "model"]
        if depth < DEEPEST:
            kinds += ["gather", "gather", "child", "child", "timeout", "any", "all", "start", "patch"]
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
        if self._rng.random() < 0.3:
            self._rng.choice(branches).append({"do": "raise", "id": self._id("r")})
        returns = self._rng.random() < 0.3
        return {"do": "gather", "id": self._id("g"), "branches": branches, "returns": returns}

    def _timeout(self, depth: int) -> Node:
        """A bound that is never reached, one that is always, or one that may be."""
        endless = self._rng.random() < 0.3
        seconds = self._rng.choice((0.0, 0.02, 0.3) if endless else (0.0, 0.05, 0.5, ENOUGH, ENOUGH))
        nodes = self._nodes(depth + 1, 3)
        return {"do": "timeout", "id": self._id("l"), "nodes": nodes, "seconds": seconds, "endless": endless}

    def _waits(self, depth: int) -> list[Node]:
        kinds = (self._sleep, self._ask, self._child)
        return [self._rng.choice(kinds)(depth) for _ in range(self._rng.randint(2, 3))]

    def _any(self, depth: int) -> Node:
        return {"do": "any", "id": self._id("w"), "waits": self._waits(depth)}

    def _all(self, depth: int) -> Node:
        returns = self._rng.random() < 0.5
        return {"do": "all", "id": self._id("w"), "waits": self._waits(depth), "returns": returns}

    def _start(self, depth: int) -> Node:
        """A child that goes on beside its parent, and perhaps after it."""
        return {
            **self._child(depth),
            "do": "start",
            "keep": self._rng.random() < 0.4,
            "meanwhile": self._nodes(depth + 1, 2),
            "then": self._rng.choice(("await", "cancel", "leave")),
        }

    def _patch(self, depth: int) -> Node:
        """What the second version of the code does besides, each time round a loop."""
        rounds = [[self._begun(), *self._nodes(depth + 1, 2)] for _ in range(self._rng.randint(1, 2))]
        common = [self._step(depth) for _ in rounds]
        return {"do": "patch", "id": self._id("v"), "rounds": rounds, "common": common}

    def _begun(self) -> Node:
        """A step that is in the journal from its beginning."""
        return {"do": "step", "id": self._id("s"), "effect": "idempotent", "fails": False}


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
    of_kind = _EXPECTED.get(node["do"])
    return node["id"] if of_kind is None else of_kind(node)


FAILURES = ("expired", "child failed")
"""What failures of waits are called."""


def _expected_of_child(node: Node) -> Any:
    status, output = result_of(node["program"])
    told = output if status == "succeeded" else "child failed"
    match node.get("then"):
        case "cancel":
            return OneOf((told, "child failed"))
        case "leave":
            return node["id"]
        case _:
            return told


def _expected_of_branches(node: Node) -> Any:
    ends = [branch[-1]["do"] == "raise" for branch in node["branches"]]
    if any(ends) and not node["returns"]:
        return f"raised {node['id']}"
    return [
        "raised" if raises else [expected(each) for each in branch]
        for raises, branch in zip(ends, node["branches"], strict=True)
    ]


def _expected_in_time(node: Node) -> Any:
    late, output = f"late {node['id']}", [expected(each) for each in node["nodes"]]
    if node["endless"]:
        return late
    return output if node["seconds"] == ENOUGH else OneOf((late, output))


def _expected_of_all(node: Node) -> Any:
    told = [expected(wait) for wait in node["waits"]]
    has_failed = any(one in FAILURES for one in told)
    return f"failed {node['id']}" if has_failed and not node["returns"] else told


def _expected_of_patch(node: Node) -> Any:
    common = [expected(each) for each in node["common"]]
    new = [[expected(each) for each in nodes] for nodes in node["rounds"]]
    return OneOf(([["old" for _ in common], common], [new, common]))


def _expected_of_question(node: Node) -> Any:
    if node["ignored"]:
        return "default" if node["default"] else "expired"
    return approves(node["id"])


_EXPECTED: Mapping[str, Callable[[Node], Any]] = {
    "step": lambda node: f"failed {node['id']}" if node["fails"] else told_of(node),
    "tool": lambda node: (
        f"refused {node['id']}" if node["asks"] and not approves(node["id"]) else told_of(node)
    ),
    "stumble": told_of,
    "agent": lambda node: f"done {node['id']}",
    "ask": _expected_of_question,
    "child": _expected_of_child,
    "start": _expected_of_child,
    "gather": _expected_of_branches,
    "timeout": _expected_in_time,
    "any": lambda node: OneOf(f"{node['id']} by {number}" for number in range(len(node["waits"]))),
    "all": _expected_of_all,
    "patch": _expected_of_patch,
}
"""Everything else comes to its name."""


def fits(told: Any, wanted: Any) -> bool:
    """Whether something is what a node may come to."""
    if isinstance(wanted, OneOf):
        return any(fits(told, one) for one in wanted)
    if isinstance(wanted, list):
        return (
            isinstance(told, list)
            and len(told) == len(wanted)
            and all(fits(one, other) for one, other in zip(told, wanted, strict=True))
        )
    return bool(told == wanted)


def within(nodes: list[Node]) -> Iterator[Node]:
    """Yield nodes and what they hold, but for what children do."""
    for node in nodes:
        yield node
        for held in (
            *node.get("branches", ()),
            *node.get("rounds", ()),
            *node.get("turns", ()),
            node.get("nodes", ()),
            node.get("meanwhile", ()),
            node.get("common", ()),
        ):
            yield from within(list(held))


def programs(program: Node) -> Iterator[Node]:
    """Yield a program, its children's, and those it goes on as."""
    yield program
    for node in within(program["nodes"]):
        for each in (node, *node.get("waits", ())):
            if "program" in each:
                yield from programs(each["program"])
    if "then" in program:
        yield from programs(program["then"])


def kept_children(program: Node) -> Iterator[Node]:
    """Yield the nodes that start a child which goes on whatever becomes of its parent."""
    for each in programs(program):
        for node in within(each["nodes"]):
            if node["do"] == "start" and node["keep"] and node["then"] != "cancel":
                yield node
